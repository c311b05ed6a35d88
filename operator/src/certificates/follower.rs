//! Serves and publishes a certificate that somebody else keeps in the Secret.
//!
//! A change of authority is passed on without a refused call, as far as the Secret allows: the
//! leader adds the new authority to the `caBundle` and keeps the one before for a while; every
//! replica goes on with the old certificate until the new authority was published and API
//! servers had time to notice, unless the old certificate expires before.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::given::overlap;
use super::keeper::KeeperError;
use super::{BundleError, Given, ServerNames, ServingCertificate};
use crate::ca_bundle;
use crate::watched::Seen;

/// How often the wall clock is looked at.
const WALL_CLOCK_CHECK: Duration = Duration::from_secs(30);
/// Time before another try after an error.
const RETRY: Duration = Duration::from_secs(5);
/// How long the authority before is still published: longer than any replica serves its
/// certificate.
const OVERLAP: Duration = Duration::from_secs(60 * 60);

/// Serves the certificate of the Secret, in every replica. Returns when a watch ends.
pub struct Follower {
    /// What is served.
    pub serving: Arc<ServingCertificate>,
    /// Names by which API servers call.
    pub names: ServerNames,
    /// How long after its authority was published a certificate is served: time for API
    /// servers to notice a `caBundle`.
    pub grace: Duration,
}

impl Follower {
    /// See [`Follower`].
    pub async fn run(
        self,
        mut secret: watch::Receiver<Seen<Secret>>,
        mut configuration: watch::Receiver<Seen<MutatingWebhookConfiguration>>,
    ) {
        let mut told = None;
        let mut trusted_since = None;
        loop {
            let seen = secret.borrow_and_update().clone();
            let configuration_seen = configuration.borrow_and_update().clone();
            let given = seen.present().map(given_of);
            if told.as_ref() != Some(&seen.present().and_then(|s| s.resource_version())) {
                told = Some(seen.present().and_then(|s| s.resource_version()));
                match (&given, seen.present()) {
                    (Some(Err(error)), Some(secret)) => {
                        warn!(secret = %secret.name_any(), %error, "certificate unusable");
                    }
                    (Some(Ok(given)), _) => self.warn_of(given),
                    _ => {}
                }
            }
            if let Some(Ok(given)) = given {
                let now = SystemTime::now();
                let trusted = configuration_seen
                    .present()
                    .is_some_and(|configuration| ca_bundle::trusts(configuration, given.trust()));
                trusted_since = trusted.then(|| trusted_since.unwrap_or(now));
                if self.is_due(&given, trusted_since, now) {
                    match self.serving.replace_given(&given) {
                        Ok(true) => info!("serving certificate loaded"),
                        Ok(false) => {}
                        Err(error) => warn!(%error, "certificate unusable"),
                    }
                }
            }
            let watching = tokio::select! {
                changed = secret.changed() => changed.is_ok(),
                changed = configuration.changed() => changed.is_ok(),
                () = sleep(WALL_CLOCK_CHECK.min(self.grace.max(Duration::from_millis(100)))) => true,
            };
            if !watching {
                return;
            }
        }
    }

    /// Whether a certificate may be served: nothing better is, or API servers trust it by now.
    fn is_due(&self, given: &Given, trusted_since: Option<SystemTime>, now: SystemTime) -> bool {
        let Some(served) = self.serving.current() else {
            return true;
        };
        let noticed = trusted_since
            .and_then(|since| now.duration_since(since).ok())
            .is_some_and(|time| time >= self.grace);
        served.signed_by == given.trust() || now + self.grace >= served.expires || noticed
    }

    /// What API servers will say, said before they do.
    fn warn_of(&self, given: &Given) {
        for name in self.names.as_slice() {
            if name.ends_with(".svc")
                && let Err(error) = given.accepted_as(name, SystemTime::now())
            {
                warn!(%error, "the certificate Secret will not do; mend it or its issuer");
            }
        }
    }
}

fn given_of(secret: &Secret) -> Result<Given, BundleError> {
    Given::from_secret(secret.data.as_ref().unwrap_or(&Default::default()))
}

/// Keeps the `caBundle` as the Secret's `ca.crt` while this replica leads.
pub struct Publisher {
    /// Webhook configurations.
    pub configurations: Api<MutatingWebhookConfiguration>,
}

impl Publisher {
    /// Does what is due whenever something changes. Returns when a watch ends.
    pub async fn run(
        self,
        mut secret: watch::Receiver<Seen<Secret>>,
        mut configuration: watch::Receiver<Seen<MutatingWebhookConfiguration>>,
        mut leading: watch::Receiver<bool>,
    ) {
        // The trust that is published, and since when.
        let mut current: Option<(String, SystemTime)> = None;
        loop {
            let seen = secret.borrow_and_update().clone();
            let configuration_seen = configuration.borrow_and_update().clone();
            let mut pause = WALL_CLOCK_CHECK;
            if *leading.borrow_and_update()
                && let (Some(secret), Some(configuration)) =
                    (seen.present(), configuration_seen.present())
                && let Ok(given) = given_of(secret)
            {
                let now = SystemTime::now();
                let is_new = current
                    .as_ref()
                    .is_none_or(|(trust, _)| trust != given.trust());
                if is_new {
                    current = Some((given.trust().to_owned(), now));
                }
                let since = current.as_ref().map_or(now, |(_, since)| *since);
                if let Err(error) = self.tend(configuration, given.trust(), since, now).await {
                    warn!(%error, "the caBundle is not as it should be, trying again");
                    pause = RETRY;
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

    async fn tend(
        &self,
        configuration: &MutatingWebhookConfiguration,
        trust: &str,
        since: SystemTime,
        now: SystemTime,
    ) -> Result<(), KeeperError> {
        let is_recent = now.duration_since(since).is_ok_and(|time| time < OVERLAP);
        let wanted = match is_recent {
            true => overlap(trust, &ca_bundle::published(configuration)),
            false => trust.to_owned(),
        };
        if ca_bundle::is_published(configuration, &wanted) {
            return Ok(());
        }
        let name = configuration.name_any();
        ca_bundle::publish(&self.configurations, configuration, &wanted)
            .await
            .map_err(|source| KeeperError::Publish {
                name: name.clone(),
                source: Box::new(source),
            })?;
        info!(configuration = %name, "caBundle published");
        Ok(())
    }
}
