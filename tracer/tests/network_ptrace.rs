//! The same suite under the ptrace engine.
#![allow(missing_docs)]

#[path = "network.rs"]
mod network;
