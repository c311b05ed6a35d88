//! Deployments and StatefulSets, as few facts each.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use picket_crds::annotations;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;

use super::Key;

/// How long a StatefulSet, which has no deadline of its own, may take to become ready: what a
/// Deployment has by default.
const DEADLINE_SECONDS: i64 = 600;

/// What is known of a Deployment or StatefulSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadFacts {
    /// Its uid.
    pub uid: Box<str>,
    /// How it replaces its pods.
    pub update: Update,
    /// Whether somebody has paused it.
    pub paused: bool,
    /// How many pods it wants.
    pub replicas: i64,
    /// Whether its controller has seen the last change, and all pods are of the last kind,
    /// there, and ready.
    pub settled: bool,
    /// Whether its controller says that it does not get on.
    pub stuck: bool,
    /// How long it may take to become ready, in seconds.
    pub deadline: i64,
    /// Labels of its pods.
    pub pod_labels: BTreeMap<String, String>,
    /// What was begun.
    pub mark: Option<Mark>,
}

/// How a workload replaces its pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update {
    /// One after the other.
    #[default]
    Rolling,
    /// All at once: a restart is an outage.
    Recreate,
    /// When somebody deletes them.
    OnDelete,
}

/// A restart that was begun: the annotation `picket.dev/rollout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// What the pods are to be: revision, policy and mode.
    pub target: String,
    /// When, in seconds since 1970.
    pub at: i64,
    /// How it went.
    pub outcome: Outcome,
    /// Why, where it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How a restart went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is not over.
    Restarting,
    /// All pods are ready, and as they should be.
    Ready,
    /// It did not work; nothing else of the policy is restarted.
    Failed,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    replicas: Option<i64>,
    paused: bool,
    strategy: Strategy,
    update_strategy: Strategy,
    progress_deadline_seconds: Option<i64>,
    template: Template,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Strategy {
    #[serde(rename = "type")]
    type_: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: TemplateMetadata,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateMetadata {
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: i64,
    replicas: i64,
    updated_replicas: i64,
    ready_replicas: i64,
    available_replicas: i64,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

macro_rules! watched {
    ($name:ident, $of:ident) => {
        #[derive(Clone, Debug, Default, Deserialize, kube::Resource)]
        #[resource(inherit = $of)]
        struct $name {
            #[serde(default)]
            metadata: ObjectMeta,
            #[serde(default)]
            spec: Spec,
            #[serde(default)]
            status: Status,
        }

        impl From<$name> for WorkloadFacts {
            fn from(watched: $name) -> Self {
                facts(&watched.metadata, watched.spec, &watched.status)
            }
        }
    };
}

watched!(WatchedDeployment, Deployment);
watched!(WatchedStatefulSet, StatefulSet);

fn facts(metadata: &ObjectMeta, spec: Spec, status: &Status) -> WorkloadFacts {
    let replicas = spec.replicas.unwrap_or(1);
    let seen = metadata
        .generation
        .is_none_or(|generation| status.observed_generation >= generation);
    let counts = [
        status.replicas,
        status.updated_replicas,
        status.ready_replicas,
    ];
    let all_there = counts.iter().all(|count| *count == replicas);
    let annotation = metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(annotations::ROLLOUT));
    let update = [
        spec.strategy.type_.as_str(),
        spec.update_strategy.type_.as_str(),
    ];
    WorkloadFacts {
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        update: if update.contains(&"Recreate") {
            Update::Recreate
        } else if update.contains(&"OnDelete") {
            Update::OnDelete
        } else {
            Update::Rolling
        },
        paused: spec.paused,
        replicas,
        settled: seen && all_there && status.available_replicas == replicas,
        stuck: seen
            && status
                .conditions
                .iter()
                .any(|condition| condition.type_ == "Progressing" && condition.status == "False"),
        deadline: spec.progress_deadline_seconds.unwrap_or(DEADLINE_SECONDS),
        pod_labels: spec.template.metadata.labels,
        mark: annotation.and_then(|text| serde_json::from_str(text).ok()),
    }
}

/// All Deployments and StatefulSets as last seen. Clones share their content.
#[derive(Clone, Debug, Default)]
pub struct Workloads(Arc<RwLock<Content>>);

#[derive(Debug, Default)]
struct Content {
    by_key: BTreeMap<Key, Arc<WorkloadFacts>>,
    listed: [bool; 2],
}

impl Workloads {
    /// A workload, if it is known.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<WorkloadFacts>> {
        let content = self.0.read().unwrap_or_else(PoisonError::into_inner);
        content.by_key.get(key).cloned()
    }

    /// All of them that were restarted, with what was begun.
    #[must_use]
    pub fn marked(&self) -> Vec<(Key, Arc<WorkloadFacts>)> {
        let content = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let marked = content
            .by_key
            .iter()
            .filter(|(_, facts)| facts.mark.is_some());
        marked
            .map(|(key, facts)| (key.clone(), Arc::clone(facts)))
            .collect()
    }

    /// Whether all of them have been listed once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        let content = self.0.read().unwrap_or_else(PoisonError::into_inner);
        content.listed == [true, true]
    }

    /// Follows them for ever; `changes` is told of every change.
    pub async fn follow(self, client: Client, changes: watch::Sender<u64>) {
        let deployments: Api<WatchedDeployment> = Api::all(client.clone());
        let sets: Api<WatchedStatefulSet> = Api::all(client);
        tokio::join!(
            self.follow_kind(deployments, 0, &changes),
            self.follow_kind(sets, 1, &changes),
        );
    }

    async fn follow_kind<K>(&self, api: Api<K>, index: usize, changes: &watch::Sender<u64>)
    where
        K: Resource<DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Into<WorkloadFacts>
            + 'static,
    {
        let kind: Box<str> = K::kind(&()).into();
        let key = |object: &K| {
            let namespace = object.namespace().unwrap_or_default().as_str().into();
            (namespace, kind.clone(), object.name_any().as_str().into())
        };
        let mut events = pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
        let mut listed: BTreeMap<Key, Arc<WorkloadFacts>> = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    listed.insert(key(&object), Arc::new(object.into()));
                    continue;
                }
                Ok(Event::InitDone) => self.change(|content| {
                    content.by_key.retain(|(_, of, _), _| *of != kind);
                    content.by_key.append(&mut listed);
                    content.listed[index] = true;
                }),
                Ok(Event::Apply(object)) => self.change(|content| {
                    content.by_key.insert(key(&object), Arc::new(object.into()));
                }),
                Ok(Event::Delete(object)) => self.change(|content| {
                    content.by_key.remove(&key(&object));
                }),
                Err(error) => {
                    warn!(what = &*kind, %error, "watch failed, trying again");
                    continue;
                }
            }
            changes.send_modify(|number| *number += 1);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
