//! What people call the workload of a pod: the Deployment of its ReplicaSet, the CronJob of its
//! Job, else its controller, else itself.
//!
//! Who owns a ReplicaSet or Job is asked once and remembered: it does not change in its life.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tracing::debug;

use super::facts::{Owner, PodFacts};

/// How many owners are asked for at once.
const AT_ONCE: usize = 16;
/// How long an API server may take for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many owners are remembered before those that no pod has are forgotten.
const REMEMBERED: usize = 4096;

/// Knows the workloads of pods. Clones share what they know.
#[derive(Clone)]
pub struct Owners {
    client: Client,
    known: Arc<Mutex<HashMap<Arc<str>, Option<Owner>>>>,
}

impl Owners {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            known: Arc::default(),
        }
    }

    /// The workload of a pod, as far as it is known: [`Owners::learn`] makes it known.
    #[must_use]
    pub fn of(&self, pod: &PodFacts) -> Owner {
        let Some(owner) = &pod.owner else {
            return Owner {
                api_version: "v1".into(),
                kind: "Pod".into(),
                name: pod.name.clone(),
                uid: Arc::clone(&pod.uid),
            };
        };
        let above = self.known().get(&owner.uid).cloned().flatten();
        above.unwrap_or_else(|| owner.clone())
    }

    /// Asks for the owners of these pods' owners that are not known yet. What the API server
    /// does not tell now is asked again next time; false if there is something of that kind.
    pub async fn learn(&self, pods: &[Arc<PodFacts>]) -> bool {
        let mut wanted: HashMap<Arc<str>, (Arc<str>, Owner)> = HashMap::new();
        {
            let mut known = self.known();
            if known.len() > REMEMBERED.max(2 * pods.len()) {
                let owners = pods.iter().filter_map(|pod| pod.owner.as_ref());
                let living: HashSet<&str> = owners.map(|owner| &*owner.uid).collect();
                known.retain(|uid, _| living.contains(&**uid));
            }
            for pod in pods {
                let Some(owner) = &pod.owner else { continue };
                let above = matches!(&*owner.kind, "ReplicaSet" | "Job");
                if above && !known.contains_key(&owner.uid) {
                    let entry = (Arc::clone(&pod.namespace), owner.clone());
                    wanted.insert(Arc::clone(&owner.uid), entry);
                }
            }
        }
        let mut complete = true;
        let mut answers = stream::iter(wanted.into_values())
            .map(|(namespace, owner)| async move {
                let answer = timeout(PATIENCE, self.above(&namespace, &owner)).await;
                (owner, answer)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((owner, answer)) = answers.next().await {
            match answer {
                Ok(Ok(above)) => {
                    self.known().insert(owner.uid, above);
                }
                Ok(Err(error)) => {
                    debug!(%owner, %error, "an owner is not known");
                    complete = false;
                }
                Err(_) => complete = false,
            }
        }
        complete
    }

    /// The workload of pods with this controller; `None` when the API server does not tell in
    /// `patience`.
    pub async fn workload(
        &self,
        namespace: &str,
        controller: &Owner,
        patience: Duration,
    ) -> Option<Owner> {
        if !matches!(&*controller.kind, "ReplicaSet" | "Job") {
            return Some(controller.clone());
        }
        let known = self.known().get(&controller.uid).cloned();
        let above = match known {
            Some(above) => above,
            None => {
                let asked = timeout(patience, self.above(namespace, controller)).await;
                let above = asked.ok()?.ok()?;
                self.known()
                    .insert(Arc::clone(&controller.uid), above.clone());
                above
            }
        };
        Some(above.unwrap_or_else(|| controller.clone()))
    }

    async fn above(&self, namespace: &str, owner: &Owner) -> kube::Result<Option<Owner>> {
        match &*owner.kind {
            "ReplicaSet" => self.controller_of::<ReplicaSet>(namespace, owner).await,
            _ => self.controller_of::<Job>(namespace, owner).await,
        }
    }

    async fn controller_of<K>(&self, namespace: &str, owner: &Owner) -> kube::Result<Option<Owner>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let objects: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let found = objects.get_metadata_opt(&owner.name).await?;
        Ok(found.and_then(|found| Owner::controlling(found.owner_references())))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Arc<str>, Option<Owner>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
