//! Which policy wins.

use std::cmp::Reverse;

use picket_crds::{
    ClusterProtectionPolicy, ComputeType, DEFAULT_RULE_SET, LabelSelector, Mode, OptOut,
    ProtectionPolicy, ProtectionPolicySpec,
};

use crate::namespace::Namespace;
use crate::reason::Reason;

/// The namespaces that a policy is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Scope {
    /// This one: a ProtectionPolicy.
    Namespace(String),
    /// Those with these labels: a ClusterProtectionPolicy.
    Cluster(LabelSelector),
}

/// A policy as the planner needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The namespaces that it is for.
    pub scope: Scope,
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
        let namespace = metadata
            .namespace
            .unwrap_or_else(|| default_namespace.to_owned());
        Self {
            scope: Scope::Namespace(namespace),
            name: metadata.name.unwrap_or_default(),
            created: metadata.creation_timestamp.map(|time| time.0.as_second()),
            spec: resource.spec,
        }
    }

    /// From an API object of the cluster.
    pub fn of_cluster(resource: ClusterProtectionPolicy) -> Self {
        let metadata = resource.metadata;
        Self {
            scope: Scope::Cluster(resource.spec.namespace_selector),
            name: metadata.name.unwrap_or_default(),
            created: metadata.creation_timestamp.map(|time| time.0.as_second()),
            spec: resource.spec.policy,
        }
    }

    /// `namespace/name`; the name alone for a policy of the cluster.
    pub fn key(&self) -> String {
        match &self.scope {
            Scope::Namespace(namespace) => format!("{namespace}/{}", self.name),
            Scope::Cluster(_) => self.name.clone(),
        }
    }

    /// Whether pods of a namespace are meant.
    pub fn is_for(&self, name: &str, namespace: &Namespace) -> bool {
        match &self.scope {
            Scope::Namespace(own) => own == name,
            Scope::Cluster(selector) => selector.matches(|key| namespace.label(key)),
        }
    }

    /// Whether this policy wins over another where both select a pod.
    pub fn wins_over(&self, other: &Self) -> bool {
        rank(self) < rank(other)
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

/// Finds the policies for a namespace that select a pod with these labels, and the one that
/// wins: cluster policies that forbid opting out, then the highest priority, then policies of
/// the namespace over those of the cluster, then the oldest, then the first by name.
///
/// # Errors
/// [`Reason::NotSelected`] when none does, [`Reason::NotFargate`] when one would if the pod
/// ran on Fargate.
pub fn select<'a, 'l>(
    policies: impl IntoIterator<Item = &'a Policy>,
    (name, namespace): (&str, &Namespace),
    label: impl Fn(&str) -> Option<&'l str>,
    fargate: bool,
) -> Result<Selection<'a>, Reason> {
    let mut selecting: Vec<&Policy> = policies
        .into_iter()
        .filter(|policy| policy.is_for(name, namespace) && policy.spec.pod_selector.matches(&label))
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

/// The least wins.
fn rank(policy: &Policy) -> (bool, Reverse<i32>, bool, i64, &str) {
    let of_cluster = matches!(policy.scope, Scope::Cluster(_));
    let commands = of_cluster && policy.spec.opt_out == OptOut::Forbidden;
    (
        !commands,
        Reverse(policy.spec.priority),
        of_cluster,
        policy.created.unwrap_or(i64::MAX),
        &policy.name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: (&str, &Namespace) = ("shop", Namespace::UNKNOWN);

    fn policy(name: &str, priority: i32, created: i64) -> Policy {
        let spec = ProtectionPolicySpec {
            priority,
            compute_type: ComputeType::Any,
            ..Default::default()
        };
        Policy {
            scope: Scope::Namespace("shop".into()),
            name: name.into(),
            created: Some(created),
            spec,
        }
    }

    fn names(policies: &[Policy]) -> Vec<String> {
        let selection = select(policies, SHOP, |_| None, false).unwrap();
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

    fn of_cluster(name: &str, priority: i32, created: i64) -> Policy {
        Policy {
            scope: Scope::Cluster(LabelSelector::default()),
            ..policy(name, priority, created)
        }
    }

    #[test]
    fn a_namespace_over_the_cluster_unless_the_cluster_forbids_opting_out() {
        let own = policy("own", 0, 9);
        let older = of_cluster("older", 0, 1);
        assert_eq!(names(&[older.clone(), own.clone()]), ["own", "older"]);
        let higher = of_cluster("higher", 1, 9);
        assert_eq!(
            names(&[older.clone(), own.clone(), higher.clone()]),
            ["higher", "own", "older"]
        );
        let mut forbids = of_cluster("forbids", -1000, 9);
        forbids.spec.opt_out = OptOut::Forbidden;
        let mut own_forbids = policy("own-forbids", 5, 9);
        own_forbids.spec.opt_out = OptOut::Forbidden;
        assert_eq!(
            names(&[older, own, higher, forbids.clone(), own_forbids.clone()]),
            ["forbids", "own-forbids", "higher", "own", "older"]
        );
        assert!(forbids.wins_over(&own_forbids) && !own_forbids.wins_over(&forbids));
    }

    #[test]
    fn a_namespace_selector_chooses_by_labels() {
        let mut policy = of_cluster("a", 0, 0);
        let team = LabelSelector {
            match_labels: [("team".to_owned(), "shop".to_owned())].into(),
            ..LabelSelector::default()
        };
        policy.scope = Scope::Cluster(team);
        let mut namespace = Namespace::named("web");
        let selected = |namespace: &Namespace| {
            select([&policy], ("web", namespace), |_| None, true).map(|found| found.winner.key())
        };
        assert_eq!(selected(&namespace), Err(Reason::NotSelected));
        namespace.labels.insert("team".into(), "shop".into());
        assert_eq!(selected(&namespace), Ok("a".to_owned()));
        assert_eq!(selected(Namespace::UNKNOWN), Err(Reason::NotSelected));
    }

    #[test]
    fn other_namespaces_do_not_count() {
        let mut elsewhere = policy("a", 0, 0);
        elsewhere.scope = Scope::Namespace("blog".into());
        assert_eq!(
            select([&elsewhere], SHOP, |_| None, true),
            Err(Reason::NotSelected)
        );
    }

    #[test]
    fn fargate_policies_need_a_fargate_pod() {
        let mut fargate = policy("a", 5, 0);
        fargate.spec.compute_type = ComputeType::Fargate;
        assert_eq!(
            select([&fargate], SHOP, |_| None, false),
            Err(Reason::NotFargate)
        );
        assert_eq!(names(&[fargate.clone(), policy("b", 0, 0)]), ["b"]);
        assert_eq!(
            select([&fargate], SHOP, |_| None, true)
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
        let selection = select(&policies, SHOP, |_| None, false).unwrap();
        assert_eq!(selection.rule_sets, ["default", "web"]);
    }
}
