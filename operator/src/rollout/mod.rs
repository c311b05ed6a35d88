//! Brings pods in that run already: restarts the workloads of policies with
//! `rollout.strategy: RollingRestart` whose pods are bare or out of date.
//!
//! * [`workloads`]: Deployments and StatefulSets, as few facts each.
//! * [`plan`](mod@plan): who is restarted, who waits, and what went wrong. Without I/O.
//! * [`controller`]: restarts, while this replica leads.
//!
//! What was begun is in an annotation of the workload, so nothing depends on which replica
//! leads, or on its memory.

pub mod controller;
pub mod plan;
#[cfg(test)]
mod tests;
pub mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use controller::{Rollout, Suspend, Suspension};

/// Namespace, kind and name of a workload.
pub type Key = (Arc<str>, Box<str>, Box<str>);

/// What is said of the restart of each workload, by its key.
pub type Notes = Arc<BTreeMap<Key, String>>;
