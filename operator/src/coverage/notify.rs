//! Tells that coverage has turned: as an Event on the workload or policy, and as a JSON line on
//! standard output in the shape of EventBridge's events, so that a log pipeline can send it on
//! unchanged. GuardDuty's runtime coverage events have the same form.

use std::io::Write;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use picket_crds::Health;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::debug;

/// Who the events come from.
const CONTROLLER: &str = "picket.dev/coverage";
/// What they are about.
const ACTION: &str = "Coverage";
/// Events that are written in one pass; the lines on standard output are complete.
const EVENTS: usize = 50;
/// How long an API server may take for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest note of an event, in bytes.
const NOTE: usize = 1000;

/// Coverage of something has turned.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The workload or policy.
    pub object: ObjectReference,
    /// What it was; nothing if it was not known.
    pub from: Option<Health>,
    /// What it is.
    pub to: Health,
    /// The policy that wins.
    pub policy: String,
    /// What is not seen.
    pub issues: Vec<String>,
}

impl Turn {
    /// The event's `detail-type`.
    #[must_use]
    pub fn detail_type(&self) -> String {
        format!("Picket Runtime Coverage {}", self.to.word())
    }

    /// The event as EventBridge has events; `identity` names the operator's replica. Account and
    /// region are those of whoever forwards it, and empty here.
    #[must_use]
    pub fn line(&self, identity: &str, now: Timestamp) -> Value {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (kind, namespace) = (text(&self.object.kind), text(&self.object.namespace));
        let name = text(&self.object.name);
        let place = match namespace.as_str() {
            "" => format!("{kind}/{name}"),
            _ => format!("{namespace}/{kind}/{name}"),
        };
        let id = format!("{}-{}", text(&self.object.uid), now.as_millisecond());
        json!({
            "version": "0",
            "id": id,
            "detail-type": self.detail_type(),
            "source": "picket.dev",
            "account": "",
            "time": now.to_string(),
            "region": "",
            "resources": [place],
            "detail": {
                "schemaVersion": "1.0",
                "currentStatus": self.to.word().to_uppercase(),
                "previousStatus": self.from.map(|from| from.word().to_uppercase()),
                "resourceDetails": {
                    "resourceType": kind,
                    "kubernetesDetails": {
                        "namespace": namespace,
                        "name": name,
                        "uid": self.object.uid,
                        "policy": self.policy,
                    },
                },
                "issue": self.issues.first(),
                "issues": self.issues,
                "lastUpdatedAt": now.to_string(),
                "reportedBy": identity,
            },
        })
    }

    fn note(&self) -> String {
        let mut note = match (self.to, self.issues.is_empty()) {
            (Health::Healthy, _) => "everything that the policy wants is seen".to_owned(),
            (Health::Unhealthy, true) => "something that should be seen is not".to_owned(),
            (Health::Unhealthy, false) => self.issues.join("; "),
        };
        if note.len() > NOTE {
            let mut end = NOTE;
            while !note.is_char_boundary(end) {
                end -= 1;
            }
            note.truncate(end);
        }
        note
    }
}

/// Writes the lines, and events for the first of them. What cannot be written is dropped: the
/// reports say the same.
pub async fn tell(client: &Client, identity: &str, turns: &[Turn]) {
    let now = Timestamp::now();
    {
        let mut out = std::io::stdout().lock();
        for turn in turns {
            // Nobody reads standard output any more: the reports are still there.
            let _ = writeln!(out, "{}", turn.line(identity, now));
        }
    }
    let reporter = Reporter {
        controller: CONTROLLER.to_owned(),
        instance: Some(identity.to_owned()),
    };
    let recorder = Recorder::new(client.clone(), reporter);
    for turn in turns.iter().take(EVENTS) {
        let event = Event {
            type_: match turn.to {
                Health::Healthy => EventType::Normal,
                Health::Unhealthy => EventType::Warning,
            },
            reason: format!("Coverage{}", turn.to.word()),
            note: Some(turn.note()),
            action: ACTION.to_owned(),
            secondary: None,
        };
        match timeout(PATIENCE, recorder.publish(&event, &turn.object)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "an event cannot be written"),
            Err(_) => return,
        }
    }
}
