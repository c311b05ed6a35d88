//! What is traced beside a container's own command.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type inside a function"
)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What is traced beside a container's own command. Whatever is off and there is reported as a
/// coverage gap.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Whether commands of startup, liveness and readiness probes run under the tracer. Probes
    /// by HTTP, TCP and gRPC run nothing in the container.
    #[serde(default)]
    pub exec_probes: bool,
    /// Whether commands of postStart and preStop hooks run under the tracer.
    #[serde(default)]
    pub lifecycle_hooks: bool,
    /// Whether ephemeral containers (`kubectl debug`) of injected pods run under the tracer.
    #[serde(default)]
    pub ephemeral_containers: bool,
    /// Whether commands that somebody runs in a traced container (`kubectl exec`) run under a
    /// tracer of their own, which knows the caller.
    #[serde(default)]
    pub exec: bool,
}
