//! Where it comes from what a container without `command` runs.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type inside a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where it comes from what a container without `command` runs.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.pinDigest) || !self.pinDigest || !has(self.resolve) || self.resolve == 'Registry'").message("`pinDigest` needs `resolve: Registry`: only registries know digests")
)]
pub struct Entrypoint {
    /// Registry: the registry is asked for ENTRYPOINT and CMD of images that no override fits.
    /// SpecOnly: no registry is ever asked; a container without `command` that no override
    /// fits is left alone with reason EntrypointUnresolved.
    #[serde(default)]
    pub resolve: Resolve,
    /// What happens to a pod with a container whose entrypoint cannot be found out. Skip: the
    /// container is left alone, and `onInjectFailure` decides about the pod. Deny: the pod is
    /// refused even where `onInjectFailure` would admit it; like that it holds only in
    /// namespaces labelled `picket.dev/enforce: "true"`.
    #[serde(default)]
    pub on_failure: OnEntrypointFailure,
    /// True: a container whose entrypoint came from the registry gets the digest of that image
    /// appended to its image reference, so that kubelet runs exactly what was looked at, even
    /// if the tag moves in between.
    #[serde(default)]
    pub pin_digest: bool,
    /// ENTRYPOINT and CMD of images, for containers without `command`. The first entry that
    /// fits a container is taken, and the registry is not asked about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub overrides: Vec<EntrypointOverride>,
}

/// Whether registries are asked what an image runs.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Resolve {
    /// Yes.
    #[default]
    Registry,
    /// Only what the pod and the policy say counts.
    SpecOnly,
}

/// What happens to a pod with a container whose entrypoint cannot be found out.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum OnEntrypointFailure {
    /// The container is left alone.
    #[default]
    Skip,
    /// The pod is refused, in namespaces labelled for enforcement.
    Deny,
}

/// ENTRYPOINT and CMD of an image.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.container) || has(self.image)").message("an entrypoint override needs `container` or `image` to say what it is for"),
    validation = Rule::new("(has(self.entrypoint) && self.entrypoint.size() > 0) || (has(self.cmd) && self.cmd.size() > 0)").message("an entrypoint override needs `entrypoint` or `cmd`, as the image defines them")
)]
pub struct EntrypointOverride {
    /// Name of the container; `*` and `?` are wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 63))]
    pub container: Option<String>,
    /// Image as the pod names it; `*` (also across `/`) and `?` are wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 512))]
    pub image: Option<String>,
    /// The image's ENTRYPOINT.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub entrypoint: Vec<String>,
    /// The image's CMD; a container's `args` take its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub cmd: Vec<String>,
}
