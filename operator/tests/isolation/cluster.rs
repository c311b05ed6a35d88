//! Three pods, one of which is hostile: whatever it sends, the operator says the same of the
//! others. Shared by the property test beside this file and by the fuzz target.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use futures::future::BoxFuture;
use picket_crds::{ComputeType, ProtectionPolicySpec, WorkloadCoverage};
use picket_events::relay::{FINDINGS_PATH, HEARTBEAT_PATH, Heartbeat};
use picket_operator::coverage::build::{BeatOwned, Input, NamespaceCoverage, build};
use picket_operator::pods::{Owner, PodFacts, Pods, WatchedPod};
use picket_operator::relay::authentication::{Authenticator, Reviews, Verdict};
use picket_operator::relay::findings::{ClusterFinding, Intake, Output, Ring};
use picket_operator::relay::heartbeats::Heartbeats;
use picket_operator::relay::metrics::RelayMetrics;
use picket_operator::relay::orders::Board;
use picket_operator::relay::{BuiltIn, Relay, RelayParts};
use picket_webhook::{Namespace, Policy, Scope};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The uid of the pod that sends; its workload is `Deployment/web`.
pub(crate) const HOSTILE: &str = "1";
/// A pod of the same namespace, and one of another.
pub(crate) const OTHERS: [&str; 2] = ["2", "3"];
/// Largest row that one pod may bring about, in bytes: reports of 300 rows must fit.
const LARGEST_ROW: usize = 64 * 1024;

/// What a pod can send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// How its agent is.
    Heartbeat,
    /// What its agent found.
    Findings,
}

/// Nobody is asked about tokens here.
struct NoReviews;

impl Reviews for NoReviews {
    fn review<'a>(
        &'a self,
        _: &'a str,
        _: &'static str,
    ) -> BoxFuture<'a, Result<Verdict, kube::Error>> {
        Box::pin(async { Ok(Verdict::Nobody(String::new())) })
    }
}

/// Keeps what outputs are given.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<Arc<ClusterFinding>>>>);

impl Output for Collected {
    fn take(&self, finding: &Arc<ClusterFinding>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(finding));
    }
}

/// A relay that all three pods report to.
struct Cluster {
    pods: Pods,
    heartbeats: Heartbeats,
    board: Board,
    findings: Collected,
    ring: Ring,
    relay: Relay,
}

/// Takes in what the hostile pod sends.
///
/// # Panics
/// When it changes anything but what is said of that pod.
pub(crate) async fn only_its_own_row_changes(kind: Kind, body: &[u8]) {
    let cluster = Cluster::new();
    let before = cluster.rows();
    let orders = cluster.orders();
    let pod = cluster.pods.by_uid(HOSTILE).expect("the pod");
    let path = match kind {
        Kind::Heartbeat => HEARTBEAT_PATH,
        Kind::Findings => FINDINGS_PATH,
    };
    let taken = cluster.relay.take(&pod, path, body);
    // Findings are passed on by a task of the same thread, 128 in a turn.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }

    let after = cluster.rows();
    assert!(before.keys().eq(after.keys()), "rows came or went");
    for (key, row) in &after {
        if key.as_str() == "shop/Deployment/web" {
            is_bounded(&before[key], row);
        } else {
            assert_eq!(row, &before[key], "{key}");
        }
    }
    if taken.is_err() {
        assert_eq!(after, before, "what was refused changed something");
    }
    assert_eq!(cluster.orders(), orders, "a pod gave orders");
    for other in OTHERS {
        let heard = cluster.heartbeats.get(other).expect("heard before");
        assert_eq!(heard.heartbeat, Heartbeat::default());
    }
    assert_eq!(cluster.heartbeats.len(), 3);
    cluster.check_findings(&pod);
}

/// A pod changes how it is seen itself, not what it is or how many there are.
fn is_bounded(before: &WorkloadCoverage, row: &WorkloadCoverage) {
    assert_eq!((&row.kind, &row.name), (&before.kind, &before.name));
    assert_eq!(row.policy, before.policy);
    assert_eq!(row.pods.total, before.pods.total);
    assert_eq!(row.pods.injected, before.pods.injected);
    assert_eq!(row.pods.current, before.pods.current);
    assert_eq!(row.capacity, before.capacity);
    assert!(row.gaps.iter().all(|gap| gap.pod == "web-1"));
    assert!(row.quarantined.iter().all(|pod| pod == "web-1"));
    let text = serde_json::to_string(row).expect("JSON");
    assert!(text.len() <= LARGEST_ROW, "{} bytes", text.len());
    let texts = row.gaps.iter().map(|gap| &gap.message);
    let texts = texts.chain(row.rules.iter().map(|rules| &rules.hash));
    let reasons = row.containers.iter().filter_map(|one| one.reason.as_ref());
    for text in texts.chain(reasons) {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

impl Cluster {
    fn new() -> Self {
        let (pods, heartbeats, board) = (Pods::default(), Heartbeats::new(), Board::new());
        pods.replace(
            [
                (HOSTILE, "shop", "web"),
                (OTHERS[0], "shop", "db"),
                (OTHERS[1], "bank", "web"),
            ]
            .map(|(uid, namespace, name)| pod(uid, namespace, name)),
        );
        for uid in [HOSTILE, OTHERS[0], OTHERS[1]] {
            let recorded = heartbeats.record(uid, Heartbeat::default());
            recorded.expect("room");
            board.bundle(uid, "");
        }
        let findings = Collected::default();
        let ring = Ring::new();
        let metrics = RelayMetrics::default();
        let outputs: Vec<Box<dyn Output>> =
            vec![Box::new(findings.clone()), Box::new(ring.clone())];
        let relay = Relay::new(RelayParts {
            authenticator: Authenticator::new(NoReviews, pods.clone(), "picket-system"),
            heartbeats: heartbeats.clone(),
            board: board.clone(),
            bundles: Arc::new(BuiltIn),
            intake: Intake::start(outputs, metrics.clone()),
            ring: ring.clone(),
            metrics,
            leading: watch::channel(true).1,
        });
        Self {
            pods,
            heartbeats,
            board,
            findings,
            ring,
            relay,
        }
    }

    fn orders(&self) -> Vec<Value> {
        let uids = [HOSTILE, OTHERS[0], OTHERS[1]].into_iter();
        uids.map(|uid| json!(*self.board.get(uid).expect("known")))
            .collect()
    }

    /// Every row of every report, as `namespace/kind/name`.
    fn rows(&self) -> BTreeMap<String, WorkloadCoverage> {
        let mut rows = BTreeMap::new();
        for namespace in ["bank", "shop"] {
            for (_, row) in self.build(namespace).rows {
                rows.insert(format!("{namespace}/{}/{}", row.kind, row.name), row);
            }
        }
        rows
    }

    fn build(&self, name: &str) -> NamespaceCoverage {
        let policy = Policy {
            scope: Scope::Namespace(name.to_owned()),
            name: "all".to_owned(),
            created: Some(0),
            spec: ProtectionPolicySpec {
                compute_type: ComputeType::Any,
                ..ProtectionPolicySpec::default()
            },
        };
        let beat = |uid: &str| {
            let received = self.heartbeats.get(uid)?;
            let at = received.time.duration_since(UNIX_EPOCH).ok()?.as_secs();
            let at = i64::try_from(at).ok()?;
            Some(BeatOwned { received, at })
        };
        let now = self.heartbeats.get(HOSTILE).expect("heard").time;
        let now = now.duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        build(&Input {
            name,
            namespace: &Namespace::named(name),
            pods: &self.pods.in_namespace(name),
            policies: &[policy],
            policy_since: &|_| 0,
            workload: &|pod| pod.owner.clone().expect("owned"),
            beat: &beat,
            suspended: &|_, _| None,
            relay_since: Some(0),
            revision: "7",
            now: i64::try_from(now).expect("a clock"),
        })
    }

    /// Findings are the hostile pod's by whatever they say of themselves, and one line each.
    fn check_findings(&self, pod: &PodFacts) {
        let findings = self
            .findings
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let kept = self.ring.follow().kept;
        assert_eq!(kept.len(), findings.len());
        for (finding, line) in findings.iter().zip(kept) {
            assert_eq!(finding.pod.uid, HOSTILE);
            assert_eq!(
                (&*finding.pod.namespace, &*finding.pod.name),
                ("shop", "web-1")
            );
            assert_eq!(finding.owner, pod.owner);
            assert!(!line.contains('\n'), "two lines");
            let shown: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(shown["pod"]["uid"], HOSTILE);
            assert_eq!(shown["pod"]["workload"], "Deployment/web");
        }
    }
}

/// An injected pod that runs, of a Deployment.
fn pod(uid: &str, namespace: &str, deployment: &str) -> PodFacts {
    let status = json!({
        "revision": "7", "policy": format!("{namespace}/all"), "mode": "Monitor",
        "agent": "NativeSidecar",
        "containers": [{"name": "main", "argvSource": "Spec", "command": 1}],
        "qos": {"before": "Burstable", "after": "Burstable"},
    });
    let running = |name: &str| {
        json!({
            "name": name, "ready": true,
            "state": {"running": {"startedAt": "2026-01-01T00:00:30Z"}},
        })
    };
    let pod: WatchedPod = serde_json::from_value(json!({
        "metadata": {
            "uid": uid, "name": format!("{deployment}-1"), "namespace": namespace,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"picket.dev/status": status.to_string()},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment,
                "uid": format!("d-{uid}"), "controller": true,
            }],
        },
        "spec": {
            "nodeName": "node",
            "initContainers": [
                {"name": "picket-setup"},
                {"name": "picket-agent", "restartPolicy": "Always"},
            ],
            "containers": [{
                "name": "main",
                "command": ["/picket/picket-tracer", "trace", "--"],
                "volumeMounts": [{"name": "picket", "mountPath": "/picket"}],
            }],
        },
        "status": {
            "phase": "Running",
            "initContainerStatuses": [running("picket-agent")],
            "containerStatuses": [running("main")],
        },
    }))
    .expect("a pod");
    let facts = PodFacts::of(&pod);
    let owner: Option<&Owner> = facts.owner.as_ref();
    assert!(owner.is_some() && facts.is_injected());
    facts
}
