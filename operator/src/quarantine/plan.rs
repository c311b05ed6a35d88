//! What has to be done about a pod.

use std::collections::BTreeMap;

use picket_crds::{annotations, labels};
use picket_events::relay;
use serde_json::{Value, json};

use crate::pods::PodFacts;

/// Prefixes of labels that stay: AWS' and ours tell how the pod runs, and select no backends.
const STAY: [&str; 2] = ["eks.amazonaws.com/", annotations::PREFIX];
/// The beginning of the name of a pod's NetworkPolicy.
const POLICY_PREFIX: &str = "picket-quarantine-";
/// The longest name of an object.
const NAME: usize = 253;

/// What has to be done about a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    None,
    /// It goes into quarantine.
    Enter {
        /// The NetworkPolicy to make first, off Fargate.
        network_policy: Option<Value>,
        /// The merge patch of the pod.
        patch: Value,
    },
    /// It comes out again.
    Leave {
        /// The NetworkPolicy to delete afterwards.
        network_policy: String,
        /// The merge patch of the pod.
        patch: Value,
    },
}

/// What the pod's agent is told.
#[must_use]
pub fn order_of(pod: &PodFacts) -> Option<relay::Quarantine> {
    pod.quarantine_wanted.then(|| relay::Quarantine {
        reason: "the pod's annotation picket.dev/quarantine".to_owned(),
    })
}

/// Decides what has to be done about a pod.
#[must_use]
pub fn plan(pod: &PodFacts) -> Step {
    let ended = pod.phase.has_ended() || pod.deleting;
    match (pod.quarantine_wanted, &pod.quarantined_labels) {
        (true, None) if !ended => enter(pod),
        (false, Some(moved)) => leave(pod, moved),
        _ => Step::None,
    }
}

fn enter(pod: &PodFacts) -> Step {
    let moved: BTreeMap<&str, &str> = pod
        .labels
        .iter()
        .filter(|(key, _)| !STAY.iter().any(|prefix| key.starts_with(prefix)))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let mut changed: serde_json::Map<String, Value> = moved
        .keys()
        .map(|key| ((*key).to_owned(), Value::Null))
        .collect();
    changed.insert(labels::QUARANTINED.to_owned(), json!(&*pod.uid));
    // A map of strings: writing it cannot fail.
    let kept = serde_json::to_string(&moved).unwrap_or_default();
    Step::Enter {
        network_policy: (!pod.is_on_fargate()).then(|| network_policy(pod)),
        patch: json!({"metadata": {
            "uid": &*pod.uid,
            "labels": changed,
            "annotations": {annotations::QUARANTINED_LABELS: kept},
        }}),
    }
}

fn leave(pod: &PodFacts, moved: &str) -> Step {
    // Whoever wrote something else there could have changed the labels as well.
    let moved: BTreeMap<String, String> = serde_json::from_str(moved).unwrap_or_default();
    let mut restored: serde_json::Map<String, Value> = moved
        .into_iter()
        .map(|(key, value)| (key, value.into()))
        .collect();
    restored.insert(labels::QUARANTINED.to_owned(), Value::Null);
    Step::Leave {
        network_policy: name(pod),
        patch: json!({"metadata": {
            "uid": &*pod.uid,
            "labels": restored,
            "annotations": {annotations::QUARANTINED_LABELS: null},
        }}),
    }
}

/// Denies everything to and from exactly this pod, and goes when it goes.
fn network_policy(pod: &PodFacts) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name(pod),
            "namespace": &*pod.namespace,
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "Pod",
                "name": &*pod.name,
                "uid": &*pod.uid,
            }],
        },
        "spec": {
            "podSelector": {"matchLabels": {labels::QUARANTINED: &*pod.uid}},
            "policyTypes": ["Ingress", "Egress"],
        },
    })
}

fn name(pod: &PodFacts) -> String {
    let name = format!("{POLICY_PREFIX}{}", pod.name);
    if name.len() <= NAME {
        name
    } else {
        format!("{POLICY_PREFIX}{}", pod.uid)
    }
}
