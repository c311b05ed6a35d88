//! Pods that the control plane creates for trial, as dry runs, before there are real ones.
//!
//! Such a pod says by the annotation `picket.dev/trial` which policy is tried, and comes back with
//! `picket.dev/trial-outcome`: whoever finds that knows that the webhook was asked, and what it
//! decided. Whatever would keep this pod, but not a real one, from being selected is left out of
//! account. On a pod that is stored the annotation means nothing, so nobody gets past a policy by it.

use std::sync::Arc;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use picket_crds::{ComputeType, Containers, LabelSelector, annotations};
use serde_json::{Value, json};

use super::review::Request;
use crate::plan::{Context, Plan, plan};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::report::Report;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial<'a> {
    /// The pod as it is.
    Bare,
    /// The pod as the policy of this key would have it injected.
    Of(&'a str),
}

impl<'a> Trial<'a> {
    /// What a request tries, if it is a trial.
    pub(super) fn of(request: &'a Request) -> Option<Self> {
        if request.dry_run != Some(true) || !request.creates_a_pod() {
            return None;
        }
        let key = request.object["metadata"]["annotations"]
            .get(annotations::TRIAL)?
            .as_str()?;
        Some(match key {
            annotations::TRIAL_BARE => Self::Bare,
            key => Self::Of(key),
        })
    }

    /// Plans the pod, and writes down what was decided.
    pub(super) fn plan(self, pod: &Value, context: &Context<'_>) -> Plan {
        let Plan {
            mut operations,
            report,
        } = match self {
            Self::Bare => Plan {
                operations: Vec::new(),
                report: Report::of(Reason::TrialLeftBare),
            },
            Self::Of(key) => {
                let policies = context.policies.iter();
                let tried = policies.filter(|policy| policy.key() == key);
                let tried: Vec<Arc<Policy>> = tried.map(|policy| wanting_any(policy)).collect();
                let on_fargate = tried
                    .iter()
                    .any(|policy| policy.spec.compute_type == ComputeType::Fargate);
                let context = Context {
                    policies: &tried,
                    fargate: on_fargate.then_some(true),
                    ..*context
                };
                plan(pod, &context)
            }
        };
        let outcome = json!({"reason": report.reason, "message": report.summary()});
        operations.push(PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(["metadata", "annotations", annotations::TRIAL_OUTCOME]),
            value: Value::String(outcome.to_string()),
        }));
        Plan { operations, report }
    }
}

/// The policy, but for any pod of its namespaces and any container.
fn wanting_any(policy: &Policy) -> Arc<Policy> {
    let mut policy = policy.clone();
    policy.spec.pod_selector = LabelSelector::default();
    policy.spec.containers = Containers {
        include: Vec::new(),
        exclude: Vec::new(),
        ..policy.spec.containers
    };
    Arc::new(policy)
}
