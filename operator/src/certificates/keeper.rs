//! Keeps the certificate Secret and the published `caBundle` as they should
//! be; the only part of this module that talks to an API server.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Bundle, BundleError, ServerNames, ServingCertificate, Step, next_step, take};
use crate::ca_bundle;
use crate::installation::Installation;
use crate::kept_secret::{KeptSecret, StoreError};
use crate::watched::Seen;

/// How often the wall clock is looked at: a timer alone would drift, or sleep
/// through a suspended machine.
const WALL_CLOCK_CHECK: Duration = Duration::from_secs(60);
/// Least time between two writes, should somebody else keep overwriting us.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// Time before another try after an error.
const RETRY: Duration = Duration::from_secs(5);

/// Why the keeper could not do what is due; it tries again.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A certificate could not be made.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The Secret could not be written.
    #[error("cannot write the Secret `{name}`: {source}")]
    Secret {
        /// Name of the Secret.
        name: String,
        /// Why.
        source: StoreError,
    },
    /// The webhook configuration could not be written.
    #[error("cannot publish the caBundle in `{name}`: {source}")]
    Publish {
        /// Name of the configuration.
        name: String,
        /// What the API server answered.
        source: Box<kube::Error>,
    },
}

/// Serves whatever certificate the Secret holds, in every replica. Returns
/// when the watch ends.
pub async fn serve_from_secret(
    mut secret: watch::Receiver<Seen<Secret>>,
    serving: Arc<ServingCertificate>,
) {
    loop {
        let seen = secret.borrow_and_update().clone();
        if let Some(secret) = seen.present() {
            match bundle_of(secret).and_then(|bundle| serving.replace(&bundle)) {
                Ok(()) => info!(secret = %secret.name_any(), "serving certificate loaded"),
                Err(error) => warn!(secret = %secret.name_any(), %error, "certificate unusable"),
            }
        }
        if secret.changed().await.is_err() {
            return;
        }
    }
}

fn bundle_of(secret: &Secret) -> Result<Bundle, BundleError> {
    Bundle::from_secret(secret.data.as_ref().unwrap_or(&Default::default()))
}

/// Writes the Secret and the `caBundle` while this replica leads.
pub struct Keeper {
    /// Secrets of the operator's namespace.
    pub secrets: Api<Secret>,
    /// Name of the Secret.
    pub secret_name: String,
    /// Whose the Secret is.
    pub installation: Installation,
    /// Webhook configurations.
    pub configurations: Api<MutatingWebhookConfiguration>,
    /// Names for which certificates are issued.
    pub names: ServerNames,
    /// How long after its authority was published a certificate is issued by it: time for API
    /// servers to notice a `caBundle`.
    pub grace: Duration,
}

impl Keeper {
    /// Does what is due whenever something changes, and at least every minute.
    /// Returns when a watch ends.
    pub async fn run(
        self,
        mut secret: watch::Receiver<Seen<Secret>>,
        mut configuration: watch::Receiver<Seen<MutatingWebhookConfiguration>>,
        mut leading: watch::Receiver<bool>,
    ) {
        loop {
            let secret_seen = secret.borrow_and_update().clone();
            let configuration_seen = configuration.borrow_and_update().clone();
            let mut pause = WALL_CLOCK_CHECK.min(self.grace);
            if *leading.borrow_and_update() {
                match self
                    .tend(&secret_seen, &configuration_seen, SystemTime::now())
                    .await
                {
                    Ok(true) => sleep(LEAST_PAUSE).await,
                    Ok(false) => {}
                    Err(error) => {
                        warn!(%error, "certificates are not as they should be, trying again");
                        pause = RETRY;
                    }
                }
            }
            let watching = tokio::select! {
                changed = secret.changed() => changed.is_ok(),
                changed = configuration.changed() => changed.is_ok(),
                changed = leading.changed() => changed.is_ok(),
                () = sleep(pause) => true,
            };
            if !watching {
                return;
            }
        }
    }

    /// Makes the one change that is due, if any, and says whether it made one.
    async fn tend(
        &self,
        secret: &Seen<Secret>,
        configuration: &Seen<MutatingWebhookConfiguration>,
        now: SystemTime,
    ) -> Result<bool, KeeperError> {
        if matches!(secret, Seen::NotYet) {
            return Ok(false);
        }
        let configuration = configuration.present();
        let bundle = secret.present().and_then(|secret| {
            bundle_of(secret)
                .inspect_err(|error| {
                    warn!(secret = %self.secret_name, %error, "replacing an unusable certificate");
                })
                .ok()
        });
        let facts = bundle.as_ref().map(Bundle::facts).transpose()?;
        let published = match (&bundle, configuration) {
            (Some(bundle), Some(configuration)) => {
                ca_bundle::is_published(configuration, &bundle.trust())
            }
            _ => false,
        };
        let step = next_step(facts.as_ref(), &self.names, (published, self.grace), now);
        if let Some(changed) = take(step, bundle.as_ref(), &self.names, now)? {
            self.store(&changed, secret.present(), step).await?;
            return Ok(true);
        }
        if let (Some(bundle), Some(configuration), false) = (bundle, configuration, published) {
            self.publish(configuration, &bundle).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Stores a bundle, unless another replica has changed the Secret since.
    async fn store(
        &self,
        bundle: &Bundle,
        existing: Option<&Secret>,
        step: Step,
    ) -> Result<(), KeeperError> {
        let secret = KeptSecret {
            secrets: &self.secrets,
            name: &self.secret_name,
            type_: "kubernetes.io/tls",
            installation: &self.installation,
        };
        let stored = secret.store(existing, bundle.to_secret()).await;
        stored.map_err(|source| KeeperError::Secret {
            name: self.secret_name.clone(),
            source,
        })?;
        info!(secret = %self.secret_name, ?step, "certificates renewed");
        Ok(())
    }

    async fn publish(
        &self,
        configuration: &MutatingWebhookConfiguration,
        bundle: &Bundle,
    ) -> Result<(), KeeperError> {
        let name = configuration.name_any();
        ca_bundle::publish(&self.configurations, configuration, &bundle.trust())
            .await
            .map_err(|source| KeeperError::Publish {
                name: name.clone(),
                source: Box::new(source),
            })?;
        info!(configuration = %name, "caBundle published");
        Ok(())
    }
}
