//! What is told about what programs do, by the ptrace engine: the same suite.
#![allow(missing_docs)]

#[path = "events.rs"]
mod events;
