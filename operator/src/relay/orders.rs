//! What the operator wants of each pod.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_events::relay::{Orders, Quarantine, VERSION};
use tokio::sync::watch;

/// The orders of every pod, by the pod's uid. Clones share their content.
///
/// Whoever sets a part leaves the others alone. A pod that nothing was said of has the orders
/// that hold for all: the authorities to trust, and the built-in rules.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    trust: String,
    pods: HashMap<String, Pod>,
}

#[derive(Debug, Default)]
struct Pod {
    bundle: String,
    quarantine: Option<Quarantine>,
    told: watch::Sender<Arc<Orders>>,
}

impl Pod {
    fn tell(&self, trust: &str) {
        let orders = Orders {
            version: VERSION,
            tag: String::new(),
            bundle: self.bundle.clone(),
            quarantine: self.quarantine.clone(),
            trust: trust.to_owned(),
        };
        let tag = tag(&orders);
        self.told.send_if_modified(|told| {
            let changed = told.tag != tag;
            if changed {
                *told = Arc::new(Orders { tag, ..orders });
            }
            changed
        });
    }
}

/// Equal content has an equal tag in every replica of one version, so that agents which come
/// to another one are not told again what they know.
fn tag(orders: &Orders) -> String {
    let mut hasher = DefaultHasher::new();
    orders.bundle.hash(&mut hasher);
    let reason = orders.quarantine.as_ref().map(|order| &order.reason);
    reason.hash(&mut hasher);
    orders.trust.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl Board {
    /// Nothing is wanted of anybody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, uid: &str, change: impl FnOnce(&mut Pod)) {
        let content = &mut *self.content();
        let pod = content.pods.entry(uid.to_owned()).or_default();
        change(pod);
        pod.tell(&content.trust);
    }

    /// Cuts the pod off from the network, or lets it go again with `None`.
    pub fn quarantine(&self, uid: &str, order: Option<Quarantine>) {
        self.change(uid, |pod| pod.quarantine = order);
    }

    /// Names the bundle that the pod is to evaluate; empty for the built-in rules.
    pub fn bundle(&self, uid: &str, hash: &str) {
        self.change(uid, |pod| hash.clone_into(&mut pod.bundle));
    }

    /// Names the authorities (PEM) that the relay's certificate may be signed by.
    pub fn trust(&self, authorities: &str) {
        let content = &mut *self.content();
        authorities.clone_into(&mut content.trust);
        for pod in content.pods.values() {
            pod.tell(&content.trust);
        }
    }

    /// The orders of a pod, and whenever they change; it ends when the pod is forgotten.
    #[must_use]
    pub fn follow(&self, uid: &str) -> watch::Receiver<Arc<Orders>> {
        let mut receiver = None;
        self.change(uid, |pod| receiver = Some(pod.told.subscribe()));
        // Set by the closure, which always runs.
        receiver.unwrap_or_else(|| watch::channel(Arc::default()).1)
    }

    /// The orders of a pod at this time; `None` if nothing was ever asked or said of it.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<Arc<Orders>> {
        let content = self.content();
        content.pods.get(uid).map(|pod| pod.told.borrow().clone())
    }

    /// The uids of the pods that have orders of their own or have asked for some.
    #[must_use]
    pub fn uids(&self) -> Vec<String> {
        self.content().pods.keys().cloned().collect()
    }

    /// Forgets every pod that is not to be kept: those that are gone.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.content().pods.retain(|uid, _| keep(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_set_by_itself_and_only_changes_are_told() {
        let board = Board::new();
        let mut orders = board.follow("7");
        let first = orders.borrow_and_update().clone();
        assert_eq!((first.bundle.as_str(), &first.quarantine), ("", &None));
        board.bundle("7", "ab");
        let second = orders.borrow_and_update().clone();
        assert_eq!(second.bundle, "ab");
        assert_ne!(first.tag, second.tag);
        board.bundle("7", "ab");
        board.bundle("8", "cd");
        assert!(!orders.has_changed().expect("board"));

        let order = Quarantine {
            reason: "annotation".to_owned(),
        };
        board.quarantine("7", Some(order.clone()));
        board.trust("PEM");
        let third = orders.borrow_and_update().clone();
        assert_eq!(third.quarantine, Some(order));
        assert_eq!((third.bundle.as_str(), third.trust.as_str()), ("ab", "PEM"));
        board.quarantine("7", None);
        board.trust("");
        assert_eq!(orders.borrow_and_update().tag, second.tag);

        board.retain(|uid| uid != "7");
        assert!(orders.has_changed().is_err());
        assert_eq!(board.uids(), ["8"]);
    }
}
