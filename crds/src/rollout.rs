//! How pods that run already are brought in.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type inside a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How pods that run already are brought in.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// OnRestart: pods are injected when their workload is restarted by whoever does that.
    /// RollingRestart: the operator restarts workloads with pods that are bare or out of date:
    /// Deployments and StatefulSets that replace their pods one after the other; nothing else.
    #[serde(default)]
    pub strategy: Strategy,
    /// How many workloads of this policy are restarted at the same time. Within each, its own
    /// update strategy decides.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub max_unavailable: u32,
}

/// Who restarts workloads.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Strategy {
    /// Whoever does that anyway.
    #[default]
    OnRestart,
    /// The operator.
    RollingRestart,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            max_unavailable: one(),
        }
    }
}

const fn one() -> u32 {
    1
}
