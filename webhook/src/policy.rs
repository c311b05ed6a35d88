//! Which policy wins.

use std::cmp::Reverse;

use picket_crds::{ComputeType, DEFAULT_RULE_SET, Mode, ProtectionPolicy, ProtectionPolicySpec};

use crate::reason::Reason;

/// A policy as the planner needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The namespace that it is for.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was created, in seconds since 1970; `None` (offline) counts as the youngest.
    pub created: Option<i64>,
    /// What it wants.
    pub spec: ProtectionPolicySpec,
}

impl Policy {
    /// From an API object; `default_namespace` where it names none, as `kubectl` does.
    pub fn new(resource: ProtectionPolicy, default_namespace: &str) -> Self {
        let metadata = resource.metadata;
        Self {
            namespace: metadata
                .namespace
                .unwrap_or_else(|| default_namespace.to_owned()),
            name: metadata.name.unwrap_or_default(),
            created: metadata.creation_timestamp.map(|time| time.0.as_second()),
            spec: resource.spec,
        }
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// The policies that select a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection<'a> {
    /// The one that counts.
    pub winner: &'a Policy,
    /// The others, the next in line first.
    pub losers: Vec<&'a Policy>,
    /// Names of the rule sets of all of them that are not disabled, sorted.
    pub rule_sets: Vec<String>,
}

/// Finds the policies of a namespace that select a pod with these labels, and the one that
/// wins: the highest priority, then the oldest, then the first by name.
///
/// # Errors
/// [`Reason::NotSelected`] when none does, [`Reason::NotFargate`] when one would if the pod
/// ran on Fargate.
pub fn select<'a, 'l>(
    policies: impl IntoIterator<Item = &'a Policy>,
    namespace: &str,
    label: impl Fn(&str) -> Option<&'l str>,
    fargate: bool,
) -> Result<Selection<'a>, Reason> {
    let mut selecting: Vec<&Policy> = policies
        .into_iter()
        .filter(|policy| policy.namespace == namespace && policy.spec.pod_selector.matches(&label))
        .collect();
    if selecting.is_empty() {
        return Err(Reason::NotSelected);
    }
    selecting.retain(|policy| fargate || policy.spec.compute_type == ComputeType::Any);
    selecting.sort_by(|left, right| rank(left).cmp(&rank(right)));
    let Some((winner, losers)) = selecting.split_first() else {
        return Err(Reason::NotFargate);
    };
    let mut rule_sets: Vec<String> = selecting
        .iter()
        .filter(|policy| policy.spec.mode != Mode::Disabled)
        .flat_map(|policy| match policy.spec.rule_sets.as_slice() {
            [] => vec![DEFAULT_RULE_SET.to_owned()],
            names => names.to_vec(),
        })
        .collect();
    rule_sets.sort();
    rule_sets.dedup();
    Ok(Selection {
        winner,
        losers: losers.to_vec(),
        rule_sets,
    })
}

fn rank(policy: &Policy) -> (Reverse<i32>, i64, &str) {
    (
        Reverse(policy.spec.priority),
        policy.created.unwrap_or(i64::MAX),
        &policy.name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, priority: i32, created: i64) -> Policy {
        let spec = ProtectionPolicySpec {
            priority,
            compute_type: ComputeType::Any,
            ..Default::default()
        };
        Policy {
            namespace: "shop".into(),
            name: name.into(),
            created: Some(created),
            spec,
        }
    }

    fn names(policies: &[Policy]) -> Vec<String> {
        let selection = select(policies, "shop", |_| None, false).unwrap();
        std::iter::once(selection.winner)
            .chain(selection.losers)
            .map(|policy| policy.name.clone())
            .collect()
    }

    #[test]
    fn priority_then_age_then_name() {
        let policies = [
            policy("b", 0, 5),
            policy("a", 0, 5),
            policy("old", 0, 1),
            policy("high", 9, 9),
        ];
        assert_eq!(names(&policies), ["high", "old", "a", "b"]);
    }

    #[test]
    fn an_offline_policy_is_the_youngest() {
        let mut offline = policy("a", 0, 0);
        offline.created = None;
        assert_eq!(names(&[offline, policy("b", 0, 100)]), ["b", "a"]);
    }

    #[test]
    fn other_namespaces_do_not_count() {
        let mut elsewhere = policy("a", 0, 0);
        elsewhere.namespace = "blog".into();
        assert_eq!(
            select([&elsewhere], "shop", |_| None, true),
            Err(Reason::NotSelected)
        );
    }

    #[test]
    fn fargate_policies_need_a_fargate_pod() {
        let mut fargate = policy("a", 5, 0);
        fargate.spec.compute_type = ComputeType::Fargate;
        assert_eq!(
            select([&fargate], "shop", |_| None, false),
            Err(Reason::NotFargate)
        );
        assert_eq!(names(&[fargate.clone(), policy("b", 0, 0)]), ["b"]);
        assert_eq!(
            select([&fargate], "shop", |_| None, true)
                .unwrap()
                .winner
                .name,
            "a"
        );
    }

    #[test]
    fn rule_sets_add_up_without_the_disabled() {
        let mut first = policy("a", 1, 0);
        first.spec.rule_sets = vec!["web".into(), "default".into()];
        let second = policy("b", 0, 0);
        let mut disabled = policy("c", 0, 0);
        disabled.spec.mode = Mode::Disabled;
        disabled.spec.rule_sets = vec!["unused".into()];
        let policies = [first, second, disabled];
        let selection = select(&policies, "shop", |_| None, false).unwrap();
        assert_eq!(selection.rule_sets, ["default", "web"]);
    }
}
