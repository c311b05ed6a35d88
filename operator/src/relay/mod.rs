//! The relay: through it agents fetch rules and orders, and send heartbeats and findings.
//!
//! * [`heartbeats`]: what each pod said last.
//! * [`orders`]: what the operator wants of each pod.

pub mod heartbeats;
pub mod orders;
