//! Every call of the table, by the ptrace engine: the same suite.
#![cfg(target_arch = "x86_64")]
#![allow(missing_docs)]

#[path = "calls.rs"]
mod calls;
