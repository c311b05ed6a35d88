//! The control plane of Picket: serves the admission webhook and keeps what it
//! needs up to date.
//!
//! * [`server`]: the webhook over TLS, health and metrics.
//! * [`certificates`]: the webhook's own authority and certificate.
//! * [`ca_bundle`]: what API servers are told to trust.
//! * [`policies`]: what the API server knows of policies and namespaces.
//! * [`status`]: what the operator thinks of each policy.
//! * [`lease`]: which replica writes.
//! * [`watched`]: following one named object.
//! * [`arguments`]: the command line.

pub mod arguments;
pub mod ca_bundle;
pub mod certificates;
pub mod lease;
pub mod policies;
pub mod server;
pub mod status;
pub mod watched;
