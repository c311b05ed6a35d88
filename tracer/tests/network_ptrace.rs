//! What goes over sockets, by the ptrace engine: the same suite.
#![allow(missing_docs)]

#[path = "network.rs"]
mod network;
