//! The control plane of Picket: serves the admission webhook and keeps what it
//! needs up to date.
//!
//! * [`certificates`]: the webhook's own authority and certificate.
//! * [`server`]: the webhook over TLS, health and metrics.

pub mod certificates;
pub mod server;
