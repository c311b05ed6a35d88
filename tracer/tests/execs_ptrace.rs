//! Execs of programs that are run again and again, by the ptrace engine: the same suite.
#![allow(missing_docs)]

#[path = "execs.rs"]
mod execs;
