//! The annotation `picket.dev/status`: what was decided, and what is needed to undo it.
//!
//! It holds lengths and absences, never values of arguments. Whoever creates a pod can write
//! it, so it is only ever used to give such a pod its own argument split back.

use picket_crds::{Mode, annotations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::capacity::{FargateSize, Qos};

/// The annotation's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What was injected.
    pub revision: String,
    /// The [`fingerprint`](crate::suspension::fingerprint) of image, revision and policy: one that
    /// differs from the present one tells that the pod is not as it would be injected now.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// The policy that won, as `namespace/name`; a policy of the cluster by its name alone.
    pub policy: String,
    /// Its mode.
    pub mode: Mode,
    /// How the agent runs.
    pub agent: AgentKind,
    /// Every container that the pod brought, in its order, init containers first.
    pub containers: Vec<ContainerStatus>,
    /// Pull secrets that were appended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// True when the pod's `shareProcessNamespace` is ours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub share_process_namespace: bool,
    /// The Fargate size, if the pod runs there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fargate: Option<Change<Option<FargateSize>>>,
    /// The quality-of-service class.
    pub qos: Change<Qos>,
}

/// How the agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentKind {
    /// As an init container that keeps running.
    NativeSidecar,
    /// As an ordinary container.
    Container,
}

/// Before and after injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<T> {
    /// As the pod came.
    pub before: T,
    /// As it was injected.
    pub after: T,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Where the arguments came from, if it is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv_source: Option<ArgvSource>,
    /// Length of the container's own `command`; absent if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<usize>,
    /// Length of the container's own `args`; absent if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<usize>,
    /// Digest of the image that the arguments came from, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// True when that digest was appended to the container's image reference.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pinned: bool,
    /// Why it is not traced, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// Where the arguments of a traced container came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArgvSource {
    /// The container's `command` and `args`.
    Spec,
    /// The image's ENTRYPOINT, with `args` or the image's CMD.
    Image,
    /// An entrypoint override of the policy.
    Override,
}

impl Status {
    /// The annotation of a pod; `None` when it has none, or one that is not ours.
    pub fn of(pod: &Value) -> Option<Self> {
        let text = pod["metadata"]["annotations"][annotations::STATUS].as_str()?;
        serde_json::from_str(text).ok()
    }

    /// What is said about a container.
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers
            .iter()
            .find(|container| container.name == name)
    }
}
