//! A pod as it is read from the API server: only the fields that somebody here asks for, so that
//! nothing else is ever kept. Every field may be missing: a pod that this version does not
//! understand must not stop the watch.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};

/// A pod, cut down.
#[derive(Clone, Debug, Default, Deserialize, kube::Resource)]
#[resource(inherit = Pod)]
pub struct WatchedPod {
    /// Name, labels, owners; without what nobody asks for.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What was wanted.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) spec: Spec,
    /// What is.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) node_name: Option<String>,
    pub(super) service_account_name: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ephemeral_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) command: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) args: Vec<String>,
    pub(super) restart_policy: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) volume_mounts: Vec<VolumeMount>,
    #[serde(deserialize_with = "or_default")]
    pub(super) env: Vec<Variable>,
    pub(super) startup_probe: Option<Handler>,
    pub(super) liveness_probe: Option<Handler>,
    pub(super) readiness_probe: Option<Handler>,
    pub(super) lifecycle: Option<Lifecycle>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct VolumeMount {
    pub(super) name: String,
    pub(super) mount_path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Lifecycle {
    pub(super) post_start: Option<Handler>,
    pub(super) pre_stop: Option<Handler>,
}

/// A probe or a hook, of which only a command matters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Handler {
    pub(super) exec: Option<ExecAction>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExecAction {
    #[serde(deserialize_with = "or_default")]
    pub(super) command: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) phase: Option<String>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    pub(super) ready: bool,
    pub(super) restart_count: u32,
    pub(super) state: Option<State>,
    pub(super) last_state: Option<State>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub(super) waiting: Option<Ended>,
    pub(super) running: Option<Running>,
    pub(super) terminated: Option<Ended>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Running {
    pub(super) started_at: Option<String>,
}

/// Why a container waits or has ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Ended {
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) exit_code: i32,
}

/// `null` counts as missing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
