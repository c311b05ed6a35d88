//! What a pod looks like, and what is said of it.

mod gaps;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use picket_crds::{
    ComputeType, ContainerTrace, CoverageState, Gap, Mode, OptOut, ProtectionPolicySpec,
    WorkloadCoverage,
};
use picket_events::relay::{self, ContainerReport, Heartbeat, RejectedBundle};
use picket_webhook::{Namespace, Policy, Scope};
use serde_json::{Value, json};

use super::build::{BeatOwned, Input, NamespaceCoverage, build, summary};
use super::pod::{FIRST_WORD_SECONDS, FRESH_SECONDS, PLACE_SECONDS};
use super::policies::Verdict;
use super::reports::reports;
use crate::pods::{Owner, PodFacts, WatchedPod};
use crate::relay::heartbeats::Received;

/// When the pods of these tests were created.
const CREATED: i64 = 1_767_225_600;
/// Long after everything has started.
const NOW: i64 = CREATED + 3600;

fn policy(change: impl FnOnce(&mut ProtectionPolicySpec)) -> Policy {
    let mut spec = ProtectionPolicySpec {
        compute_type: ComputeType::Any,
        ..ProtectionPolicySpec::default()
    };
    spec.coverage.exec = true;
    change(&mut spec);
    Policy {
        scope: Scope::Namespace("shop".to_owned()),
        name: "all".to_owned(),
        created: Some(CREATED - 10),
        spec,
    }
}

/// An injected pod with one container that runs.
fn injected() -> Value {
    let running = |name: &str| {
        json!({
            "name": name, "ready": true,
            "state": {"running": {"startedAt": "2026-01-01T00:00:30Z"}},
        })
    };
    let status = json!({
        "revision": "7", "policy": "shop/all", "mode": "Monitor", "agent": "NativeSidecar",
        "containers": [{"name": "web", "argvSource": "Spec", "command": 1}],
        "qos": {"before": "Burstable", "after": "Burstable"},
    });
    json!({
        "metadata": {
            "uid": "1", "name": "web-1", "namespace": "shop",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"picket.dev/status": status.to_string()},
            "labels": {},
        },
        "spec": {
            "nodeName": "node",
            "initContainers": [
                {"name": "picket-setup"},
                {"name": "picket-agent", "restartPolicy": "Always"},
            ],
            "containers": [{
                "name": "web",
                "command": ["/picket/picket-tracer", "trace", "--"],
                "volumeMounts": [{"name": "picket", "mountPath": "/picket"}],
            }],
        },
        "status": {
            "phase": "Running",
            "initContainerStatuses": [running("picket-agent")],
            "containerStatuses": [running("web")],
        },
    })
}

fn with(mut pod: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let key = key.replace("~1", "/");
    match pod.pointer_mut(parent) {
        Some(Value::Array(list)) => list[key.parse::<usize>().expect("an index")] = value,
        Some(parent) => parent[&key] = value,
        None => panic!("no {parent}"),
    }
    pod
}

/// The pod with something else in its status annotation.
fn claiming(pod: Value, key: &str, value: Value) -> Value {
    let place = "/metadata/annotations/picket.dev~1status";
    let text = pod
        .pointer(place)
        .and_then(Value::as_str)
        .expect("injected");
    let mut status: Value = serde_json::from_str(text).expect("JSON");
    status[key] = value;
    let text = status.to_string();
    with(pod, place, text.into())
}

fn bare() -> Value {
    json!({
        "metadata": {"uid": "1", "name": "web-1", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "node", "containers": [{"name": "web"}]},
        "status": {"phase": "Running"},
    })
}

fn read(pod: Value) -> Arc<PodFacts> {
    let pod: WatchedPod = serde_json::from_value(pod).expect("a pod");
    Arc::new(PodFacts::of(&pod))
}

/// A heartbeat that says all is well.
fn well() -> Heartbeat {
    Heartbeat {
        uptime_seconds: 3000,
        rules: relay::RulesInUse {
            hash: "abc".to_owned(),
            ..relay::RulesInUse::default()
        },
        containers: vec![ContainerReport {
            name: "web".to_owned(),
            state: relay::ContainerState::Traced,
            ..ContainerReport::default()
        }],
        ..Heartbeat::default()
    }
}

/// What there is beside pods.
struct World {
    policies: Vec<Policy>,
    beats: BTreeMap<String, (Heartbeat, i64)>,
    relay_since: Option<i64>,
    suspended: Option<String>,
    policy_since: i64,
    now: i64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            policies: vec![policy(|_| {})],
            beats: BTreeMap::new(),
            relay_since: None,
            suspended: None,
            policy_since: CREATED - 10,
            now: NOW,
        }
    }
}

impl World {
    fn hearing(heartbeat: Heartbeat, age: i64) -> Self {
        Self {
            beats: [("1".to_owned(), (heartbeat, NOW - age))].into(),
            relay_since: Some(CREATED - 1000),
            ..Self::default()
        }
    }

    fn build(&self, pods: &[Value]) -> NamespaceCoverage {
        let pods: Vec<Arc<PodFacts>> = pods.iter().cloned().map(read).collect();
        let namespace = Namespace::named("shop");
        let beat = |uid: &str| {
            let (heartbeat, at) = self.beats.get(uid)?.clone();
            let received = Received {
                heartbeat,
                at: Instant::now(),
                time: SystemTime::now(),
            };
            Some(BeatOwned {
                received: Arc::new(received),
                at,
            })
        };
        let workload = |pod: &PodFacts| {
            pod.owner.clone().unwrap_or(Owner {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                name: "web".into(),
                uid: "d".into(),
            })
        };
        build(&Input {
            name: "shop",
            namespace: &namespace,
            pods: &pods,
            policies: &self.policies,
            policy_since: &|_| self.policy_since,
            workload: &workload,
            beat: &beat,
            suspended: &|_, _| self.suspended.clone(),
            relay_since: self.relay_since,
            revision: "7",
            now: self.now,
        })
    }

    fn row(&self, pod: Value) -> WorkloadCoverage {
        self.build(&[pod]).rows.remove(0).1
    }
}

fn gaps(row: &WorkloadCoverage) -> Vec<Gap> {
    row.gaps.iter().map(|gap| gap.gap).collect()
}

fn counts(row: &WorkloadCoverage) -> [u32; 4] {
    let pods = row.pods;
    [pods.total, pods.injected, pods.current, pods.reporting]
}
