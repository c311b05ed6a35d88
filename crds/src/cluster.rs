//! `ClusterProtectionPolicy`: the same for the pods of several namespaces.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type inside a function"
)]
#![allow(clippy::duplicated_attributes, reason = "printer columns of one type")]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::policy::{ProtectionPolicySpec, ProtectionPolicyStatus};
use crate::selector::LabelSelector;

/// Protects pods of the namespaces that it selects at run time.
///
/// One that forbids opting out wins over every other policy; apart from that it competes with
/// the policies of the pod's namespace by `priority`.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "picket.dev",
    version = "v1alpha1",
    kind = "ClusterProtectionPolicy",
    plural = "clusterprotectionpolicies",
    singular = "clusterprotectionpolicy",
    shortname = "cpp",
    category = "picket",
    derive = "PartialEq",
    status = "ProtectionPolicyStatus",
    doc = "Protects pods of the namespaces that it selects at run time. Pods that it selects get the tracer and the agent when they are created; pods that already run have to be restarted. Where several policies select a pod exactly one wins: cluster policies that forbid opting out, then the highest priority, then policies of the namespace, then the oldest, then the first by name; rule sets of all of them add up.",
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
pub struct ClusterProtectionPolicySpec {
    /// The namespaces that are meant, by their labels; empty means all of them but Picket's own
    /// and `kube-system`, which are never injected. `kubernetes.io/metadata.name` is the label
    /// that holds a namespace's name.
    #[serde(default)]
    pub namespace_selector: LabelSelector,

    /// What every policy says.
    #[serde(flatten)]
    pub policy: ProtectionPolicySpec,
}
