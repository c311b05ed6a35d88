//! Ways around the tracer, by the ptrace engine: the same suite.
#![allow(missing_docs)]

#[path = "evasion.rs"]
mod evasion;
