//! What each pod's agent said last, and when.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use picket_events::relay::Heartbeat;
use tokio::sync::watch;

/// Most pods that are remembered; further ones are refused.
const CAPACITY: usize = 65_536;

/// The last heartbeat of a pod.
#[derive(Clone, Debug)]
pub struct Received {
    /// What it said.
    pub heartbeat: Heartbeat,
    /// When it arrived, for ages.
    pub at: Instant,
    /// When it arrived, for people.
    pub time: SystemTime,
}

/// The last heartbeat of every pod, by the pod's uid. Clones share their content.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    content: Mutex<Content>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Content {
    by_uid: HashMap<String, Arc<Received>>,
    changed: HashSet<String>,
}

/// There are too many pods already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{CAPACITY} pods report already")]
pub struct TooMany;

impl Heartbeats {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0
            .content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a heartbeat of the pod with this uid, which its token told.
    ///
    /// # Errors
    /// [`TooMany`] when this would be one pod too many.
    pub fn record(&self, uid: &str, heartbeat: Heartbeat) -> Result<(), TooMany> {
        let received = Received {
            heartbeat,
            at: Instant::now(),
            time: SystemTime::now(),
        };
        let mut content = self.content();
        if content.by_uid.len() >= CAPACITY && !content.by_uid.contains_key(uid) {
            return Err(TooMany);
        }
        let before = content
            .by_uid
            .insert(uid.to_owned(), Arc::new(received.clone()));
        let same = before.is_some_and(|before| before.heartbeat.says_the_same(&received.heartbeat));
        if !same {
            content.changed.insert(uid.to_owned());
            drop(content);
            self.0.changes.send_modify(|number| *number += 1);
        }
        Ok(())
    }

    /// The last heartbeat of this pod.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<Arc<Received>> {
        self.content().by_uid.get(uid).cloned()
    }

    /// How many pods have reported.
    #[must_use]
    pub fn len(&self) -> usize {
        self.content().by_uid.len()
    }

    /// Whether no pod has reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets every pod that is not to be kept: those that are gone.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut content = self.content();
        content.by_uid.retain(|uid, _| keep(uid));
        content.changed.retain(|uid| keep(uid));
    }

    /// Changes whenever a pod says something else than before; a heartbeat with nothing new but
    /// its counters is no change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The uids of the pods that have said something new since the last call: for one reader.
    #[must_use]
    pub fn take_changed(&self) -> HashSet<String> {
        std::mem::take(&mut self.content().changed)
    }
}

#[cfg(test)]
mod tests {
    use picket_events::relay::{ContainerReport, ContainerState};

    use super::*;

    fn heartbeat(state: ContainerState, events: u64) -> Heartbeat {
        Heartbeat {
            containers: vec![ContainerReport {
                name: "web".into(),
                state,
                events,
                ..ContainerReport::default()
            }],
            ..Heartbeat::default()
        }
    }

    #[test]
    fn only_news_are_told() {
        let heartbeats = Heartbeats::new();
        let mut changes = heartbeats.subscribe();
        let record = |heartbeat| heartbeats.record("7", heartbeat).expect("room");
        let mut told = || {
            let changed = changes.has_changed().expect("sender");
            changes.mark_unchanged();
            changed
        };
        record(heartbeat(ContainerState::Traced, 1));
        assert!(told());
        record(heartbeat(ContainerState::Traced, 2));
        assert!(!told());
        record(heartbeat(ContainerState::Disconnected, 2));
        assert!(told());
        assert_eq!(heartbeats.take_changed(), HashSet::from(["7".to_owned()]));
        assert!(heartbeats.take_changed().is_empty());
        let last = heartbeats.get("7").expect("known");
        assert_eq!(last.heartbeat, heartbeat(ContainerState::Disconnected, 2));
        heartbeats.retain(|uid| uid != "7");
        assert!(heartbeats.is_empty() && heartbeats.get("7").is_none());
    }
}
