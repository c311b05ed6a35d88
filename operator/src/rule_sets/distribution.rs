//! Which bundle a pod gets: the rule sets of every policy that selects it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use picket_crds::{DEFAULT_RULE_SET, labels};
use picket_events::relay::{MAX_BUNDLE, RuleBundle, VERSION};
use picket_webhook::policy::select;
use picket_webhook::{Namespace, PolicyStore, SharedSettings};
use ring::digest::{SHA256, digest};
use tokio::sync::watch;
use tracing::{info, warn};

use super::library::Library;
use crate::pods::{PodFacts, Pods};
use crate::policies::{Namespaces, Policies, View};
use crate::relay::Bundles;
use crate::relay::orders::Board;

/// Names and bytes of the bundles that are in use.
#[derive(Debug, Default)]
struct Packed {
    /// The library that they are from.
    of: Option<Arc<Library>>,
    by_names: HashMap<Vec<String>, Arc<str>>,
    by_hash: HashMap<Arc<str>, Bytes>,
}

/// Packs rule sets into bundles. Clones share their content.
#[derive(Clone)]
pub struct Distribution {
    library: View<Library>,
    namespaces: View<Namespaces>,
    policies: PolicyStore,
    packed: Arc<Mutex<Packed>>,
}

impl Distribution {
    /// Packs what these say.
    #[must_use]
    pub fn new(
        library: View<Library>,
        namespaces: View<Namespaces>,
        policies: PolicyStore,
    ) -> Self {
        Self {
            library,
            namespaces,
            policies,
            packed: Arc::default(),
        }
    }

    /// The rule sets of a pod, sorted; `None` until everything is known that it depends on.
    fn rule_sets(&self, pod: &PodFacts) -> Option<Vec<String>> {
        if !self.policies.is_synced() {
            return None;
        }
        let namespaces = self.namespaces.borrow().clone()?;
        let labels = namespaces.get(&*pod.namespace).cloned().unwrap_or_default();
        let namespace = Namespace {
            labels: labels.into_iter().collect(),
            ..Namespace::default()
        };
        let policies = self.policies.snapshot();
        let selection = select(
            policies.iter().map(AsRef::as_ref),
            (&pod.namespace, &namespace),
            |key| pod.labels.get(key).map(String::as_str),
            pod.labels.contains_key(labels::FARGATE_PROFILE),
        );
        Some(selection.map(|found| found.rule_sets).unwrap_or_default())
    }

    /// The hash of the bundle of these rule sets; empty for the built-in rules.
    fn pack(&self, names: Vec<String>, library: &Arc<Library>) -> String {
        let known: Vec<&String> = names
            .iter()
            .filter(|name| *name != DEFAULT_RULE_SET && library.sets.contains_key(*name))
            .collect();
        // A pod whose rule sets do not exist is not left without rules.
        if known.is_empty() {
            return String::new();
        }
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if !packed
            .of
            .as_ref()
            .is_some_and(|of| Arc::ptr_eq(of, library))
        {
            *packed = Packed {
                of: Some(Arc::clone(library)),
                ..Packed::default()
            };
        }
        if let Some(hash) = packed.by_names.get(&names) {
            return hash.to_string();
        }
        let mut bundle = RuleBundle {
            version: VERSION,
            defaults: names.iter().any(|name| name == DEFAULT_RULE_SET),
            ..RuleBundle::default()
        };
        for name in known {
            let content = &library.sets[name].compiled.content;
            bundle.policies.extend(content.policies.iter().cloned());
            bundle.lists.extend(content.lists.iter().cloned());
        }
        // Texts and flags: writing them cannot fail.
        let bytes = serde_json::to_vec(&bundle).unwrap_or_default();
        if bytes.len() > MAX_BUNDLE {
            warn!(rule_sets = ?names, bytes = bytes.len(), "rule sets are too large together; their pods get the built-in rules");
            return String::new();
        }
        let hash: Arc<str> = hex(digest(&SHA256, &bytes).as_ref()).into();
        info!(rule_sets = ?names, bundle = %hash, bytes = bytes.len(), "rule bundle packed");
        packed.by_hash.insert(Arc::clone(&hash), bytes.into());
        packed.by_names.insert(names, Arc::clone(&hash));
        hash.to_string()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Bundles for Distribution {
    fn assign(&self, pod: &PodFacts) -> Option<String> {
        let library = self.library.borrow().clone()?;
        let names = self.rule_sets(pod)?;
        Some(self.pack(names, &library))
    }

    fn bytes(&self, hash: &str) -> Option<Bytes> {
        let packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        packed.by_hash.get(hash).cloned()
    }
}

/// Tells the webhook and every pod that has asked for orders what changes, for ever.
pub async fn distribute(
    distribution: Distribution,
    pods: Pods,
    board: Board,
    settings: SharedSettings,
    mut policies: View<Policies>,
) {
    let mut library = distribution.library.clone();
    let mut namespaces = distribution.namespaces.clone();
    loop {
        policies.mark_unchanged();
        namespaces.mark_unchanged();
        if let Some(library) = library.borrow_and_update().as_ref() {
            let interests = library.interests();
            settings.update(|settings| settings.rule_set_interests = interests);
        }
        for uid in board.uids() {
            let pod = pods.by_uid(&uid);
            if let Some(hash) = pod.and_then(|pod| distribution.assign(&pod)) {
                board.bundle(&uid, &hash);
            }
        }
        let watching = tokio::select! {
            changed = library.changed() => changed,
            changed = policies.changed() => changed,
            changed = namespaces.changed() => changed,
        };
        if watching.is_err() {
            return;
        }
    }
}

/// A view that has no rule sets, for where there is no relay.
#[must_use]
pub fn no_library() -> View<Library> {
    watch::channel(None).1
}
