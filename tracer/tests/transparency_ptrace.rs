//! The application does not notice the ptrace engine either: the same suite.
#![allow(missing_docs)]

#[path = "transparency.rs"]
mod transparency;
