//! The status of policies: what the operator thinks of each, written by the
//! replica that leads, and only when it changes.

mod overlap;
mod statement;
mod writer;

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use picket_crds::{Mode, OnInjectFailure, ProtectionPolicyStatus, conditions, labels};
use picket_events::text::counted;
use picket_webhook::{Policy, Scope};

pub use overlap::may_overlap;
pub use statement::{Statement, Target};
pub use writer::{FIELD_MANAGER, StatusWriter};

use crate::policies::{Namespaces, Policies, for_webhook};

/// How many other policies a message names.
const NAMED_AT_MOST: usize = 5;

/// Where a policy lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A ProtectionPolicy, in a namespace.
    Namespaced,
    /// A ClusterProtectionPolicy.
    Cluster,
}

/// What the operator thinks of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Where the policy lives.
    pub kind: Kind,
    /// The policy's namespace; empty for one of the cluster.
    pub namespace: String,
    /// The policy's name.
    pub name: String,
    /// The generation that was assessed.
    pub generation: Option<i64>,
    /// Whether webhooks use it.
    pub accepted: bool,
    /// Why, as one of the stable words of [`conditions`].
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
    /// The status that the policy had; `None` where that is not known because
    /// the policy could not be understood.
    pub before: Option<ProtectionPolicyStatus>,
}

/// A policy of either kind, with the namespaces that it is for.
struct Candidate<'a> {
    policy: Policy,
    generation: Option<i64>,
    status: &'a Option<ProtectionPolicyStatus>,
    namespaces: BTreeSet<&'a str>,
}

impl<'a> Candidate<'a> {
    fn all(policies: &'a Policies, namespaces: &'a Namespaces) -> Vec<Self> {
        let own = policies.valid.iter().map(|policy| Self {
            policy: for_webhook(policy),
            generation: policy.metadata.generation,
            status: &policy.status,
            namespaces: policy.metadata.namespace.as_deref().into_iter().collect(),
        });
        let cluster = policies.cluster.iter().map(|policy| Self {
            policy: Policy::of_cluster(policy.clone()),
            generation: policy.metadata.generation,
            status: &policy.status,
            namespaces: namespaces
                .iter()
                .filter(|(_, labels)| {
                    let label = |key: &str| labels.get(key).map(String::as_str);
                    policy.spec.namespace_selector.matches(label)
                })
                .map(|(name, _)| name.as_str())
                .collect(),
        });
        own.chain(cluster).collect()
    }

    fn may_overlap(&self, other: &Self) -> bool {
        !self.namespaces.is_disjoint(&other.namespaces)
            && may_overlap(
                &self.policy.spec.pod_selector,
                &other.policy.spec.pod_selector,
            )
    }
}

/// Assesses all policies. `excluded` are the namespaces in which nothing is
/// ever injected.
#[must_use]
pub fn assess(policies: &Policies, namespaces: &Namespaces, excluded: &[&str]) -> Vec<Assessment> {
    let candidates = Candidate::all(policies, namespaces);
    let mut assessments = Vec::new();
    for candidate in &candidates {
        let (reason, mut message) = reason(candidate, namespaces, excluded);
        message.push_str(&overlaps(candidate, &candidates));
        let (kind, namespace) = match &candidate.policy.scope {
            Scope::Namespace(namespace) => (Kind::Namespaced, namespace.clone()),
            Scope::Cluster(_) => (Kind::Cluster, String::new()),
        };
        assessments.push(Assessment {
            kind,
            namespace,
            name: candidate.policy.name.clone(),
            generation: candidate.generation,
            accepted: true,
            reason,
            message,
            before: Some(candidate.status.clone().unwrap_or_default()),
        });
    }
    for invalid in &policies.invalid {
        let namespace = invalid.metadata.namespace.clone();
        assessments.push(Assessment {
            kind: match namespace {
                Some(_) => Kind::Namespaced,
                None => Kind::Cluster,
            },
            namespace: namespace.unwrap_or_default(),
            name: invalid.metadata.name.clone().unwrap_or_default(),
            generation: invalid.metadata.generation,
            accepted: false,
            reason: conditions::REASON_INVALID,
            message: format!("not in use: {}", invalid.error),
            before: None,
        });
    }
    assessments
}

fn reason(
    candidate: &Candidate<'_>,
    namespaces: &Namespaces,
    excluded: &[&str],
) -> (&'static str, String) {
    let spec = &candidate.policy.spec;
    let of_cluster = matches!(candidate.policy.scope, Scope::Cluster(_));
    let meant: Vec<&str> = candidate
        .namespaces
        .iter()
        .copied()
        .filter(|name| !excluded.contains(name))
        .collect();
    if meant.is_empty() {
        let message = if of_cluster {
            "in use, but it selects no namespace whose pods are ever injected"
        } else {
            "pods of this namespace are never injected: the policy has no effect"
        };
        return (conditions::REASON_ACCEPTED, message.to_owned());
    }
    if spec.mode == Mode::Disabled {
        let message = "pods that this policy wins are left alone".to_owned();
        return (conditions::REASON_DISABLED, message);
    }
    let unbacked: Vec<&str> = meant
        .iter()
        .copied()
        .filter(|name| {
            let labels = namespaces.get(*name);
            labels.and_then(|found| found.get(labels::ENFORCE)) != Some(&"true".to_owned())
        })
        .collect();
    if spec.on_inject_failure == OnInjectFailure::Deny && !unbacked.is_empty() {
        let whom = if of_cluster {
            format!("in use, but nothing is refused in {}", named(&unbacked))
        } else {
            "in use, but nothing is refused".to_owned()
        };
        let message = format!(
            "{whom}: `onInjectFailure: Deny` holds only in namespaces labelled {}=true",
            labels::ENFORCE
        );
        return (conditions::REASON_DENY_NOT_BACKED, message);
    }
    let message = if of_cluster {
        let namespaces = counted(meant.len(), "namespace", "namespaces");
        format!("in use for new pods of {namespaces}")
    } else {
        "in use for new pods".to_owned()
    };
    (conditions::REASON_ACCEPTED, message)
}

/// A sentence on the policies that may select the same pods, or nothing.
fn overlaps(candidate: &Candidate<'_>, all: &[Candidate<'_>]) -> String {
    let others: Vec<&Policy> = all
        .iter()
        .filter(|other| !std::ptr::eq(*other, candidate) && candidate.may_overlap(other))
        .map(|other| &other.policy)
        .collect();
    let own = &candidate.policy;
    let (beaten, winners): (Vec<&Policy>, Vec<&Policy>) =
        others.into_iter().partition(|other| own.wins_over(other));
    let called = |policies: &[&Policy]| {
        let names: Vec<String> = policies
            .iter()
            .map(|policy| match (&policy.scope, &own.scope) {
                (Scope::Namespace(_), Scope::Namespace(_)) => policy.name.clone(),
                _ => policy.key(),
            })
            .collect();
        named(&names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    match (winners.is_empty(), beaten.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!("; wins over {} where both select a pod", called(&beaten)),
        (false, true) => format!("; loses to {} where both select a pod", called(&winners)),
        (false, false) => format!(
            "; loses to {} and wins over {} where both select a pod",
            called(&winners),
            called(&beaten)
        ),
    }
}

/// Names in a sentence, the first few of them.
pub(crate) fn named(names: &[&str]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMED_AT_MOST)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len().saturating_sub(NAMED_AT_MOST) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl Assessment {
    /// The status that the policy should have if `before` is not it.
    #[must_use]
    pub fn change(
        &self,
        before: &ProtectionPolicyStatus,
        now: Timestamp,
    ) -> Option<ProtectionPolicyStatus> {
        let said = Statement {
            type_: conditions::ACCEPTED,
            status: if self.accepted { "True" } else { "False" },
            reason: self.reason.to_owned(),
            message: self.message.clone(),
        };
        let accepted = said.condition(self.generation, &before.conditions, now);
        if before.conditions.contains(&accepted) && before.observed_generation == self.generation {
            return None;
        }
        Some(ProtectionPolicyStatus {
            observed_generation: self.generation,
            conditions: vec![accepted],
            // Written by the coverage controller, as a manager of its own.
            coverage: None,
            injection: None,
        })
    }
}

#[cfg(test)]
mod tests;
