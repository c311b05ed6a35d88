//! How the agent and the tracer of a pod run.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type inside a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the agent runs.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.native != 'Never' || self.startup != 'Require'").message("`startup: Require` needs a native sidecar, which `native: Never` rules out")
)]
pub struct Agent {
    /// Whether the agent is a native sidecar: an init container that keeps running, starts
    /// before the application and lets Jobs end. Auto: where the cluster has them (Kubernetes
    /// 1.29). Never: an ordinary container, with which Jobs do not end.
    #[serde(default)]
    pub native: NativeSidecar,
    /// Requests and limits of the agent. Without one for memory it requests 64Mi and is
    /// limited to 128Mi; without one for CPU it requests "0" and is not limited.
    #[serde(default)]
    pub resources: AgentResources,
    /// FitHeadroom: the memory request shrinks, down to 32Mi, when that keeps the pod in the
    /// Fargate size that it has without Picket. Fixed: the request is taken as it is.
    #[serde(default)]
    pub sizing: Sizing,
    /// Optional: the application does not wait for the agent; events are buffered. Require: a
    /// startup probe holds the application back until the agent has loaded its rules (native
    /// sidecars only).
    #[serde(default)]
    pub startup: Startup,
}

/// How the tracer runs.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tracer {
    /// Auto: by seccomp user notification, and by ptrace where that is refused. Ptrace: dearer,
    /// and no debugger works inside; for programs with a periodic signal whose handler lacks
    /// SA_RESTART, which with notifications can see a call interrupted (nginx with
    /// `timer_resolution`).
    #[serde(default)]
    pub engine: Engine,
}

/// By what means calls are traced.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Engine {
    /// The cheapest that the node allows.
    #[default]
    Auto,
    /// By ptrace.
    Ptrace,
}

/// Whether the agent is a native sidecar.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum NativeSidecar {
    /// Where the cluster has them.
    #[default]
    Auto,
    /// Always.
    Always,
    /// An ordinary container.
    Never,
}

/// How the agent's memory request is chosen.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Sizing {
    /// What is left of the pod's Fargate size, if that is enough.
    #[default]
    FitHeadroom,
    /// As requested.
    Fixed,
}

/// Whether the application waits for the agent.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Startup {
    /// It does not.
    #[default]
    Optional,
    /// It does.
    Require,
}

/// Requests and limits of the agent.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.limits) || !has(self.limits.memory) || !isQuantity(self.limits.memory) || quantity(self.limits.memory).compareTo(quantity('32Mi')) >= 0").message("`limits.memory` of the agent must be at least 32Mi"),
    validation = Rule::new("!has(self.limits) || !has(self.requests) || !has(self.limits.memory) || !has(self.requests.memory) || !isQuantity(self.limits.memory) || !isQuantity(self.requests.memory) || quantity(self.limits.memory).compareTo(quantity(self.requests.memory)) >= 0").message("`limits.memory` must not be below `requests.memory`"),
    validation = Rule::new("!has(self.limits) || !has(self.requests) || !has(self.limits.cpu) || !has(self.requests.cpu) || !isQuantity(self.limits.cpu) || !isQuantity(self.requests.cpu) || quantity(self.limits.cpu).compareTo(quantity(self.requests.cpu)) >= 0").message("`limits.cpu` must not be below `requests.cpu`")
)]
pub struct AgentResources {
    /// What the agent is promised.
    #[serde(default, skip_serializing_if = "Amounts::is_empty")]
    pub requests: Amounts,
    /// What the agent may use at most.
    #[serde(default, skip_serializing_if = "Amounts::is_empty")]
    pub limits: Amounts,
}

/// Amounts of CPU and memory.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.cpu) || (isQuantity(self.cpu) && quantity(self.cpu).compareTo(quantity('0')) >= 0)").message("`cpu` must be a quantity such as \"50m\" or \"0\""),
    validation = Rule::new("!has(self.memory) || (isQuantity(self.memory) && quantity(self.memory).compareTo(quantity('0')) >= 0)").message("`memory` must be a quantity such as \"64Mi\"")
)]
pub struct Amounts {
    /// CPU, for example `50m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 32))]
    pub cpu: Option<String>,
    /// Memory, for example `64Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 32))]
    pub memory: Option<String>,
}

impl Amounts {
    /// True when neither is given.
    pub fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }
}
