//! What becomes of findings that agents send: they go to every output, each of which copes with
//! its own troubles.
//!
//! * [`Ring`]: the last ones, for `picket findings`.
//! * [`Lines`]: a line of JSON each on the operator's standard output.
//! * [`Events`]: Events on the pod and its workload.

mod events;
mod lines;
mod ring;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use picket_events::finding::{PodIdentity, Severity};
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub use events::Events;
pub use lines::Lines;
pub use ring::{Followed, Ring};

use super::metrics::RelayMetrics;
use crate::pods::PodFacts;

/// Most findings that wait to be passed on.
const WAITING: usize = 4096;

/// A finding, and whose it is by its token.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterFinding {
    /// Who sent it.
    pub pod: PodIdentity,
    /// Name of the controller's kind and name as the pod has them, for events.
    pub owner: Option<crate::pods::Owner>,
    /// The finding as the agent wrote it, but for `pod`, which is the operator's word.
    pub body: Value,
}

impl ClusterFinding {
    /// A finding of this pod; `None` if it is none.
    #[must_use]
    pub fn of(facts: &PodFacts, mut body: Value) -> Option<Self> {
        let fields = body.as_object_mut()?;
        let pod = PodIdentity {
            namespace: facts.namespace.to_string(),
            name: facts.name.to_string(),
            uid: facts.uid.to_string(),
            node: facts.node.as_deref().unwrap_or_default().to_owned(),
            workload: workload(facts),
        };
        fields.insert("pod".to_owned(), json!(pod));
        fields.insert("received".to_owned(), json!(Timestamp::now().to_string()));
        let owner = facts.owner.clone();
        Some(Self { pod, owner, body })
    }

    fn text(&self, field: &str) -> &str {
        self.body["finding"][field].as_str().unwrap_or_default()
    }

    /// Its type, such as `Execution:Runtime/ReverseShell`; empty for events about Picket that
    /// only inform.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("type")
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        Severity::from_name(self.text("severity")).unwrap_or_default()
    }

    /// One line for people.
    #[must_use]
    pub fn title(&self) -> &str {
        self.body["title"].as_str().unwrap_or_default()
    }

    /// The finding as one line of JSON, without a line break at its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        self.body.to_string()
    }
}

/// `Kind/name` of what made a pod: the Deployment behind a ReplicaSet.
fn workload(facts: &PodFacts) -> String {
    let Some(owner) = &facts.owner else {
        return format!("Pod/{}", facts.name);
    };
    let deployment = facts
        .labels
        .get("pod-template-hash")
        .filter(|_| &*owner.kind == "ReplicaSet")
        .and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    match deployment {
        Some(deployment) => format!("Deployment/{deployment}"),
        None => format!("{}/{}", owner.kind, owner.name),
    }
}

/// Takes findings. It must not block: what it cannot take at once it drops and counts itself.
pub trait Output: Send + Sync + 'static {
    /// A finding.
    fn take(&self, finding: &Arc<ClusterFinding>);

    /// Forgets what is kept of pods whose uid is not to be kept.
    fn forget(&self, keep: &dyn Fn(&str) -> bool) {
        let _ = keep;
    }
}

/// Where handlers put findings.
#[derive(Clone)]
pub struct Intake {
    queue: mpsc::Sender<Arc<ClusterFinding>>,
    outputs: Arc<[Box<dyn Output>]>,
    metrics: RelayMetrics,
}

impl fmt::Debug for Intake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Intake")
    }
}

impl Intake {
    /// Passes findings on to `outputs`, from a task of its own. Must be called within a tokio
    /// runtime.
    #[must_use]
    pub fn start(outputs: Vec<Box<dyn Output>>, metrics: RelayMetrics) -> Self {
        let (queue, mut findings) = mpsc::channel::<Arc<ClusterFinding>>(WAITING);
        let outputs: Arc<[Box<dyn Output>]> = outputs.into();
        let all = Arc::clone(&outputs);
        tokio::spawn(async move {
            while let Some(finding) = findings.recv().await {
                for output in all.iter() {
                    output.take(&finding);
                }
            }
        });
        Self {
            queue,
            outputs,
            metrics,
        }
    }

    /// Has every output forget pods whose uid is not to be kept.
    pub fn forget(&self, keep: impl Fn(&str) -> bool) {
        for output in self.outputs.iter() {
            output.forget(&keep);
        }
    }

    /// Puts a finding in, or drops and counts it where too many wait.
    pub fn put(&self, finding: ClusterFinding) {
        let result = match self.queue.try_send(Arc::new(finding)) {
            Ok(()) => "taken",
            Err(_) => "dropped",
        };
        self.metrics.findings(result, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::WatchedPod;

    fn facts() -> PodFacts {
        let pod: WatchedPod = serde_json::from_value(json!({
            "metadata": {
                "name": "web-5f-x", "namespace": "shop", "uid": "7",
                "labels": {"pod-template-hash": "5f"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5f", "uid": "8",
                    "controller": true,
                }],
            },
        }))
        .expect("pod");
        PodFacts::of(&pod)
    }

    #[test]
    fn whose_it_is_is_the_operator_s_word() {
        let body = json!({
            "title": "a", "finding": {"type": "X:Y/Z", "severity": "HIGH"},
            "pod": {"namespace": "kube-system", "name": "other", "uid": "1"},
        });
        let finding = ClusterFinding::of(&facts(), body).expect("finding");
        let pod = &finding.body["pod"];
        assert_eq!(pod["namespace"], "shop");
        assert_eq!(pod["uid"], "7");
        assert_eq!(pod["workload"], "Deployment/web");
        assert_eq!(finding.severity(), Severity::High);
        assert_eq!((finding.kind(), finding.title()), ("X:Y/Z", "a"));
        assert_eq!(ClusterFinding::of(&facts(), json!(["no object"])), None);
    }
}
