//! `CoverageReport`: what is protected in a namespace, what is not, and why.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type inside a function"
)]
#![allow(clippy::duplicated_attributes, reason = "printer columns of one type")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gap::Gap;

/// Name of a namespace's report; of several it is the beginning.
pub const REPORT_NAME: &str = "coverage";

/// What is protected in a namespace. The operator writes it; nobody else has to.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[kube(
    group = "picket.dev",
    version = "v1alpha1",
    kind = "CoverageReport",
    plural = "coveragereports",
    singular = "coveragereport",
    shortname = "cov",
    category = "picket",
    namespaced,
    derive = "PartialEq",
    status = "CoverageReportStatus",
    doc = "What is protected in a namespace, what is not, and why: a row for each workload that runs. Written by Picket's operator; a namespace with very many workloads has several reports.",
    printcolumn(
        name = "Workloads",
        type_ = "integer",
        json_path = ".status.summary.workloads",
        description = "Workloads that a policy selects"
    ),
    printcolumn(
        name = "Unhealthy",
        type_ = "integer",
        json_path = ".status.summary.unhealthy",
        description = "Those of which something that should be seen is not"
    ),
    printcolumn(
        name = "Pods",
        type_ = "integer",
        json_path = ".status.summary.pods.total",
        description = "Their pods that run or are about to"
    ),
    printcolumn(
        name = "Injected",
        type_ = "integer",
        json_path = ".status.summary.pods.injected",
        description = "Pods with tracer and agent"
    ),
    printcolumn(
        name = "Current",
        type_ = "integer",
        json_path = ".status.summary.pods.current",
        description = "Pods that are as they would be injected now"
    ),
    printcolumn(
        name = "Reporting",
        type_ = "integer",
        json_path = ".status.summary.pods.reporting",
        description = "Pods whose agent works"
    ),
    printcolumn(
        name = "Gaps",
        type_ = "string",
        json_path = ".status.summary.gaps",
        description = "What is not seen, and of how many pods"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct CoverageReportSpec {}

/// What is protected in a namespace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CoverageReportStatus {
    /// When it last changed, RFC 3339.
    pub updated: String,
    /// All rows together.
    pub summary: CoverageSummary,
    /// A row for each workload with pods, by kind and name.
    pub workloads: Vec<WorkloadCoverage>,
    /// Workloads for which there was no room; the summary counts them.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: u32,
}

/// All rows of a report together.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CoverageSummary {
    /// Workloads that a policy selects.
    pub workloads: u32,
    /// Those of which something that should be seen is not.
    pub unhealthy: u32,
    /// Workloads that no policy selects, or that opted out.
    pub unselected: u32,
    /// Pods of the selected workloads.
    pub pods: PodCounts,
    /// Pods with each gap, in one line for people: `Uninjected: 2, NoHeartbeat: 1`.
    pub gaps: String,
    /// Pods with each gap.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gap_counts: BTreeMap<String, u32>,
}

/// Pods of a workload or a policy. Each number counts some of those before it, `total` those
/// that run or are about to.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCounts {
    /// Pods that run or are about to, not those that have ended or are being deleted.
    pub total: u32,
    /// Pods with tracer and agent.
    pub injected: u32,
    /// Pods that are as this revision and the policy that wins would inject them.
    pub current: u32,
    /// Pods whose agent works: it was heard in the last 75 seconds or, where the relay cannot be
    /// reached, kubelet calls its container ready.
    pub reporting: u32,
}

impl PodCounts {
    /// Adds the counts of others.
    pub fn add(&mut self, other: Self) {
        self.total += other.total;
        self.injected += other.injected;
        self.current += other.current;
        self.reporting += other.reporting;
    }
}

/// What is protected of a workload.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadCoverage {
    /// Kind of the workload: Deployment, StatefulSet, DaemonSet, Job, CronJob, Pod, or whatever
    /// else controls pods.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: CoverageState,
    /// How it was last when it was not on its way: what notifications compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Health")]
    pub health: Option<Health>,
    /// Why no policy protects it, in the words of the webhook, for `state: Unselected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub reason: Option<String>,
    /// The policy that wins, as `namespace/name`; a policy of the cluster by its name alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub policy: Option<String>,
    /// Its pods.
    pub pods: PodCounts,
    /// What is not seen, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<WorkloadGap>,
    /// Its containers, those that are alike together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerCoverage>,
    /// Fargate sizes, those of the youngest pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Capacity")]
    pub capacity: Option<Capacity>,
    /// The rules that its agents evaluate; more than one while new ones are on their way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RulesInUse>,
    /// Its pods in quarantine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<String>,
    /// How the restart of its pods goes, where the policy wants one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub rollout: Option<String>,
}

/// How a workload is.
#[derive(
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    JsonSchema,
)]
pub enum CoverageState {
    /// Something that should be seen is not.
    Unhealthy,
    /// Its pods are starting; nothing is known to be wrong.
    Progressing,
    /// Everything that the policy wants is seen.
    Healthy,
    /// No policy wants it protected.
    #[default]
    Unselected,
}

/// How a workload is, once it is not on its way any more.
#[derive(
    Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema,
)]
pub enum Health {
    /// Everything that the policy wants is seen.
    Healthy,
    /// Something that should be seen is not.
    Unhealthy,
}

impl Health {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Unhealthy => "Unhealthy",
        }
    }
}

impl CoverageState {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unhealthy => "Unhealthy",
            Self::Progressing => "Progressing",
            Self::Healthy => "Healthy",
            Self::Unselected => "Unselected",
        }
    }

    /// What it says about the health, where it says something.
    pub const fn health(self) -> Option<Health> {
        match self {
            Self::Healthy => Some(Health::Healthy),
            Self::Unhealthy => Some(Health::Unhealthy),
            Self::Progressing | Self::Unselected => None,
        }
    }
}

/// What is not seen of a workload.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadGap {
    /// What.
    pub gap: Gap,
    /// Of how many pods.
    pub pods: u32,
    /// Of which container, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub container: Option<String>,
    /// One of those pods.
    pub pod: String,
    /// Why, or what it means.
    pub message: String,
}

/// How a container is traced.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerCoverage {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: ContainerTrace,
    /// Why, where it is not traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub reason: Option<String>,
    /// Where its arguments came from: Spec, Image or Override.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub argv_source: Option<String>,
    /// In how many pods.
    pub pods: u32,
}

/// How a container is traced.
#[derive(
    Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema,
)]
pub enum ContainerTrace {
    /// The agent says that its tracer works.
    Traced,
    /// The tracer is in it; nobody has said yet how it goes.
    Injected,
    /// It runs without a tracer that works, though it should not.
    NotTraced,
    /// It ended.
    Ended,
    /// It is left as it is.
    Skipped,
}

/// Fargate sizes of a pod, as AWS writes them: `0.25vCPU 0.5GB`.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Capacity {
    /// What the pod would get without Picket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub before: Option<String>,
    /// What it should get with Picket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub expected: Option<String>,
    /// What AWS provisioned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub provisioned: Option<String>,
}

/// Rules that agents evaluate.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RulesInUse {
    /// Hash of the rules as they were compiled.
    pub hash: String,
    /// In how many pods.
    pub pods: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
