//! Quarantine: a pod with the annotation `picket.dev/quarantine: "true"` is cut off from the
//! network and from its Services, and kept for a look.
//!
//! * The pod's agent is told through the relay; its tracer refuses new connections. That works
//!   on Fargate, where NetworkPolicies do nothing.
//! * Elsewhere a NetworkPolicy for exactly that pod denies everything, too.
//! * The pod loses the labels by which Services and controllers find it, so that it gets no more
//!   requests and a replacement is made, while it stays as it is. Without the annotation it gets
//!   them back.
//!
//! Everything is on the pod itself, so nothing is lost when the operator ends in the middle.
//! [`plan`] decides, without I/O; [`controller`] acts while this replica leads.

pub mod controller;
mod plan;
#[cfg(test)]
mod tests;

pub use controller::Quarantine;
pub use plan::{Step, order_of, plan};
