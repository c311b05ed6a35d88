//! The control plane of Picket: serves the admission webhook and keeps what it
//! needs up to date.
//!
//! * [`server`]: the webhook over TLS, health and metrics.
//! * [`certificates`]: the webhook's own authority and certificate.
//! * [`ca_bundle`]: what API servers are told to trust.
//! * [`lease`]: which replica writes.
//! * [`watched`]: following one named object.

pub mod ca_bundle;
pub mod certificates;
pub mod lease;
pub mod server;
pub mod watched;
