//! Whose tracer and agent are put into pods.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type inside a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose tracer and agent are put into pods.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Provider {
    /// Picket's.
    #[default]
    Picket,
    /// Datadog's, which sends to Datadog.
    Datadog,
}

/// How Datadog's tracer and agent are set up.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Datadog {
    /// The Datadog site that the agent sends to.
    #[serde(default = "site")]
    #[schemars(length(min = 1, max = 253))]
    pub site: String,
    /// Where the API key is. The Secret must be in the namespace of the pod.
    #[serde(default)]
    pub api_key: SecretKey,
    /// Name of the cluster, as Datadog shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 80))]
    pub cluster_name: Option<String>,
    /// Datadog's agent.
    #[serde(default = "agent_image")]
    #[schemars(length(min = 1, max = 512))]
    pub agent_image: String,
    /// Datadog's tracer. Agent and tracer speak a private protocol: keep both at versions that
    /// were released together.
    #[serde(default = "tracer_image")]
    #[schemars(length(min = 1, max = 512))]
    pub tracer_image: String,
    /// Whether containers of the pod see each other's processes, which Datadog's kill actions
    /// need. It changes what the application sees: its process is not process 1 any more.
    #[serde(default)]
    pub share_process_namespace: bool,
}

/// A key of a Secret.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[serde(default = "secret_name")]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[serde(default = "secret_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

impl Default for Datadog {
    fn default() -> Self {
        Self {
            site: site(),
            api_key: SecretKey::default(),
            cluster_name: None,
            agent_image: agent_image(),
            tracer_image: tracer_image(),
            share_process_namespace: false,
        }
    }
}

impl Default for SecretKey {
    fn default() -> Self {
        Self {
            name: secret_name(),
            key: secret_key(),
        }
    }
}

fn site() -> String {
    "datadoghq.com".to_owned()
}

fn agent_image() -> String {
    "public.ecr.aws/datadog/agent:7".to_owned()
}

fn tracer_image() -> String {
    "public.ecr.aws/datadog/cws-instrumentation:latest".to_owned()
}

fn secret_name() -> String {
    "datadog-secret".to_owned()
}

fn secret_key() -> String {
    "api-key".to_owned()
}
