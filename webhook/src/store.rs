//! The policies that a webhook answers from: written by a watch, read by every request.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::policy::{Policy, Scope};

/// Namespace, empty for a policy of the cluster, and name.
type Key = (String, String);

#[derive(Debug, Default)]
struct State {
    by_key: BTreeMap<Key, Arc<Policy>>,
    snapshot: Arc<[Arc<Policy>]>,
    synced: bool,
}

/// The policies that a webhook answers from. Clones share their content; reading takes one
/// short lock and copies a pointer.
#[derive(Debug, Clone, Default)]
pub struct PolicyStore {
    state: Arc<RwLock<State>>,
}

impl PolicyStore {
    /// An empty store that is not synced yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts these policies in the place of all others and marks the store as synced: after a
    /// list, or by hand.
    pub fn replace(&self, policies: impl IntoIterator<Item = Policy>) {
        self.change(|state| {
            state.by_key = policies
                .into_iter()
                .map(|policy| (key(&policy), Arc::new(policy)))
                .collect();
            state.synced = true;
        });
    }

    /// Adds a policy or puts it in the place of its older self.
    pub fn upsert(&self, policy: Policy) {
        self.change(|state| {
            state.by_key.insert(key(&policy), Arc::new(policy));
        });
    }

    /// Removes a policy, if it is there; those of the cluster have an empty namespace.
    pub fn remove(&self, namespace: &str, name: &str) {
        self.change(|state| {
            state
                .by_key
                .remove(&(namespace.to_owned(), name.to_owned()));
        });
    }

    /// Every policy there is at this moment, by namespace and name.
    pub fn snapshot(&self) -> Arc<[Arc<Policy>]> {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .snapshot
            .clone()
    }

    /// True once [`Self::replace`] has been called: before, an answer could miss a policy.
    pub fn is_synced(&self) -> bool {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .synced
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // A writer cannot leave half a state behind, so a poisoned lock still holds a good one.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.snapshot = state.by_key.values().cloned().collect();
    }
}

fn key(policy: &Policy) -> Key {
    let namespace = match &policy.scope {
        Scope::Namespace(namespace) => namespace.clone(),
        Scope::Cluster(_) => String::new(),
    };
    (namespace, policy.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, priority: i32) -> Policy {
        let spec = picket_crds::ProtectionPolicySpec {
            priority,
            ..Default::default()
        };
        Policy {
            scope: Scope::Namespace("shop".into()),
            name: name.into(),
            created: None,
            spec,
        }
    }

    fn content(store: &PolicyStore) -> Vec<(String, i32)> {
        store
            .snapshot()
            .iter()
            .map(|policy| (policy.name.clone(), policy.spec.priority))
            .collect()
    }

    #[test]
    fn follows_a_watch() {
        let store = PolicyStore::new();
        assert!(!store.is_synced());
        store.replace([policy("b", 1), policy("a", 1)]);
        assert!(store.is_synced());
        let before = store.snapshot();
        store.upsert(policy("b", 2));
        store.remove("shop", "a");
        store.remove("shop", "missing");
        assert_eq!(content(&store), [("b".to_owned(), 2)]);
        assert_eq!(
            before.len(),
            2,
            "a snapshot does not change under its reader"
        );
    }
}
