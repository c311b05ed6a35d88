//! What is protected, what is not, and why: CoverageReports, the counts of policies, and who is
//! told when that turns. Only the replica that leads writes.
//!
//! * [`pod`]: what is seen of one pod; [`build`](mod@build): rows, summaries and counts. Both
//!   are pure.
//! * [`reports`], [`policies`]: what is written, when it differs.
//! * [`notify`]: events and lines about turns.
//! * [`controller`]: looks at what changed (`lead`), and puts the others to work.
//! * [`start`]: puts it together with rollout and quarantine.
//! * [`gauges`]: the same for Prometheus.

pub mod build;
pub mod controller;
pub mod gauges;
mod lead;
pub mod notify;
pub mod pod;
pub mod policies;
pub mod reports;
pub mod start;
#[cfg(test)]
mod tests;

pub use controller::{Coverage, Suspended};
pub use gauges::Gauges;
