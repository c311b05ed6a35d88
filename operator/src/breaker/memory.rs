//! What has to be remembered of pods between two looks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ailment::{ailment, waits_for_fargate};
use crate::pods::{PodFacts, Pods};

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Memory {
    seen_until: u64,
    /// Pods that may ail, since when.
    ailing: HashMap<Arc<str>, Instant>,
    /// How often a suspension of a workload was tried again.
    tried: HashMap<String, u32>,
    /// When the events of a pod were read last.
    asked: HashMap<Arc<str>, Instant>,
    /// Whether the application of a crashing pod ran before.
    ran_before: HashMap<Arc<str>, bool>,
}

impl Memory {
    /// Looks at the pods of every namespace that has changed.
    pub(super) fn look(&mut self, pods: &Pods, now: Instant) {
        let changed = pods.changed_since(self.seen_until);
        self.seen_until = changed.until;
        for namespace in &changed.namespaces {
            for pod in pods.in_namespace(namespace) {
                self.see(&pod, now);
            }
        }
        let gone = |uid: &Arc<str>| pods.by_uid(uid).is_none();
        self.ailing.retain(|uid, _| !gone(uid));
        self.asked.retain(|uid, _| !gone(uid));
        self.ran_before.retain(|uid, _| !gone(uid));
    }

    fn see(&mut self, pod: &PodFacts, now: Instant) {
        if ailment(pod).is_some() || waits_for_fargate(pod) {
            self.ailing.entry(Arc::clone(&pod.uid)).or_insert(now);
        } else {
            self.ailing.remove(&pod.uid);
        }
    }

    /// Pods that may ail, and for how long.
    pub(super) fn ailing(&self, now: Instant) -> Vec<(Arc<str>, Duration)> {
        self.ailing
            .iter()
            .map(|(uid, since)| (Arc::clone(uid), now.saturating_duration_since(*since)))
            .collect()
    }

    pub(super) fn tried(&self, workload: &str) -> u32 {
        self.tried.get(workload).copied().unwrap_or(0)
    }

    pub(super) fn try_again(&mut self, workload: &str) {
        *self.tried.entry(workload.to_owned()).or_default() += 1;
    }

    /// Whether the events of a pod may be read now: not more often than every `pause`.
    pub(super) fn may_ask(&mut self, uid: &Arc<str>, pause: Duration, now: Instant) -> bool {
        let recent = |at: &Instant| now.saturating_duration_since(*at) < pause;
        if self.asked.get(uid).is_some_and(recent) {
            return false;
        }
        self.asked.insert(Arc::clone(uid), now);
        true
    }

    pub(super) fn known_to_have_run(&self, uid: &str) -> Option<bool> {
        self.ran_before.get(uid).copied()
    }

    pub(super) fn remember_to_have_run(&mut self, uid: &Arc<str>, ran: bool) {
        self.ran_before.insert(Arc::clone(uid), ran);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::WatchedPod;

    fn pod(name: &str, waiting: &str, ready: bool) -> PodFacts {
        let status = json!({
            "revision": "1", "policy": "shop/all", "mode": "Monitor", "agent": "NativeSidecar",
            "containers": [], "qos": {"before": "BestEffort", "after": "Burstable"},
        });
        let state = match waiting {
            "" => json!({"running": {}}),
            reason => json!({"waiting": {"reason": reason}}),
        };
        let pod: Value = json!({
            "metadata": {
                "name": name, "namespace": "shop", "uid": name,
                "creationTimestamp": "1970-01-01T00:00:10Z",
                "annotations": {"picket.dev/status": status.to_string()},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "7", "controller": true}],
            },
            "spec": {"initContainers": [{"name": "picket-setup"}]},
            "status": {
                "phase": if ready { "Running" } else { "Pending" },
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
                "initContainerStatuses": [{"name": "picket-setup", "state": state}],
            },
        });
        PodFacts::of(&serde_json::from_value::<WatchedPod>(pod).expect("pod"))
    }

    #[test]
    fn since_when_a_pod_ails() {
        let pods = Pods::default();
        let mut memory = Memory::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        pods.replace([pod("a", "ContainerCreating", false), pod("b", "", true)]);
        memory.look(&pods, start);
        assert_eq!(memory.ailing(start), []);

        pods.put(pod("a", "ErrImagePull", false));
        memory.look(&pods, start + second);
        pods.put(pod("a", "ImagePullBackOff", false));
        memory.look(&pods, start + 2 * second);
        assert_eq!(
            memory.ailing(start + 3 * second),
            [("a".into(), 2 * second)]
        );

        pods.put(pod("a", "", true));
        memory.look(&pods, start + 4 * second);
        assert_eq!(memory.ailing(start + 4 * second), []);

        pods.put(pod("c", "ErrImagePull", false));
        memory.look(&pods, start);
        pods.remove("c");
        memory.look(&pods, start);
        assert_eq!(memory.ailing(start), []);
    }

    #[test]
    fn events_are_read_now_and_then() {
        let mut memory = Memory::default();
        let (start, pause) = (Instant::now(), Duration::from_secs(30));
        let uid = "a".into();
        assert!(memory.may_ask(&uid, pause, start));
        assert!(!memory.may_ask(&uid, pause, start + pause / 2));
        assert!(memory.may_ask(&uid, pause, start + pause));
    }
}
