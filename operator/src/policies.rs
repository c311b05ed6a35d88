//! Policies and namespaces as the API server has them.
//!
//! Each policy is read on its own ([`DeserializeGuard`]): one that this version
//! cannot understand is kept apart with the reason, and never stops the rest.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta, error_boundary::InvalidObject};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, ResourceExt};
use picket_crds::ProtectionPolicy;
use picket_webhook::{Policy, PolicyStore};
use tokio::sync::watch;
use tracing::{info, warn};

/// All policies at one time.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// Those in use.
    pub valid: Vec<ProtectionPolicy>,
    /// Those that cannot be understood, and why.
    pub invalid: Vec<InvalidObject>,
}

/// Labels of all namespaces at one time, by name.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// A view that is replaced as a whole at each change; `None` until the API
/// server has listed everything once.
pub type View<T> = watch::Receiver<Option<Arc<T>>>;

type Guarded = DeserializeGuard<ProtectionPolicy>;

/// Follows the policies of all namespaces for ever: those in use go to the
/// `webhook`'s store, all of them to `view`.
pub async fn follow_policies(
    client: Client,
    webhook: PolicyStore,
    view: watch::Sender<Option<Arc<Policies>>>,
) {
    let (store, writer) = reflector::store::<Guarded>();
    let stream = watcher::watcher(Api::<Guarded>::all(client), watcher::Config::default())
        .default_backoff()
        .reflect(writer);
    let mut stream = pin!(stream);
    while let Some(event) = stream.next().await {
        if changed("policies", &event) {
            let policies = sort(&store.state());
            info!(
                valid = policies.valid.len(),
                invalid = policies.invalid.len(),
                "policies changed"
            );
            webhook.replace(policies.valid.iter().map(for_webhook));
            view.send_replace(Some(Arc::new(policies)));
        }
    }
}

/// A policy as the webhook needs it. The API server always says its namespace.
fn for_webhook(policy: &ProtectionPolicy) -> Policy {
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
fn sort(policies: &[Arc<Guarded>]) -> Policies {
    let mut sorted = Policies::default();
    for policy in policies {
        match &policy.0 {
            Ok(policy) => sorted.valid.push(policy.clone()),
            Err(invalid) => sorted.invalid.push(invalid.clone()),
        }
    }
    sorted
        .valid
        .sort_by_cached_key(|policy| (policy.namespace(), policy.name_any()));
    sorted.invalid.sort_by_cached_key(|invalid| {
        (
            invalid.metadata.namespace.clone(),
            invalid.metadata.name.clone(),
        )
    });
    sorted
}
