//! What the webhook is told about namespaces: labels, LimitRanges, ResourceQuotas, and whether
//! a Secret is there.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{LimitRange, Namespace as ApiNamespace, ResourceQuota, Secret};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use picket_webhook::namespace::Answer;
use picket_webhook::{Namespace, Namespaces};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::policies::{Namespaces as Labels, View};

/// How long an API server may take to tell of a namespace or a Secret; the webhook has 5 s.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it is remembered whether a Secret is there.
const SECRET_MEMORY: Duration = Duration::from_secs(20);
/// How many Secrets are remembered.
const SECRETS: usize = 4096;

/// Objects of one kind by namespace and name. Clones share their content.
#[derive(Clone, Debug, Default)]
struct ByNamespace(Arc<RwLock<BTreeMap<String, BTreeMap<String, Value>>>>);

impl ByNamespace {
    fn of(&self, namespace: &str) -> Vec<Value> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = all.get(namespace).into_iter().flatten();
        found.map(|(_, object)| object.clone()).collect()
    }

    /// Follows all objects of a kind for ever.
    async fn follow<K>(self, api: Api<K>, what: &'static str)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
    {
        let mut events = pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
        let mut listed = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed = BTreeMap::new(),
                Ok(Event::InitApply(object)) => put(&mut listed, &object),
                Ok(Event::InitDone) => *self.write() = std::mem::take(&mut listed),
                Ok(Event::Apply(object)) => put(&mut self.write(), &object),
                Ok(Event::Delete(object)) => {
                    let namespace = object.namespace().unwrap_or_default();
                    if let Some(objects) = self.write().get_mut(&namespace) {
                        objects.remove(&object.name_any());
                    }
                }
                Err(error) => warn!(what, %error, "watch failed, trying again"),
            }
        }
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, BTreeMap<String, Value>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put<K: Resource + Serialize>(
    objects: &mut BTreeMap<String, BTreeMap<String, Value>>,
    object: &K,
) {
    match serde_json::to_value(object) {
        Ok(mut value) => {
            if let Some(metadata) = value["metadata"].as_object_mut() {
                metadata.retain(|key, _| key == "name" || key == "namespace");
            }
            objects
                .entry(object.namespace().unwrap_or_default())
                .or_default()
                .insert(object.name_any(), value);
        }
        Err(error) => warn!(%error, "an object cannot be kept"),
    }
}

/// Whether Secrets are there, by namespace and name, and since when that is known.
type Secrets = BTreeMap<(String, String), (bool, Instant)>;

/// What is known about namespaces. Cheap to clone.
#[derive(Clone)]
pub struct Facts {
    client: Client,
    labels: View<Labels>,
    limit_ranges: ByNamespace,
    quotas: ByNamespace,
    secrets: Arc<Mutex<Secrets>>,
}

impl Facts {
    /// Facts from these labels and from [`Facts::follow`].
    #[must_use]
    pub fn new(client: Client, labels: View<Labels>) -> Self {
        Self {
            client,
            labels,
            limit_ranges: ByNamespace::default(),
            quotas: ByNamespace::default(),
            secrets: Arc::default(),
        }
    }

    /// Follows LimitRanges and ResourceQuotas of all namespaces for ever.
    pub async fn follow(self) {
        let ranges: Api<LimitRange> = Api::all(self.client.clone());
        let quotas: Api<ResourceQuota> = Api::all(self.client);
        tokio::join!(
            self.limit_ranges.follow(ranges, "limit ranges"),
            self.quotas.follow(quotas, "quotas"),
        );
    }

    /// Labels of a namespace that the watch may not have told of yet: a pod can be created right
    /// after its namespace.
    async fn labels(&self, name: &str) -> BTreeMap<String, String> {
        let known = self.labels.borrow().clone();
        if let Some(labels) = known.as_ref().and_then(|all| all.get(name)) {
            return labels.clone();
        }
        let namespaces: Api<ApiNamespace> = Api::all(self.client.clone());
        match timeout(PATIENCE, namespaces.get_metadata(name)).await {
            Ok(Ok(found)) => found.labels().clone(),
            Ok(Err(error)) => {
                debug!(namespace = name, %error, "a namespace is not known");
                Namespace::named(name).labels
            }
            Err(_) => Namespace::named(name).labels,
        }
    }

    async fn look_up_secret(&self, namespace: &str, name: &str) -> Option<bool> {
        let key = (namespace.to_owned(), name.to_owned());
        let remembered = self.remembered().get(&key).copied();
        if let Some((there, at)) = remembered
            && at.elapsed() < SECRET_MEMORY
        {
            return Some(there);
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        match timeout(PATIENCE, secrets.get_metadata_opt(name)).await {
            Ok(Ok(found)) => {
                let mut remembered = self.remembered();
                if remembered.len() >= SECRETS {
                    remembered.clear();
                }
                remembered.insert(key, (found.is_some(), Instant::now()));
                Some(found.is_some())
            }
            Ok(Err(error)) => {
                // Reading Secrets is a choice of the chart; without it nothing is claimed.
                debug!(namespace, name, %error, "a secret cannot be looked up");
                None
            }
            Err(_) => None,
        }
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Secrets> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Namespaces for Facts {
    fn get<'a>(&'a self, name: &'a str) -> Answer<'a, Arc<Namespace>> {
        Box::pin(async move {
            Arc::new(Namespace {
                labels: self.labels(name).await,
                limit_ranges: self.limit_ranges.of(name),
                quotas: self.quotas.of(name),
                ..Namespace::default()
            })
        })
    }

    fn has_secret<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<bool>> {
        Box::pin(self.look_up_secret(namespace, name))
    }
}
