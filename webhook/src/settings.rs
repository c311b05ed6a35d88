//! What the installation decides, the same for every pod.

use std::sync::{Arc, PoisonError, RwLock};

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
    /// Public keys by which agents know who opened a session: Ed25519 in base64, the present one
    /// first. Without one, sessions are not traced.
    pub session_keys: Vec<String>,
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
            session_keys: Vec::new(),
            own_namespace: "picket-system".to_owned(),
        }
    }
}

/// Settings that may change while requests are answered. Clones share them; reading takes one
/// short lock and copies a pointer.
#[derive(Debug, Clone)]
pub struct SharedSettings(Arc<RwLock<Arc<Settings>>>);

impl SharedSettings {
    /// As they are now.
    pub fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes them for every answer that begins from now on.
    pub fn update(&self, change: impl FnOnce(&mut Settings)) {
        let mut shared = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut shared));
    }
}

impl From<Arc<Settings>> for SharedSettings {
    fn from(settings: Arc<Settings>) -> Self {
        Self(Arc::new(RwLock::new(settings)))
    }
}

impl From<Settings> for SharedSettings {
    fn from(settings: Settings) -> Self {
        Arc::new(settings).into()
    }
}
