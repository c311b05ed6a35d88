//! The same under the ptrace engine: what it can refuse.
#![allow(missing_docs)]

#[path = "deny.rs"]
mod deny;
