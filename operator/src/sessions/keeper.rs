//! Keeps the Secret with the session keys; the only part of this module that talks to an API
//! server.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use picket_webhook::sessions::SigningKeys;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Bundle, BundleError};
use crate::installation::Installation;
use crate::kept_secret::{KeptSecret, StoreError};
use crate::watched::{Seen, follow};

/// How often the wall clock is looked at.
const WALL_CLOCK_CHECK: Duration = Duration::from_secs(60 * 60);
/// Time before another try after an error, and least time between two writes.
const RETRY: Duration = Duration::from_secs(5);

/// Why the keys could not be kept; the keeper tries again.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A key could not be made.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The Secret could not be written.
    #[error("cannot write the Secret `{name}`: {source}")]
    Secret {
        /// Its name.
        name: String,
        /// Why.
        source: StoreError,
    },
}

/// Reads the Secret in every replica, and writes it in the one that leads.
pub struct KeyKeeper {
    /// Secrets of the operator's namespace.
    pub secrets: Api<Secret>,
    /// Name of the Secret.
    pub name: String,
    /// Whose it is.
    pub installation: Installation,
    /// Where the keys go.
    pub keys: watch::Sender<Arc<SigningKeys>>,
}

impl KeyKeeper {
    /// Follows the Secret, and while `leading` makes it when it is missing and a new key when one
    /// is due. Returns when a watch ends.
    pub async fn run(self, leading: watch::Receiver<bool>) {
        let (seen, secret) = watch::channel(Seen::NotYet);
        let follow = follow(self.secrets.clone(), &self.name, seen);
        tokio::select! {
            () = follow => {}
            () = self.tend(secret, leading) => {}
        }
    }

    async fn tend(
        &self,
        mut secret: watch::Receiver<Seen<Secret>>,
        mut leading: watch::Receiver<bool>,
    ) {
        loop {
            let seen = secret.borrow_and_update().clone();
            let mut pause = WALL_CLOCK_CHECK;
            let bundle = self.read(&seen);
            if *leading.borrow_and_update() {
                match self.keep(&seen, bundle, SystemTime::now()).await {
                    Ok(false) => {}
                    Ok(true) => sleep(RETRY).await,
                    Err(error) => {
                        warn!(%error, "session keys are not as they should be, trying again");
                        pause = RETRY;
                    }
                }
            }
            let watching = tokio::select! {
                changed = secret.changed() => changed.is_ok(),
                changed = leading.changed() => changed.is_ok(),
                () = sleep(pause) => true,
            };
            if !watching {
                return;
            }
        }
    }

    /// Takes the keys of the Secret into use, if there are any.
    fn read(&self, seen: &Seen<Secret>) -> Option<Bundle> {
        let data = seen.present()?.data.as_ref();
        let read = Bundle::from_secret(data.unwrap_or(&Default::default()))
            .and_then(|bundle| Ok((bundle.signing()?, bundle)));
        match read {
            Ok((keys, bundle)) => {
                self.keys.send_if_modified(|known| {
                    let is_new = known.public() != keys.public();
                    if is_new {
                        *known = Arc::new(keys);
                    }
                    is_new
                });
                Some(bundle)
            }
            Err(error) => {
                warn!(secret = %self.name, %error, "session keys unusable");
                None
            }
        }
    }

    /// Makes the one change that is due, if any, and says whether it made one.
    async fn keep(
        &self,
        seen: &Seen<Secret>,
        bundle: Option<Bundle>,
        now: SystemTime,
    ) -> Result<bool, KeeperError> {
        let made = match bundle {
            _ if matches!(seen, Seen::NotYet) => return Ok(false),
            None => Bundle::generate(now)?,
            Some(bundle) if bundle.is_due(now) => bundle.renewed(now)?,
            Some(_) => return Ok(false),
        };
        let secret = KeptSecret {
            secrets: &self.secrets,
            name: &self.name,
            type_: "Opaque",
            installation: &self.installation,
        };
        let stored = secret.store(seen.present(), made.to_secret()).await;
        stored.map_err(|source| KeeperError::Secret {
            name: self.name.clone(),
            source,
        })?;
        info!(secret = %self.name, "session keys renewed");
        Ok(true)
    }
}
