//! `ProtectionPolicy`: which pods are protected, and how.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type inside a function"
)]
#![allow(clippy::duplicated_attributes, reason = "printer columns of one type")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::{Agent, Tracer};
use crate::coverage::Coverage;
use crate::entrypoint::Entrypoint;
use crate::provider::{Datadog, Provider};
use crate::report::PodCounts;
use crate::rollout::Rollout;
use crate::selector::LabelSelector;

/// Protects pods of its namespace at run time.
///
/// Pods that it selects get the tracer and the agent when they are created; pods that already
/// run have to be restarted. Where several policies select a pod exactly one wins: cluster
/// policies that forbid opting out, then the highest `priority`, then policies of the namespace
/// over those of the cluster, then the oldest, then the first by name. Rule sets of all of them
/// add up.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "picket.dev",
    version = "v1alpha1",
    kind = "ProtectionPolicy",
    plural = "protectionpolicies",
    singular = "protectionpolicy",
    shortname = "pp",
    category = "picket",
    namespaced,
    derive = "PartialEq",
    status = "ProtectionPolicyStatus",
    doc = "Protects pods of its namespace at run time. Pods that it selects get the tracer and the agent when they are created; pods that already run have to be restarted. Where several policies select a pod exactly one wins: cluster policies that forbid opting out, then the highest priority, then policies of the namespace over those of the cluster, then the oldest, then the first by name; rule sets of all of them add up.",
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.mode",
        description = "What happens to what is found"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether new pods would be protected and would start, as far as was tried"
    ),
    printcolumn(
        name = "Matched",
        type_ = "integer",
        json_path = ".status.coverage.total",
        description = "Pods that this policy wins"
    ),
    printcolumn(
        name = "Injected",
        type_ = "integer",
        json_path = ".status.coverage.injected",
        description = "Those with tracer and agent"
    ),
    printcolumn(
        name = "Current",
        type_ = "integer",
        json_path = ".status.coverage.current",
        description = "Those that are as they would be injected now"
    ),
    printcolumn(
        name = "Reporting",
        type_ = "integer",
        json_path = ".status.coverage.reporting",
        description = "Those whose agent works"
    ),
    printcolumn(
        name = "Covered",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Covered\")].status",
        description = "Whether everything that the policy wants is seen"
    ),
    printcolumn(
        name = "Compute",
        type_ = "string",
        json_path = ".spec.computeType",
        description = "Which pods are looked at",
        priority = 1
    ),
    printcolumn(
        name = "Opt-Out",
        type_ = "string",
        json_path = ".spec.optOut",
        description = "What the label picket.dev/protect=false is worth",
        priority = 1
    ),
    printcolumn(
        name = "Why",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready, or not",
        priority = 1
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether webhooks use it",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].reason",
        description = "Why, or why not",
        priority = 1
    ),
    printcolumn(
        name = "Priority",
        type_ = "integer",
        json_path = ".spec.priority",
        description = "The higher wins",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    validation = Rule::new("self.provider != 'Datadog' || !(self.coverage.execProbes || self.coverage.lifecycleHooks || self.coverage.ephemeralContainers)").message("`coverage` is for `provider: Picket`: Datadog's tracer runs containers only")
)]
pub struct ProtectionPolicySpec {
    /// What happens to what the rules find. Monitor reports what deny and kill actions would
    /// have done; Enforce lets them act; Disabled leaves the pods that this policy wins alone.
    #[serde(default)]
    pub mode: Mode,

    /// The pods that are meant, by their labels; empty means all of them.
    #[serde(default)]
    pub pod_selector: LabelSelector,

    /// Fargate: only pods that AWS has labelled `eks.amazonaws.com/fargate-profile`. Any: all
    /// pods, wherever they run.
    #[serde(default)]
    pub compute_type: ComputeType,

    /// Which containers of a selected pod are traced.
    #[serde(default)]
    pub containers: Containers,

    /// What a pod's label `picket.dev/protect: "false"` is worth. Allowed: it is honoured.
    /// Audited: it is honoured and recorded. Forbidden: it is ignored, and said so.
    #[serde(default)]
    pub opt_out: OptOut,

    /// What happens to a pod that cannot be injected. Admit: it starts unprotected, with the
    /// reason recorded. Deny: it is refused; this holds only in namespaces labelled
    /// `picket.dev/enforce: "true"`.
    #[serde(default)]
    pub on_inject_failure: OnInjectFailure,

    /// How the agent runs.
    #[serde(default)]
    pub agent: Agent,

    /// How the tracer runs, for `provider: Picket`.
    #[serde(default)]
    pub tracer: Tracer,

    /// Where it comes from what a container without `command` runs.
    #[serde(default)]
    pub entrypoint: Entrypoint,

    /// What is traced beside the containers' own commands.
    #[serde(default)]
    pub coverage: Coverage,

    /// Whose tracer and agent are put into pods: Picket's, or Datadog's.
    #[serde(default)]
    pub provider: Provider,

    /// How Datadog's tracer and agent are set up, for `provider: Datadog`.
    #[serde(default)]
    pub datadog: Datadog,

    /// How pods that run already are brought in.
    #[serde(default)]
    pub rollout: Rollout,

    /// Rule sets that apply, by name: RuleSets, and `default`, the rules built into the agent.
    /// Empty means `default`. Those of all policies that select a pod add up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub rule_sets: Vec<String>,

    /// Decides between policies that select the same pod: the higher wins.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
}

/// What happens to what the rules find.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Mode {
    /// Report; deny and kill actions say what they would have done.
    #[default]
    Monitor,
    /// Report, and let deny and kill actions act.
    Enforce,
    /// Leave pods alone.
    Disabled,
}

/// Which pods are looked at, by where they run.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ComputeType {
    /// Pods with the label that AWS' webhook sets for Fargate.
    #[default]
    Fargate,
    /// Every pod.
    Any,
}

/// What a pod's wish not to be protected is worth.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum OptOut {
    /// Honoured.
    #[default]
    Allowed,
    /// Honoured and recorded.
    Audited,
    /// Ignored.
    Forbidden,
}

/// What happens to a pod that cannot be injected.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum OnInjectFailure {
    /// It starts unprotected.
    #[default]
    Admit,
    /// It is refused, in namespaces labelled for enforcement.
    Deny,
}

/// Which containers of a pod are traced.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.include) || self.include.all(glob, glob.matches('^[-a-z0-9*?]+$'))").message("`include` holds names of containers: lower-case letters, digits and '-', with '*' and '?' as wildcards"),
    validation = Rule::new("!has(self.exclude) || self.exclude.all(glob, glob.matches('^[-a-z0-9*?]+$'))").message("`exclude` holds names of containers: lower-case letters, digits and '-', with '*' and '?' as wildcards"),
    validation = Rule::new("!has(self.exclude) || self.exclude.all(glob, glob != '*')").message("`exclude: [\"*\"]` would leave no container; to leave pods alone use `mode: Disabled`")
)]
pub struct Containers {
    /// Names of the containers that are traced; `*` and `?` are wildcards. Empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub include: Vec<String>,
    /// Names of the containers that are not traced, even if `include` names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub exclude: Vec<String>,
    /// Whether init containers, native sidecars among them, are traced too.
    #[serde(default = "yes")]
    pub init_containers: bool,
}

impl Default for Containers {
    fn default() -> Self {
        Self {
            include: Vec::new(),
            exclude: Vec::new(),
            init_containers: true,
        }
    }
}

fn yes() -> bool {
    true
}

/// What the operator knows about a policy.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProtectionPolicyStatus {
    /// The generation of the spec that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub observed_generation: Option<i64>,
    /// Accepted: whether webhooks use this policy, and if not, why. Ready: whether new pods would be
    /// protected and would start, as far as was tried. WebhookReachable: whether API servers reach
    /// the webhook. RuleSetsResolved: whether its rule sets are in use. InjectionSuspended: whether
    /// workloads are left alone because injected pods did not start. Covered: whether everything
    /// that it wants is seen, and if not, what is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The pods that this policy wins; `total` is how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PodCounts")]
    pub coverage: Option<PodCounts>,
    /// The version of what the policy has injected; pods that are older are out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "InjectionVersion")]
    pub injection: Option<InjectionVersion>,
}

/// A version of what a policy has injected.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct InjectionVersion {
    /// Hash of the fields that decide about it.
    pub hash: String,
    /// Since when it is so, in seconds since 1970.
    pub since: i64,
}

impl ProtectionPolicySpec {
    /// Hash of the fields that decide how a pod of this policy is injected: a pod that was
    /// injected by others is out of date. The mode is not among them: pods carry it.
    pub fn injection_hash(&self) -> String {
        let datadog = (self.provider == Provider::Datadog).then_some(&self.datadog);
        let decisive = serde_json::json!([
            self.containers,
            self.agent,
            self.tracer,
            self.entrypoint,
            self.coverage,
            self.provider,
            datadog,
        ]);
        // FNV-1a: the same in every version and on every machine.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in decisive.to_string().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        format!("{hash:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Engine;

    #[test]
    fn the_hash_changes_with_what_is_injected_and_with_nothing_else() {
        let hash = |change: fn(&mut ProtectionPolicySpec)| {
            let mut spec = ProtectionPolicySpec::default();
            change(&mut spec);
            spec.injection_hash()
        };
        let plain = hash(|_| {});
        assert_eq!(hash(|spec| spec.priority = 7), plain);
        assert_eq!(hash(|spec| spec.mode = Mode::Enforce), plain);
        assert_eq!(hash(|spec| spec.datadog.site = "other".into()), plain);
        assert_ne!(hash(|spec| spec.coverage.exec = true), plain);
        assert_ne!(hash(|spec| spec.tracer.engine = Engine::Ptrace), plain);
        assert_ne!(
            hash(|spec| spec.containers.exclude = vec!["a".into()]),
            plain
        );
        assert_ne!(hash(|spec| spec.provider = Provider::Datadog), plain);
    }
}
