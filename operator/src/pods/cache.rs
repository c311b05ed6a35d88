//! All pods, found by uid, by name and by owner.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;

use super::facts::PodFacts;

/// All pods as last seen. Clones share their content; reading takes one short lock.
///
/// Whoever follows changes keeps the number that [`Pods::changed_since`] gave it: nothing is lost
/// however slowly it reads.
#[derive(Clone, Debug)]
pub struct Pods {
    state: Arc<RwLock<State>>,
    changes: Arc<watch::Sender<u64>>,
}

/// What changed since a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The number to ask with next time.
    pub until: u64,
    /// Namespaces in which a pod came, changed or went.
    pub namespaces: BTreeSet<Arc<str>>,
}

#[derive(Debug, Default)]
struct State {
    synced: bool,
    number: u64,
    by_uid: HashMap<Arc<str>, Arc<PodFacts>>,
    by_owner: HashMap<Arc<str>, Vec<Arc<str>>>,
    by_namespace: BTreeMap<Arc<str>, InNamespace>,
}

#[derive(Debug, Default)]
struct InNamespace {
    changed: u64,
    by_name: BTreeMap<Box<str>, Arc<PodFacts>>,
}

impl Default for Pods {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            changes: Arc::new(watch::channel(0).0),
        }
    }
}

impl Pods {
    /// Whether all pods have been listed once; before, an answer could miss one.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.read().synced
    }

    /// A receiver that is told of every change; it holds [`Changed::until`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The namespaces with changes after `number`; 0 for all that have or had pods.
    #[must_use]
    pub fn changed_since(&self, number: u64) -> Changed {
        let state = self.read();
        let namespaces = state.by_namespace.iter();
        Changed {
            until: state.number,
            namespaces: namespaces
                .filter(|(_, pods)| pods.changed > number)
                .map(|(name, _)| Arc::clone(name))
                .collect(),
        }
    }

    /// The pod with this uid.
    #[must_use]
    pub fn by_uid(&self, uid: &str) -> Option<Arc<PodFacts>> {
        self.read().by_uid.get(uid).cloned()
    }

    /// The pod of this name.
    #[must_use]
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<PodFacts>> {
        let state = self.read();
        let pods = state.by_namespace.get(namespace)?;
        pods.by_name.get(name).cloned()
    }

    /// The pods that the object with this uid controls itself: those of a ReplicaSet, not of its
    /// Deployment.
    #[must_use]
    pub fn of_owner(&self, uid: &str) -> Vec<Arc<PodFacts>> {
        let state = self.read();
        let uids = state.by_owner.get(uid).into_iter().flatten();
        let pods = uids.filter_map(|uid| state.by_uid.get(uid));
        pods.cloned().collect()
    }

    /// The pods of a namespace, by name.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<PodFacts>> {
        let state = self.read();
        let pods = state.by_namespace.get(namespace);
        pods.map(|pods| pods.by_name.values().cloned().collect())
            .unwrap_or_default()
    }

    /// All pods, by namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<PodFacts>> {
        let state = self.read();
        let namespaces = state.by_namespace.values();
        namespaces
            .flat_map(|pods| pods.by_name.values().cloned())
            .collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.read().by_uid.len()
    }

    /// Puts these pods in the place of all others: after a list.
    pub fn replace(&self, pods: impl IntoIterator<Item = PodFacts>) {
        self.change(|state| {
            let gone: BTreeSet<Arc<str>> = state.by_uid.keys().cloned().collect();
            let mut there = BTreeSet::new();
            for pod in pods {
                there.insert(Arc::clone(&pod.uid));
                state.put(pod);
            }
            for uid in gone.difference(&there) {
                state.remove(uid);
            }
            state.synced = true;
        });
    }

    /// Adds a pod or puts it in the place of its older self.
    pub fn put(&self, pod: PodFacts) {
        self.change(|state| state.put(pod));
    }

    /// Removes a pod, if it is there.
    pub fn remove(&self, uid: &str) {
        self.change(|state| state.remove(uid));
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let number = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let synced = state.synced;
            let before = state.number;
            change(&mut state);
            if synced == state.synced && before == state.number {
                return;
            }
            state.number
        };
        // Two changes may come here in another order than they were made.
        self.changes.send_modify(|told| *told = number.max(*told));
    }
}

impl State {
    fn put(&mut self, pod: PodFacts) {
        let before = self.by_uid.get(&pod.uid);
        if before.is_some_and(|before| **before == pod) {
            return;
        }
        let (uid, owner) = (Arc::clone(&pod.uid), pod.owner.clone());
        let owner_before = before.and_then(|before| before.owner.clone());
        if owner_before != owner {
            if let Some(owner) = owner_before {
                self.disown(&owner.uid, &uid);
            }
            if let Some(owner) = owner {
                let owned = self.by_owner.entry(owner.uid).or_default();
                owned.push(Arc::clone(&uid));
            }
        }
        self.number += 1;
        let (name, namespace) = (pod.name.clone(), Arc::clone(&pod.namespace));
        let pod = Arc::new(pod);
        self.by_uid.insert(uid, Arc::clone(&pod));
        let in_namespace = self.by_namespace.entry(namespace).or_default();
        in_namespace.changed = self.number;
        let replaced = in_namespace.by_name.insert(name, Arc::clone(&pod));
        // The same name with another uid: the end of the older one was missed.
        if let Some(replaced) = replaced.filter(|replaced| replaced.uid != pod.uid) {
            self.by_uid.remove(&replaced.uid);
            if let Some(owner) = &replaced.owner {
                self.disown(&owner.uid, &replaced.uid);
            }
        }
    }

    fn remove(&mut self, uid: &str) {
        let Some(pod) = self.by_uid.remove(uid) else {
            return;
        };
        if let Some(owner) = &pod.owner {
            self.disown(&owner.uid, uid);
        }
        self.number += 1;
        if let Some(pods) = self.by_namespace.get_mut(&pod.namespace) {
            pods.changed = self.number;
            pods.by_name.remove(&pod.name);
        }
    }

    fn disown(&mut self, owner: &str, uid: &str) {
        if let Some(owned) = self.by_owner.get_mut(owner) {
            owned.retain(|owned| &**owned != uid);
            if owned.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }
}
