//! Findings as Events on the pod and on its workload.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use picket_events::finding::Severity;
use picket_events::text::printable;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::super::limits::{Limits, Rate};
use super::super::metrics::RelayMetrics;
use super::{ClusterFinding, Output};
use crate::events::owner;

/// Who the events come from.
const REPORTER: &str = "picket.dev/relay";
/// Most findings that wait to be told.
const WAITING: usize = 1024;
/// Events of a pod; who floods its own leaves those of others alone.
const PER_POD: Rate = Rate {
    burst: 10.0,
    per_second: 0.1,
};
/// Events of all pods.
const IN_ALL: Rate = Rate {
    burst: 100.0,
    per_second: 10.0,
};
/// How long an API server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest reason, in bytes.
const LONGEST_REASON: usize = 64;
/// Most open connections that a note lists.
const LISTED: usize = 10;
/// Longest note that the API takes, in bytes, with some room.
const LONGEST_NOTE: usize = 1000;

/// Writes findings as Events, from a task of its own. The API's own series count those that
/// come again.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<Arc<ClusterFinding>>,
    per_pod: Limits,
    in_all: Limits,
    metrics: RelayMetrics,
}

impl Events {
    /// Writes by `client`, as this replica. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(client: Client, identity: String, metrics: RelayMetrics) -> Self {
        let (queue, findings) = mpsc::channel(WAITING);
        tokio::spawn(write(client, identity, findings, metrics.clone()));
        Self {
            queue,
            per_pod: Limits::new(PER_POD),
            in_all: Limits::new(IN_ALL),
            metrics,
        }
    }
}

impl Output for Events {
    fn take(&self, finding: &Arc<ClusterFinding>) {
        if finding.kind().is_empty() {
            return;
        }
        let now = Instant::now();
        let allowed =
            self.per_pod.take(&finding.pod.uid, 1, now) == 1 && self.in_all.take("", 1, now) == 1;
        if !allowed || self.queue.try_send(Arc::clone(finding)).is_err() {
            self.metrics.findings("not_told", 1);
        }
    }

    fn forget(&self, keep: &dyn Fn(&str) -> bool) {
        self.per_pod.retain(keep);
    }
}

async fn write(
    client: Client,
    identity: String,
    mut findings: mpsc::Receiver<Arc<ClusterFinding>>,
    metrics: RelayMetrics,
) {
    let reporter = Reporter {
        controller: REPORTER.to_owned(),
        instance: Some(identity),
    };
    let recorder = Recorder::new(client.clone(), reporter);
    while let Some(finding) = findings.recv().await {
        let told = async {
            let (pod, made_by) = objects(&finding);
            let mut result = recorder.publish(&event(&finding, false), &pod).await;
            if let Some(made_by) = made_by {
                let workload = owner(&client, &made_by).await;
                let second = recorder.publish(&event(&finding, true), &workload).await;
                result = result.and(second);
            }
            result
        };
        let result = match timeout(PATIENCE, told).await {
            Ok(Ok(())) => "told",
            Ok(Err(error)) => {
                debug!(%error, "a finding cannot be told as an event");
                "not_told"
            }
            Err(_) => "not_told",
        };
        metrics.findings(result, 1);
    }
}

/// The pod, and what made it.
fn objects(finding: &ClusterFinding) -> (ObjectReference, Option<ObjectReference>) {
    let pod = &finding.pod;
    let on_pod = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name.clone()),
        namespace: Some(pod.namespace.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    };
    let made_by = finding.owner.as_ref().map(|owner| ObjectReference {
        api_version: Some(owner.api_version.to_string()),
        kind: Some(owner.kind.to_string()),
        name: Some(owner.name.to_string()),
        namespace: Some(pod.namespace.clone()),
        uid: Some(owner.uid.to_string()),
        ..ObjectReference::default()
    });
    (on_pod, made_by)
}

fn event(finding: &ClusterFinding, on_workload: bool) -> Event {
    let severity = finding.severity();
    let container = finding.body["container"]["name"].as_str();
    let container = container.map_or_else(String::new, |name| format!(" in container {name}"));
    let pod = match on_workload {
        true => format!("pod {}: ", finding.pod.name),
        false => String::new(),
    };
    let (title, kind) = (finding.title(), finding.kind());
    let open = open_connections(finding);
    let note = format!(
        "{pod}[{}] {title}{container}: {kind}{open}",
        severity.name()
    );
    Event {
        type_: match severity >= Severity::Low {
            true => EventType::Warning,
            false => EventType::Normal,
        },
        reason: reason(kind),
        note: Some(plain(&note)),
        action: "Detection".to_owned(),
        secondary: None,
    }
}

/// What a quarantine leaves open: people decide by it whether to delete the pod.
fn open_connections(finding: &ClusterFinding) -> String {
    let list = finding.body.pointer("/open_connections/connections");
    let list = list.and_then(serde_json::Value::as_array);
    let ends: Vec<String> = list
        .into_iter()
        .flatten()
        .filter_map(|one| {
            Some(format!(
                "{} to {}",
                one["local"].as_str()?,
                one["remote"].as_str()?
            ))
        })
        .collect();
    let more = match ends.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    match ends.get(..ends.len().min(LISTED)).unwrap_or_default() {
        [] => String::new(),
        ends => format!(": {}{more}", ends.join(", ")),
    }
}

/// No longer than the API takes.
fn plain(text: &str) -> String {
    let mut text = printable(text);
    text.truncate(text.floor_char_boundary(LONGEST_NOTE.min(text.len())));
    text
}

/// The last part of a finding's type: `ReverseShell` of `Execution:Runtime/ReverseShell`.
fn reason(kind: &str) -> String {
    let last = kind.rsplit('/').next().unwrap_or_default();
    let letters = last.chars().filter(char::is_ascii_alphanumeric);
    let reason: String = letters.take(LONGEST_REASON).collect();
    match reason.is_empty() {
        true => "Finding".to_owned(),
        false => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words_whatever_a_pod_sends() {
        for (kind, expected) in [
            ("Execution:Runtime/ReverseShell", "ReverseShell"),
            ("Backdoor:Runtime/C&CActivity.B!DNS", "CCActivityBDNS"),
            ("/", "Finding"),
            ("\n\u{0}", "Finding"),
        ] {
            assert_eq!(reason(kind), expected);
        }
        assert_eq!(reason(&"x".repeat(500)).len(), LONGEST_REASON);
    }
}
