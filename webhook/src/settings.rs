//! What the installation decides, the same for every pod.

/// What the installation decides, the same for every pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// False stops every injection at once.
    pub enabled: bool,
    /// Image with `/picket-tracer` and `/picket-agent`, by digest in production.
    pub sidecar_image: String,
    /// Names of pull secrets for it, appended to the pod's own.
    pub image_pull_secrets: Vec<String>,
    /// Version of what is injected; running pods of another one are stale.
    pub revision: String,
    /// Text form of the interest of the rule sets that apply (`picket_events::Interest`).
    pub interest: String,
    /// Whether the cluster runs native sidecars (Kubernetes 1.29 and later).
    pub native_sidecars: bool,
    /// Picket's own namespace, which is never injected.
    pub own_namespace: String,
}

impl Settings {
    /// The name of the namespace that holds the cluster's own parts; never injected.
    pub const SYSTEM_NAMESPACE: &str = "kube-system";

    /// Settings with this image, an interest in everything and native sidecars.
    pub fn new(sidecar_image: impl Into<String>, revision: impl Into<String>) -> Self {
        Self {
            enabled: true,
            sidecar_image: sidecar_image.into(),
            image_pull_secrets: Vec::new(),
            revision: revision.into(),
            interest: "all".to_owned(),
            native_sidecars: true,
            own_namespace: "picket-system".to_owned(),
        }
    }
}
