//! Tells decisions of the webhook where people look: as Events on the workload that the pod
//! belongs to, with the words of [`picket_webhook::Reason`].
//!
//! The webhook hands over and goes on; what comes too fast is dropped and counted.

mod limit;
mod told;

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder as Publisher, Reporter};
use kube::{Api, Client, Resource, ResourceExt};
use picket_webhook::admission::{Decided, Recorder};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use self::limit::Limit;
pub use self::told::Told;

/// Who the events come from.
const CONTROLLER: &str = "picket.dev/admission";
/// How many decisions wait to be told.
const WAITING: usize = 256;
/// How long an API server may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// What became of events, for Prometheus. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct EventCounts(Family<Labels, Counter>);

impl EventCounts {
    /// Registers `picket_operator_events`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let counts = Self::default();
        let help = "Events on workloads, by what became of them";
        registry.register("picket_operator_events", help, counts.0.clone());
        counts
    }

    fn count(&self, result: &'static str) {
        self.0.get_or_create(&Labels { result }).inc();
    }
}

/// Takes decisions from the webhook, and what controllers have to tell.
#[derive(Clone, Debug)]
pub struct EventRecorder {
    sender: mpsc::Sender<Told>,
    counts: EventCounts,
}

/// A recorder for the webhook, and what [`tell`] reads from.
#[must_use]
pub fn recorder(counts: EventCounts) -> (EventRecorder, mpsc::Receiver<Told>) {
    let (sender, told) = mpsc::channel(WAITING);
    (EventRecorder { sender, counts }, told)
}

impl EventRecorder {
    /// Has something told, unless too much waits to be told.
    pub fn tell(&self, told: Told) {
        if self.sender.try_send(told).is_err() {
            self.counts.count("dropped");
        }
    }
}

impl Recorder for EventRecorder {
    fn record(&self, decided: &Decided) {
        Told::of(decided)
            .into_iter()
            .for_each(|told| self.tell(told));
    }
}

/// Writes events until nobody can hand over any more.
pub async fn tell(
    client: Client,
    identity: String,
    counts: EventCounts,
    mut told: mpsc::Receiver<Told>,
) {
    let reporter = Reporter {
        controller: CONTROLLER.to_owned(),
        instance: Some(identity),
    };
    let publisher = Publisher::new(client.clone(), reporter);
    let mut limit = Limit::new(Instant::now());
    while let Some(told) = told.recv().await {
        if !limit.allows(&told, Instant::now()) {
            counts.count("dropped");
            continue;
        }
        let write = async {
            let object = owner(&client, &told.object).await;
            let event = Event {
                type_: if told.warning {
                    EventType::Warning
                } else {
                    EventType::Normal
                },
                reason: told.reason.to_owned(),
                note: Some(told.note.clone()),
                action: told.action.to_owned(),
                secondary: None,
            };
            publisher.publish(&event, &object).await
        };
        match timeout(PATIENCE, write).await {
            Ok(Ok(())) => counts.count("written"),
            Ok(Err(error)) => {
                debug!(%error, reason = told.reason, "an event cannot be written");
                counts.count("failed");
            }
            Err(_) => counts.count("failed"),
        }
    }
}

/// The Deployment of a ReplicaSet and the CronJob of a Job: what people look at. Whatever cannot
/// be looked up stays what it is.
pub(crate) async fn owner(client: &Client, object: &ObjectReference) -> ObjectReference {
    let owner = match object.kind.as_deref() {
        Some("ReplicaSet") => controller_of::<ReplicaSet>(client, object).await,
        Some("Job") => controller_of::<Job>(client, object).await,
        _ => None,
    };
    owner.unwrap_or_else(|| object.clone())
}

async fn controller_of<K>(client: &Client, object: &ObjectReference) -> Option<ObjectReference>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let namespace = object.namespace.as_deref()?;
    let objects: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = objects
        .get_metadata_opt(object.name.as_deref()?)
        .await
        .ok()??;
    let owners = found.owner_references();
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    Some(ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        name: Some(owner.name.clone()),
        uid: Some(owner.uid.clone()),
        namespace: object.namespace.clone(),
        ..ObjectReference::default()
    })
}
