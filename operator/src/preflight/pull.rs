//! Whether the sidecar image can be had, asked of its registry before any pod needs it.

use picket_webhook::Settings;
use picket_webhook::entrypoint::{Cause, Platform, PullScope, Resolver, Wanted};
use serde_json::json;

/// Asks registries for the sidecar image. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Preflight {
    resolver: Option<Resolver>,
}

/// What a registry said of the sidecar image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull {
    /// It has it, under this digest.
    Works(String),
    /// It has no such image, or no program for this platform.
    Refused(String),
    /// It cannot be told: nobody may be asked, or the registry does not answer, or it wants
    /// credentials that kubelet may have and the control plane does not.
    Unknown(String),
}

impl Preflight {
    /// Asks by this resolver; without one nothing is known.
    #[must_use]
    pub fn new(resolver: Option<Resolver>) -> Self {
        Self { resolver }
    }

    /// Asks for the image that pods of a namespace get.
    pub async fn pull(&self, settings: &Settings, namespace: &str) -> Pull {
        let Some(resolver) = &self.resolver else {
            return Pull::Unknown("registries are not asked (imageResolution.enabled)".into());
        };
        let wanted = Wanted {
            image: settings.sidecar_image.clone(),
            platform: Platform::amd64(),
        };
        let secrets: Vec<_> = settings
            .image_pull_secrets
            .iter()
            .map(|name| json!({"name": name}))
            .collect();
        let pod = json!({"spec": {"imagePullSecrets": secrets}});
        let scope = PullScope::of_pod(&pod, namespace);
        let images = resolver.images(std::slice::from_ref(&wanted), &scope).await;
        match images.get(&wanted) {
            Some(Ok(image)) => Pull::Works(image.digest.clone()),
            Some(Err(unresolved)) => {
                let words = unresolved.to_string();
                if is_final(unresolved.cause) {
                    Pull::Refused(words)
                } else {
                    Pull::Unknown(words)
                }
            }
            None => Pull::Unknown("the registry did not answer in time".into()),
        }
    }

    /// Whether the image can be pulled; `None` when that cannot be told.
    pub async fn can_pull(&self, settings: &Settings, namespace: &str) -> Option<bool> {
        match self.pull(settings, namespace).await {
            Pull::Works(_) => Some(true),
            Pull::Refused(_) => Some(false),
            Pull::Unknown(_) => None,
        }
    }
}

/// Whether kubelet would meet the same, whatever its credentials.
fn is_final(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::InvalidReference | Cause::ImageNotFound | Cause::NoPlatform
    )
}
