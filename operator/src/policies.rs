//! Policies and labels of namespaces as the API server has them.
//!
//! Each policy is read on its own ([`DeserializeGuard`]): one that this version
//! cannot understand is kept apart with the reason, and never stops the rest.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta, error_boundary::InvalidObject};
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, Resource, ResourceExt};
use picket_crds::{ClusterProtectionPolicy, ProtectionPolicy};
use picket_webhook::{Policy, PolicyStore};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{info, warn};

/// All policies at one time.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// Those of namespaces that are in use.
    pub valid: Vec<ProtectionPolicy>,
    /// Those of the cluster that are in use.
    pub cluster: Vec<ClusterProtectionPolicy>,
    /// Those that cannot be understood, and why.
    pub invalid: Vec<InvalidObject>,
}

/// Labels of all namespaces at one time, by name.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// A view that is replaced as a whole at each change; `None` until the API
/// server has listed everything once.
pub type View<T> = watch::Receiver<Option<Arc<T>>>;

type Guarded<K> = DeserializeGuard<K>;

/// Follows the policies of all namespaces and of the cluster for ever: those in use go to the
/// `webhook`'s store, all of them to `view`. Nothing is told before both kinds are known.
pub async fn follow_policies(
    client: Client,
    webhook: PolicyStore,
    view: watch::Sender<Option<Arc<Policies>>>,
) {
    let (own, own_changes) = changes::<ProtectionPolicy>("policies", client.clone());
    let (cluster, cluster_changes) = changes::<ClusterProtectionPolicy>("cluster policies", client);
    let mut changes = pin!(stream::select(
        own_changes.map(|()| 0),
        cluster_changes.map(|()| 1)
    ));
    let mut known = [false, false];
    while let Some(kind) = changes.next().await {
        known[kind] = true;
        if known != [true, true] {
            continue;
        }
        let policies = sort(&own.state(), &cluster.state());
        info!(
            valid = policies.valid.len(),
            cluster = policies.cluster.len(),
            invalid = policies.invalid.len(),
            "policies changed"
        );
        let own = policies.valid.iter().map(for_webhook);
        let cluster = policies.cluster.iter().cloned().map(Policy::of_cluster);
        webhook.replace(own.chain(cluster));
        view.send_replace(Some(Arc::new(policies)));
    }
}

/// A store of all policies of a kind, and an item whenever it is complete and has changed.
fn changes<K>(
    what: &'static str,
    client: Client,
) -> (Store<Guarded<K>>, impl Stream<Item = ()> + Send)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store::<Guarded<K>>();
    let changes = watcher::watcher(Api::<Guarded<K>>::all(client), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .filter_map(move |event| {
            // A definition that an upgrade has not brought yet must not stop everything else.
            let unknown = matches!(
                &event,
                Err(watcher::Error::InitialListFailed(kube::Error::Api(status))) if status.code == 404
            );
            let changed = changed(what, &event) || unknown;
            std::future::ready(changed.then_some(()))
        });
    (store, changes)
}

/// A policy as the webhook needs it. The API server always says its namespace.
pub(crate) fn for_webhook(policy: &ProtectionPolicy) -> Policy {
    Policy::new(policy.clone(), "")
}

/// Follows the labels of all namespaces for ever.
pub async fn follow_namespaces(client: Client, view: watch::Sender<Option<Arc<Namespaces>>>) {
    type Metadata = PartialObjectMeta<Namespace>;
    let (store, writer) = reflector::store::<Metadata>();
    let stream = watcher::watcher(Api::<Metadata>::all(client), watcher::Config::default())
        .default_backoff()
        .modify(|namespace| {
            namespace.managed_fields_mut().clear();
            namespace.annotations_mut().clear();
        })
        .reflect(writer);
    let mut stream = pin!(stream);
    while let Some(event) = stream.next().await {
        if changed("namespaces", &event) {
            let namespaces = store
                .state()
                .iter()
                .map(|namespace| (namespace.name_any(), namespace.labels().clone()))
                .collect();
            view.send_replace(Some(Arc::new(namespaces)));
        }
    }
}

/// Whether the store is complete and differs from before.
fn changed<K>(what: &str, event: &watcher::Result<Event<K>>) -> bool {
    match event {
        Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone) => true,
        Ok(Event::Init | Event::InitApply(_)) => false,
        Err(error) => {
            warn!(what, %error, "watch failed, trying again");
            false
        }
    }
}

/// Sorts policies by namespace and name, so that nothing depends on the order
/// in which they were seen.
fn sort(
    own: &[Arc<Guarded<ProtectionPolicy>>],
    cluster: &[Arc<Guarded<ClusterProtectionPolicy>>],
) -> Policies {
    let mut sorted = Policies::default();
    for policy in own {
        match &policy.0 {
            Ok(policy) => sorted.valid.push(policy.clone()),
            Err(invalid) => sorted.invalid.push(invalid.clone()),
        }
    }
    for policy in cluster {
        match &policy.0 {
            Ok(policy) => sorted.cluster.push(policy.clone()),
            Err(invalid) => sorted.invalid.push(invalid.clone()),
        }
    }
    sorted
        .valid
        .sort_by_cached_key(|policy| (policy.namespace(), policy.name_any()));
    sorted.cluster.sort_by_cached_key(ResourceExt::name_any);
    sorted.invalid.sort_by_cached_key(|invalid| {
        (
            invalid.metadata.namespace.clone(),
            invalid.metadata.name.clone(),
        )
    });
    sorted
}
