//! For which workloads injection is suspended: kept in a ConfigMap of the operator's namespace,
//! written by the replica that leads, followed by all of them, honoured by the webhook.
//!
//! * [`Suspensions`]: what is suspended; [`Suspensions::suspend`] and [`Suspensions::resume`].
//! * [`Record`]: one of them, by the uid of its [`Workload`].

mod record;
mod rollout;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use picket_webhook::Suspension;
use picket_webhook::namespace::Answer;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::installation::{Installation, InstallationError};
use crate::pods::{Owner, Owners};

pub use record::{Cause, Record, Records, Workload};

/// Name of the ConfigMap.
pub const CONFIG_MAP: &str = "picket-suspensions";
/// How long an API server may take to tell who owns what: a pod's creation may wait for it.
const PATIENCE: Duration = Duration::from_millis(800);
/// How many there may be: a ConfigMap holds 1 MiB.
const MOST: usize = 800;

/// Why a suspension cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum SuspensionError {
    /// The API server refuses.
    #[error("cannot write the ConfigMap {CONFIG_MAP}: {0}")]
    Write(#[from] Box<kube::Error>),
    /// It is not known whose the ConfigMap would be.
    #[error("cannot make the ConfigMap {CONFIG_MAP}: {0}")]
    Installation(#[from] InstallationError),
    /// The ConfigMap is full: nothing of this size has one cause in a workload.
    #[error(
        "injection is suspended for {MOST} workloads already; switch it off, or mend the cause"
    )]
    TooMany,
}

/// What is suspended. Clones share their content.
#[derive(Clone)]
pub struct Suspensions {
    config_maps: Api<ConfigMap>,
    installation: Installation,
    records: watch::Sender<Option<Arc<Records>>>,
    owners: Owners,
}

impl Suspensions {
    /// Suspensions in the ConfigMap of this namespace, which goes with the installation, once [`Self::follow`] runs.
    #[must_use]
    pub fn new(client: Client, namespace: &str, installation: Installation) -> Self {
        Self {
            installation,
            config_maps: Api::namespaced(client.clone(), namespace),
            records: watch::channel(None).0,
            owners: Owners::new(client),
        }
    }

    /// Follows the ConfigMap for ever.
    pub async fn follow(self) {
        let objects = watch_object(self.config_maps.clone(), CONFIG_MAP).default_backoff();
        let mut objects = pin!(objects);
        while let Some(object) = objects.next().await {
            match object {
                Ok(object) => self.see(object.as_ref().map(record::read).unwrap_or_default()),
                Err(error) => warn!(%error, "the watch of suspensions failed, trying again"),
            }
        }
    }

    fn see(&self, seen: Records) {
        self.records.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&seen);
            if changed {
                *known = Some(Arc::new(seen));
            }
            changed
        });
    }

    /// Whether it is known what is suspended.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.records.borrow().is_some()
    }

    /// All of them at this moment.
    #[must_use]
    pub fn all(&self) -> Arc<Records> {
        self.records.borrow().clone().unwrap_or_default()
    }

    /// A receiver that is told of every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Arc<Records>>> {
        self.records.subscribe()
    }

    /// Whether injection is suspended for a workload.
    #[must_use]
    pub fn is_suspended(&self, uid: &str) -> bool {
        self.all().contains_key(uid)
    }

    /// Who owns what.
    #[must_use]
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// The workload of pods with this controller; `None` when the API server does not tell in
    /// time for an admission.
    pub async fn workload(&self, namespace: &str, controller: &Owner) -> Option<Workload> {
        let found = self.owners.workload(namespace, controller, PATIENCE);
        Some(Workload::new(namespace, &found.await?))
    }

    /// Why injection is suspended for the workload of a pod, for coverage.
    #[must_use]
    pub fn why(&self) -> crate::coverage::Suspended {
        let all = self.changes();
        Arc::new(move |workload, _| {
            let records = all.borrow();
            let record = records.as_ref()?.get(&*workload.uid)?;
            Some(format!("{}: {}", record.cause, record.message))
        })
    }

    /// Suspends injection for a workload, in place of what was recorded of it. Only for the
    /// replica that leads.
    ///
    /// # Errors
    /// [`SuspensionError`].
    pub async fn suspend(&self, record: Record) -> Result<(), SuspensionError> {
        let all = self.all();
        let uid = record.workload.uid.clone();
        if all.len() >= MOST && !all.contains_key(&uid) {
            return Err(SuspensionError::TooMany);
        }
        info!(
            workload = %record.workload,
            cause = record.cause.word(),
            message = record.message,
            "injection is suspended"
        );
        let text = json!(record).to_string();
        match self.patch(&json!({"data": {&uid: &text}})).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let owner = self.installation.of_namespace().await?;
                let config_map = ConfigMap {
                    metadata: ObjectMeta {
                        name: Some(CONFIG_MAP.to_owned()),
                        owner_references: owner.map(|owner| vec![owner]),
                        ..ObjectMeta::default()
                    },
                    data: Some([(uid, text)].into()),
                    ..ConfigMap::default()
                };
                let made = self
                    .config_maps
                    .create(&PostParams::default(), &config_map)
                    .await
                    .map_err(Box::new)?;
                self.see(record::read(&made));
                Ok(())
            }
            answer => Ok(answer.map_err(Box::new)?),
        }
    }

    /// Injects pods of a workload again. Only for the replica that leads.
    ///
    /// # Errors
    /// [`SuspensionError::Write`].
    pub async fn resume(&self, uid: &str) -> Result<(), SuspensionError> {
        info!(uid, "injection is resumed");
        match self.patch(&json!({"data": {uid: null}})).await {
            // Nothing is suspended.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => Ok(answer.map_err(Box::new)?),
        }
    }

    /// A merge patch touches one entry, so no write undoes another.
    async fn patch(&self, patch: &Value) -> Result<(), kube::Error> {
        let parameters = PatchParams::default();
        let patched = self
            .config_maps
            .patch(CONFIG_MAP, &parameters, &Patch::Merge(patch))
            .await?;
        self.see(record::read(&patched));
        Ok(())
    }
}

impl picket_webhook::Suspensions for Suspensions {
    fn of<'a>(
        &'a self,
        namespace: &'a str,
        controller: &'a Value,
    ) -> Answer<'a, Option<Suspension>> {
        Box::pin(async move {
            let all = self.all();
            // Nearly always: then nobody has to be asked who owns what.
            let mut workloads = all.values().map(|record| &record.workload);
            if !workloads.any(|workload| workload.namespace == namespace) {
                return None;
            }
            let controller = Owner::of_reference(controller)?;
            let workload = self.workload(namespace, &controller).await?;
            let record = all.get(&workload.uid)?;
            Some(Suspension {
                holds_for: record.holds_for.clone(),
                message: record.message.clone(),
            })
        })
    }
}
