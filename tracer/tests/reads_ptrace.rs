//! Reads of secret files, by the ptrace engine: the same suite.
#![allow(missing_docs)]

#[path = "reads.rs"]
mod reads;
