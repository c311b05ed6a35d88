//! The status of policies: what the operator thinks of each, written by the
//! replica that leads, and only when it changes.

mod overlap;
mod writer;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use picket_crds::{Mode, OnInjectFailure, ProtectionPolicyStatus, conditions, labels};
use picket_webhook::{Policy, Scope};

pub use overlap::may_overlap;
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
        format!("in use for new pods of {} namespace(s)", meant.len())
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
fn named(names: &[&str]) -> String {
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
        let status = if self.accepted { "True" } else { "False" };
        let old = before
            .conditions
            .iter()
            .find(|condition| condition.type_ == conditions::ACCEPTED);
        let same = old.is_some_and(|old| {
            old.status == status
                && old.reason == self.reason
                && old.message == self.message
                && old.observed_generation == self.generation
        });
        if same && before.observed_generation == self.generation {
            return None;
        }
        // The time tells when the status last flipped, not when it was written.
        let last_transition_time = match old {
            Some(old) if old.status == status => old.last_transition_time.clone(),
            _ => Time(now),
        };
        Some(ProtectionPolicyStatus {
            observed_generation: self.generation,
            conditions: vec![Condition {
                type_: conditions::ACCEPTED.to_owned(),
                status: status.to_owned(),
                reason: self.reason.to_owned(),
                message: self.message.clone(),
                observed_generation: self.generation,
                last_transition_time,
            }],
            // Written by the coverage controller, as a manager of its own.
            coverage: None,
            injection: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::error_boundary::InvalidObject;
    use picket_crds::{ClusterProtectionPolicy, ProtectionPolicy};
    use serde_json::json;

    fn policy(name: &str, spec: &serde_json::Value) -> ProtectionPolicy {
        serde_json::from_value(json!({
            "apiVersion": "picket.dev/v1alpha1",
            "kind": "ProtectionPolicy",
            "metadata": {"name": name, "namespace": "shop", "generation": 3},
            "spec": spec,
        }))
        .expect("policy")
    }

    fn labelled(value: &str) -> Namespaces {
        [(
            "shop".to_owned(),
            [(labels::ENFORCE.to_owned(), value.to_owned())].into(),
        )]
        .into()
    }

    fn assess_valid(valid: Vec<ProtectionPolicy>, namespaces: &Namespaces) -> Vec<Assessment> {
        let policies = Policies {
            valid,
            cluster: Vec::new(),
            invalid: Vec::new(),
        };
        assess(&policies, namespaces, &["picket-system"])
    }

    #[test]
    fn reasons() {
        let cases = [
            ("plain", json!({}), "", conditions::REASON_ACCEPTED),
            (
                "off",
                json!({"mode": "Disabled"}),
                "",
                conditions::REASON_DISABLED,
            ),
            (
                "deny",
                json!({"onInjectFailure": "Deny"}),
                "",
                conditions::REASON_DENY_NOT_BACKED,
            ),
            (
                "deny, not labelled so",
                json!({"onInjectFailure": "Deny"}),
                "false",
                conditions::REASON_DENY_NOT_BACKED,
            ),
            (
                "deny, backed",
                json!({"onInjectFailure": "Deny"}),
                "true",
                conditions::REASON_ACCEPTED,
            ),
            (
                "off and deny",
                json!({"mode": "Disabled", "onInjectFailure": "Deny"}),
                "",
                conditions::REASON_DISABLED,
            ),
        ];
        for (name, spec, label, expected) in cases {
            let assessments = assess_valid(vec![policy("a", &spec)], &labelled(label));
            assert_eq!(assessments.len(), 1, "{name}");
            assert!(assessments[0].accepted, "{name}");
            assert_eq!(assessments[0].reason, expected, "{name}");
            assert_eq!(assessments[0].generation, Some(3), "{name}");
        }
    }

    #[test]
    fn an_excluded_namespace_is_told() {
        let policies = Policies {
            valid: vec![policy("a", &json!({}))],
            cluster: Vec::new(),
            invalid: Vec::new(),
        };
        let assessments = assess(&policies, &Namespaces::new(), &["shop"]);
        assert!(
            assessments[0].message.contains("never injected"),
            "{assessments:?}"
        );
    }

    #[test]
    fn overlapping_policies_are_named_on_both_sides() {
        let web = json!({"podSelector": {"matchLabels": {"app": "web"}}});
        let job = json!({"podSelector": {"matchLabels": {"app": "job"}}});
        let all = vec![
            policy("all", &json!({})),
            policy("web", &web),
            policy("job", &job),
        ];
        let assessments = assess_valid(all, &Namespaces::new());
        let messages: Vec<&str> = assessments.iter().map(|a| a.message.as_str()).collect();
        assert!(
            messages[0].contains("; wins over `web`, `job` where both select a pod"),
            "{messages:?}"
        );
        assert!(
            messages[1].contains("; loses to `all` where"),
            "{messages:?}"
        );
        assert!(
            messages[2].contains("; loses to `all` where"),
            "{messages:?}"
        );
    }

    fn cluster(name: &str, spec: &serde_json::Value) -> ClusterProtectionPolicy {
        serde_json::from_value(json!({
            "apiVersion": "picket.dev/v1alpha1",
            "kind": "ClusterProtectionPolicy",
            "metadata": {"name": name, "generation": 3},
            "spec": spec,
        }))
        .expect("policy")
    }

    #[test]
    fn policies_of_the_cluster_are_assessed_by_the_namespaces_that_they_select() {
        let labels = |team: &str, enforce: &str| {
            [
                ("team".to_owned(), team.to_owned()),
                (labels::ENFORCE.to_owned(), enforce.to_owned()),
            ]
            .into()
        };
        let namespaces: Namespaces = [
            ("shop".to_owned(), labels("web", "true")),
            ("blog".to_owned(), labels("web", "false")),
            ("bank".to_owned(), labels("bank", "true")),
        ]
        .into();
        let of_team = |team: &str, more: serde_json::Value| {
            let mut spec = json!({"namespaceSelector": {"matchLabels": {"team": team}}});
            spec.as_object_mut()
                .expect("spec")
                .extend(more.as_object().expect("more").clone());
            spec
        };
        let policies = Policies {
            valid: vec![policy("own", &json!({}))],
            cluster: vec![
                cluster("bank", &of_team("bank", json!({"onInjectFailure": "Deny"}))),
                cluster(
                    "floor",
                    &of_team(
                        "web",
                        json!({"optOut": "Forbidden", "onInjectFailure": "Deny"}),
                    ),
                ),
                cluster("nobody", &of_team("nobody", json!({}))),
            ],
            invalid: Vec::new(),
        };
        let found: Vec<(Kind, String, &str, String)> = assess(&policies, &namespaces, &[])
            .into_iter()
            .map(|found| (found.kind, found.name, found.reason, found.message))
            .collect();
        let expected = [
            (
                Kind::Namespaced,
                "own",
                conditions::REASON_ACCEPTED,
                "in use for new pods; loses to `floor` where both select a pod",
            ),
            (
                Kind::Cluster,
                "bank",
                conditions::REASON_ACCEPTED,
                "in use for new pods of 1 namespace(s)",
            ),
            (
                Kind::Cluster,
                "floor",
                conditions::REASON_DENY_NOT_BACKED,
                "in use, but nothing is refused in `blog`: `onInjectFailure: Deny` holds only in namespaces labelled picket.dev/enforce=true; wins over `shop/own` where both select a pod",
            ),
            (
                Kind::Cluster,
                "nobody",
                conditions::REASON_ACCEPTED,
                "in use, but it selects no namespace whose pods are ever injected",
            ),
        ];
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(
                (found.0, found.1.as_str(), found.2, found.3.as_str()),
                *expected
            );
        }
        assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn a_policy_that_cannot_be_understood_does_not_touch_the_others() {
        let policies = Policies {
            valid: vec![policy("good", &json!({}))],
            cluster: Vec::new(),
            invalid: vec![InvalidObject {
                error: "unknown variant `Sleep`".to_owned(),
                metadata: policy("bad", &json!({})).metadata,
            }],
        };
        let assessments = assess(&policies, &Namespaces::new(), &[]);
        assert_eq!(assessments[0].name, "good");
        assert!(assessments[0].accepted);
        assert_eq!(assessments[0].message, "in use for new pods");
        assert_eq!(assessments[1].name, "bad");
        assert!(!assessments[1].accepted);
        assert_eq!(assessments[1].reason, conditions::REASON_INVALID);
        assert!(assessments[1].message.contains("`Sleep`"));
    }

    #[test]
    fn only_a_change_is_written_and_only_a_flip_moves_the_time() {
        let at = |seconds: i64| Timestamp::from_second(seconds).expect("time");
        let assessment = assess_valid(vec![policy("a", &json!({}))], &Namespaces::new()).remove(0);
        let written = assessment
            .change(&ProtectionPolicyStatus::default(), at(10))
            .expect("first");
        assert_eq!(written.observed_generation, Some(3));
        assert_eq!(written.conditions[0].last_transition_time, Time(at(10)));
        assert_eq!(assessment.change(&written, at(20)), None, "nothing changed");

        let reworded = Assessment {
            message: "other words".to_owned(),
            ..assessment.clone()
        };
        let rewritten = reworded.change(&written, at(30)).expect("new message");
        assert_eq!(rewritten.conditions[0].last_transition_time, Time(at(10)));

        let newer = Assessment {
            generation: Some(4),
            ..assessment.clone()
        };
        let observed = newer.change(&written, at(40)).expect("new generation");
        assert_eq!(observed.conditions[0].observed_generation, Some(4));

        let refused = Assessment {
            accepted: false,
            ..assessment
        };
        let flipped = refused.change(&written, at(50)).expect("flip");
        assert_eq!(flipped.conditions[0].last_transition_time, Time(at(50)));
    }
}
