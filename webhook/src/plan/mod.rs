//! The planner: what has to change in a pod.
//!
//! It works on the pod as raw JSON, because a typed pod silently loses every field that its
//! author did not know. The injected pod is built from a copy in which only our own places
//! are touched ([`desired`]), and the operations are the difference ([`patch`]).

pub(crate) mod argv;
mod build;
mod commands;
mod container;
mod datadog;
mod decide;
mod ephemeral;
mod exec;
mod gate;
mod kit;
mod limits;
mod patch;
mod quota;
mod resources;
mod shape;
mod strip;
mod wrapper;

use std::sync::Arc;

use json_patch::PatchOperation;
use serde_json::Value;

use crate::entrypoint::Images;
use crate::namespace::Namespace;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::report::Report;
use crate::settings::Settings;
use crate::suspension::Suspension;

pub use ephemeral::plan_ephemeral;
pub use exec::plan_exec;
pub use strip::uninjected;

/// What the planner knows besides the pod.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The namespace of the request; a pod with `generateName` may not name one itself.
    pub namespace: &'a str,
    /// What is known about that namespace.
    pub facts: &'a Namespace,
    /// The policies there are; those for other namespaces do not count.
    pub policies: &'a [Arc<Policy>],
    /// What the installation decides.
    pub settings: &'a Settings,
    /// `Kind/name` of the workload, if the caller knows better than the pod's owners.
    pub workload: Option<&'a str>,
    /// Whether the pod runs on Fargate; `None`: as its label says.
    pub fargate: Option<bool>,
    /// Set while injection is suspended for the pod's workload.
    pub suspension: Option<&'a Suspension>,
    /// What is known about images. What else the planner has to know, it names in
    /// [`Report::wanted`]; with the answers it may be asked again.
    pub images: &'a Images,
}

/// What has to change, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// JSON Patch; empty when the pod stays as it is.
    pub operations: Vec<PatchOperation>,
    /// What was decided.
    pub report: Report,
}

/// Plans a pod. Applying the operations and planning again gives no operations.
pub fn plan(pod: &Value, context: &Context<'_>) -> Plan {
    let (desired, mut report) = built(pod, context);
    let operations = desired
        .map(|desired| patch::difference(pod, desired))
        .unwrap_or_default();
    if operations.is_empty() && report.reason == Reason::Injected {
        report.reason = Reason::Current;
    }
    Plan { operations, report }
}

/// The pod as it should be, or `None` when it is to be left alone. The order of keys and of
/// list entries is that of the pod.
pub fn desired(pod: &Value, context: &Context<'_>) -> (Option<Value>, Report) {
    let (desired, mut report) = built(pod, context);
    if desired.as_ref() == Some(pod) && report.reason == Reason::Injected {
        report.reason = Reason::Current;
    }
    (desired, report)
}

fn built(pod: &Value, context: &Context<'_>) -> (Option<Value>, Report) {
    let settings = context
        .settings
        .for_namespace(context.namespace, context.facts);
    let context = &Context {
        settings: &settings,
        ..*context
    };
    let built = decide::decide(pod, context).and_then(|injection| build::build(injection, context));
    match built {
        Ok((desired, report)) => (Some(desired), report),
        Err(report) => (None, *report),
    }
}
