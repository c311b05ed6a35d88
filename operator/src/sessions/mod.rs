//! What `kubectl exec` needs of the operator: the running pod, and keys that sign who the caller
//! is.
//!
//! The keys are in a Secret of their own, which the leader writes and every replica reads. The
//! pod comes from the watch of all pods: the API server waits, so nothing is asked of it.

mod bundle;
mod keeper;

use std::sync::Arc;
use std::time::Duration;

use picket_webhook::SharedSettings;
use picket_webhook::namespace::Answer;
use picket_webhook::sessions::{RunningContainer, RunningPod, Sessions, SigningKeys};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::pods::{ContainerKind, PodFacts, Pods};

pub use bundle::{Bundle, BundleError, KEY_LIFE};
pub use keeper::{KeeperError, KeyKeeper};

/// How long a replica that starts waits for the keys: pods that it injects without them never
/// tell who opens sessions in them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pods and keys. Clones share them.
#[derive(Clone)]
pub struct LiveSessions {
    pods: Pods,
    keys: watch::Receiver<Arc<SigningKeys>>,
}

impl LiveSessions {
    /// With these pods and whatever keys a [`KeyKeeper`] reads.
    #[must_use]
    pub fn new(pods: Pods, keys: watch::Receiver<Arc<SigningKeys>>) -> Self {
        Self { pods, keys }
    }

    /// Waits for the first keys, if not for ever, and from then on tells the planner whichever
    /// there are.
    pub async fn publish(&self, settings: &SharedSettings) {
        let mut keys = self.keys.clone();
        let there = keys.wait_for(|keys| !keys.public().is_empty());
        if !matches!(timeout(PATIENCE, there).await, Ok(Ok(_))) {
            warn!("there are no session keys: who runs kubectl exec in new pods stays unknown");
        }
        let settings = settings.clone();
        let put = move |keys: &mut watch::Receiver<Arc<SigningKeys>>| {
            let public = keys.borrow_and_update().public();
            settings.update(|settings| settings.session_keys = public);
        };
        put(&mut keys);
        tokio::spawn(async move {
            while keys.changed().await.is_ok() {
                put(&mut keys);
            }
        });
    }
}

impl Sessions for LiveSessions {
    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<RunningPod>> {
        let pod = self.pods.by_name(namespace, name);
        Box::pin(std::future::ready(pod.map(|pod| running(&pod))))
    }

    fn keys(&self) -> Arc<SigningKeys> {
        Arc::clone(&self.keys.borrow())
    }
}

fn running(pod: &PodFacts) -> RunningPod {
    let keys = pod.session_keys.as_deref().unwrap_or_default();
    let containers = pod.containers.iter().map(|container| RunningContainer {
        name: container.name.as_ref().to_owned(),
        main: container.kind == ContainerKind::Container,
        holds_tracer: container.mounts_ours,
    });
    RunningPod {
        uid: pod.uid.as_ref().to_owned(),
        labels: pod.labels.clone(),
        containers: containers.collect(),
        session_keys: keys
            .split(',')
            .filter(|key| !key.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}
