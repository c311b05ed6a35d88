//! The same where signals end any wait for an answer, as they do before Linux 5.19.
#![allow(missing_docs)]

#[path = "deny.rs"]
mod deny;
