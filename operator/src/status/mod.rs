//! The status of policies: what the operator thinks of each, written by the
//! replica that leads, and only when it changes.

mod overlap;
mod writer;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use picket_crds::{
    Mode, OnInjectFailure, ProtectionPolicy, ProtectionPolicyStatus, conditions, labels,
};

pub use overlap::may_overlap;
pub use writer::{FIELD_MANAGER, StatusWriter};

use crate::policies::{Namespaces, Policies};

/// How many other policies a message names.
const NAMED_AT_MOST: usize = 5;

/// What the operator thinks of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The policy's namespace.
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

/// Assesses all policies. `excluded` are the namespaces in which nothing is
/// ever injected.
#[must_use]
pub fn assess(policies: &Policies, namespaces: &Namespaces, excluded: &[&str]) -> Vec<Assessment> {
    let mut by_namespace: BTreeMap<String, Vec<&ProtectionPolicy>> = BTreeMap::new();
    for policy in &policies.valid {
        let namespace = policy.namespace().unwrap_or_default();
        by_namespace.entry(namespace).or_default().push(policy);
    }
    let mut assessments = Vec::new();
    for (namespace, policies) in &by_namespace {
        let enforced = namespaces
            .get(namespace)
            .and_then(|found| found.get(labels::ENFORCE))
            .is_some_and(|value| value == "true");
        for policy in policies {
            let (reason, mut message) = if excluded.contains(&namespace.as_str()) {
                (
                    conditions::REASON_ACCEPTED,
                    "pods of this namespace are never injected: the policy has no effect"
                        .to_owned(),
                )
            } else {
                reason(policy, enforced)
            };
            message.push_str(&overlaps(policy, policies));
            assessments.push(Assessment {
                namespace: namespace.clone(),
                name: policy.name_any(),
                generation: policy.metadata.generation,
                accepted: true,
                reason,
                message,
                before: Some(policy.status.clone().unwrap_or_default()),
            });
        }
    }
    for invalid in &policies.invalid {
        assessments.push(Assessment {
            namespace: invalid.metadata.namespace.clone().unwrap_or_default(),
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

fn reason(policy: &ProtectionPolicy, enforced: bool) -> (&'static str, String) {
    let spec = &policy.spec;
    if spec.mode == Mode::Disabled {
        (
            conditions::REASON_DISABLED,
            "pods that this policy wins are left alone".to_owned(),
        )
    } else if spec.on_inject_failure == OnInjectFailure::Deny && !enforced {
        (
            conditions::REASON_DENY_NOT_BACKED,
            format!(
                "in use, but nothing is refused: `onInjectFailure: Deny` holds only in namespaces labelled {}=true",
                labels::ENFORCE
            ),
        )
    } else {
        (
            conditions::REASON_ACCEPTED,
            "in use for new pods".to_owned(),
        )
    }
}

/// A sentence on the policies that may select the same pods, or nothing.
fn overlaps(policy: &ProtectionPolicy, all: &[&ProtectionPolicy]) -> String {
    let name = policy.name_any();
    let others: Vec<String> = all
        .iter()
        .filter(|other| other.name_any() != name)
        .filter(|other| may_overlap(&policy.spec.pod_selector, &other.spec.pod_selector))
        .map(|other| format!("`{}`", other.name_any()))
        .collect();
    if others.is_empty() {
        return String::new();
    }
    let more = match others.len().saturating_sub(NAMED_AT_MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = others[..others.len().min(NAMED_AT_MOST)].join(", ");
    format!(
        "; {named}{more} may select the same pods: the highest priority wins, then the oldest, then the first by name"
    )
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::error_boundary::InvalidObject;
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
            messages[0].contains("`web`, `job` may select the same pods"),
            "{messages:?}"
        );
        assert!(messages[1].contains("; `all` may select"), "{messages:?}");
        assert!(messages[2].contains("; `all` may select"), "{messages:?}");
    }

    #[test]
    fn a_policy_that_cannot_be_understood_does_not_touch_the_others() {
        let policies = Policies {
            valid: vec![policy("good", &json!({}))],
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
