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

#[test]
fn each_gap_by_table() {
    let heard = |change: fn(&mut Heartbeat)| {
        let mut heartbeat = well();
        change(&mut heartbeat);
        World::hearing(heartbeat, 5)
    };
    let fargate = |pod: Value| {
        let pod = with(
            pod,
            "/metadata/labels",
            json!({"eks.amazonaws.com/fargate-profile": "p"}),
        );
        claiming(
            pod,
            "fargate",
            json!({"before": "0.25vCPU 0.5GB", "after": "0.25vCPU 1GB"}),
        )
    };
    let pending = with(injected(), "/status", json!({"phase": "Pending"}));
    let unplaced = with(fargate(pending), "/spec/nodeName", Value::Null);
    let agent = |state: Value| with(injected(), "/status/initContainerStatuses/0/state", state);
    let exec = |command: Value| json!({"exec": {"command": command}});
    let suspended = World {
        suspended: Some("two pods did not start".to_owned()),
        ..World::default()
    };
    let rows: Vec<(&str, World, Value, Gap, CoverageState)> = vec![
        (
            "bare",
            World::default(),
            bare(),
            Gap::Uninjected,
            CoverageState::Unhealthy,
        ),
        (
            "suspended",
            suspended,
            bare(),
            Gap::InjectionSuspended,
            CoverageState::Unhealthy,
        ),
        (
            "no place",
            World::default(),
            unplaced,
            Gap::PendingOnFargate,
            CoverageState::Unhealthy,
        ),
        (
            "entrypoint",
            World::default(),
            claiming(
                injected(),
                "containers",
                json!([{"name": "web", "skipped": "EntrypointUnresolved"}]),
            ),
            Gap::EntrypointUnresolved,
            CoverageState::Unhealthy,
        ),
        (
            "mount conflict",
            World::default(),
            claiming(
                injected(),
                "containers",
                json!([{"name": "web", "skipped": "MountConflict"}]),
            ),
            Gap::ContainerSkipped,
            CoverageState::Unhealthy,
        ),
        (
            "tracer taken out",
            World::default(),
            with(
                injected(),
                "/spec/containers/0/command",
                json!(["/bin/web"]),
            ),
            Gap::NotTraced,
            CoverageState::Unhealthy,
        ),
        (
            "no filter",
            heard(|beat| {
                beat.containers[0].state = relay::ContainerState::NotTraced {
                    step: "seccomp".to_owned(),
                    errno: 22,
                };
            }),
            injected(),
            Gap::NotTraced,
            CoverageState::Unhealthy,
        ),
        (
            "disconnected",
            heard(|beat| beat.containers[0].state = relay::ContainerState::Disconnected),
            injected(),
            Gap::NotTraced,
            CoverageState::Unhealthy,
        ),
        (
            "no hello",
            heard(|beat| beat.containers.clear()),
            injected(),
            Gap::NotTraced,
            CoverageState::Unhealthy,
        ),
        (
            "agent crashes",
            World::hearing(well(), 5),
            agent(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
            Gap::AgentFailing,
            CoverageState::Unhealthy,
        ),
        (
            "agent ended",
            World::default(),
            agent(json!({"terminated": {"reason": "Completed", "exitCode": 0}})),
            Gap::AgentFailing,
            CoverageState::Unhealthy,
        ),
        (
            "lost",
            World::hearing(well(), FRESH_SECONDS + 1),
            injected(),
            Gap::NoHeartbeat,
            CoverageState::Unhealthy,
        ),
        (
            "older revision",
            World::hearing(well(), 5),
            claiming(injected(), "revision", json!("6")),
            Gap::StaleRevision,
            CoverageState::Healthy,
        ),
        (
            "other mode",
            World::hearing(well(), 5),
            claiming(injected(), "mode", json!("Enforce")),
            Gap::StalePolicy,
            CoverageState::Healthy,
        ),
        (
            "more rules",
            heard(|beat| beat.containers[0].gaps = vec![relay::Gap::RulesNeedRestart]),
            injected(),
            Gap::RulesNeedRestart,
            CoverageState::Healthy,
        ),
        (
            "lost events",
            heard(|beat| beat.containers[0].gaps = vec![relay::Gap::EventsLost]),
            injected(),
            Gap::EventsLost,
            CoverageState::Healthy,
        ),
        (
            "bad rules",
            heard(|beat| {
                beat.rules.rejected = Some(RejectedBundle {
                    bundle: "x".to_owned(),
                    reason: "too long".to_owned(),
                });
            }),
            injected(),
            Gap::RulesRejected,
            CoverageState::Healthy,
        ),
        (
            "another size",
            World::hearing(well(), 5),
            with(
                fargate(injected()),
                "/metadata/annotations/CapacityProvisioned",
                json!("0.5vCPU 1GB"),
            ),
            Gap::CapacityDrift,
            CoverageState::Healthy,
        ),
        (
            "probe",
            World::hearing(well(), 5),
            with(
                injected(),
                "/spec/containers/0/livenessProbe",
                exec(json!(["true"])),
            ),
            Gap::ExecProbe,
            CoverageState::Healthy,
        ),
        (
            "hook",
            World::hearing(well(), 5),
            with(
                injected(),
                "/spec/containers/0/lifecycle",
                json!({"preStop": exec(json!(["true"]))}),
            ),
            Gap::LifecycleHook,
            CoverageState::Healthy,
        ),
        (
            "debugger",
            World::hearing(well(), 5),
            with(
                injected(),
                "/spec/ephemeralContainers",
                json!([{"name": "debug"}]),
            ),
            Gap::Ephemeral,
            CoverageState::Healthy,
        ),
    ];
    let rows: Vec<_> = rows
        .into_iter()
        .chain(std::iter::once((
            "sessions",
            World {
                policies: vec![policy(|spec| spec.coverage.exec = false)],
                ..World::hearing(well(), 5)
            },
            injected(),
            Gap::Exec,
            CoverageState::Healthy,
        )))
        .collect();
    for (what, world, pod, gap, state) in &rows {
        let row = world.row(pod.clone());
        assert_eq!(gaps(&row), [*gap], "{what}: {row:#?}");
        assert_eq!(row.state, *state, "{what}: {row:#?}");
        assert_eq!(
            gap.is_unhealthy(),
            *state == CoverageState::Unhealthy,
            "{what}"
        );
    }
    for gap in Gap::ALL {
        assert!(rows.iter().any(|row| row.3 == *gap), "no row for {gap}");
    }
}

#[test]
fn a_pod_that_is_well_has_no_gap() {
    let row = World::hearing(well(), 5).row(injected());
    assert_eq!(
        (row.state, counts(&row)),
        (CoverageState::Healthy, [1, 1, 1, 1])
    );
    assert_eq!(gaps(&row), []);
    assert_eq!(row.policy.as_deref(), Some("shop/all"));
    assert_eq!(row.containers.len(), 1);
    assert_eq!(row.containers[0].state, ContainerTrace::Traced);
    assert_eq!(row.containers[0].argv_source.as_deref(), Some("Spec"));
    assert_eq!(row.rules[0].hash, "abc");
}

#[test]
fn a_pod_that_is_older_than_what_its_policy_injects_is_out_of_date() {
    let world = World {
        policy_since: CREATED + 1,
        ..World::hearing(well(), 5)
    };
    let row = world.row(injected());
    assert_eq!(
        (gaps(&row), counts(&row)),
        (vec![Gap::StalePolicy], [1, 1, 0, 1])
    );
}

#[test]
fn kubelet_is_believed_where_nobody_reaches_the_relay() {
    let world = World::default();
    assert_eq!(counts(&world.row(injected())), [1, 1, 1, 1]);
    let unready = with(
        injected(),
        "/status/initContainerStatuses/0/ready",
        json!(false),
    );
    let row = world.row(unready);
    assert_eq!(
        (row.state, counts(&row)),
        (CoverageState::Progressing, [1, 1, 1, 0])
    );
}

#[test]
fn an_agent_that_was_never_heard_has_its_time() {
    let mut world = World {
        relay_since: Some(CREATED - 1000),
        ..World::default()
    };
    // The agent runs since half a minute after the pod's creation.
    world.now = CREATED + 30 + FIRST_WORD_SECONDS;
    let built = world.build(&[injected()]);
    assert_eq!(built.rows[0].1.state, CoverageState::Healthy);
    assert_eq!(built.next, Some(world.now + 1), "time alone changes it");
    world.now += 1;
    assert_eq!(gaps(&world.row(injected())), [Gap::NoHeartbeat]);
    world.relay_since = Some(world.now);
    assert_eq!(
        gaps(&world.row(injected())),
        [],
        "the relay has just begun to listen"
    );
}

#[test]
fn a_heartbeat_is_looked_at_again_when_it_would_be_too_old() {
    let world = World::hearing(well(), 5);
    let built = world.build(&[injected()]);
    assert_eq!(built.next, Some(NOW - 5 + FRESH_SECONDS + 1));
}

#[test]
fn a_pod_that_waits_for_fargate_has_its_time() {
    let pod = with(injected(), "/status", json!({"phase": "Pending"}));
    let pod = with(pod, "/spec/nodeName", Value::Null);
    let pod = with(
        pod,
        "/metadata/labels",
        json!({"eks.amazonaws.com/fargate-profile": "p"}),
    );
    let mut world = World {
        now: CREATED + 5,
        ..World::default()
    };
    let built = world.build(std::slice::from_ref(&pod));
    assert_eq!(built.rows[0].1.state, CoverageState::Progressing);
    assert_eq!(built.next, Some(CREATED + PLACE_SECONDS));
    world.now = CREATED + PLACE_SECONDS;
    assert_eq!(gaps(&world.row(pod)), [Gap::PendingOnFargate]);
}

#[test]
fn who_is_not_meant_is_shown_with_the_webhooks_word() {
    let opted_out = with(
        bare(),
        "/metadata/labels",
        json!({"picket.dev/protect": "false"}),
    );
    let opting = |opt_out| policy(|spec| spec.opt_out = opt_out);
    let cases = [
        (
            policy(|spec| spec.mode = Mode::Disabled),
            bare(),
            Some("PolicyDisabled"),
        ),
        (
            policy(|spec| spec.compute_type = ComputeType::Fargate),
            bare(),
            Some("NotFargate"),
        ),
        (
            policy(|spec| {
                spec.pod_selector.match_labels = [("a".to_owned(), "b".to_owned())].into();
            }),
            bare(),
            Some("NotSelected"),
        ),
        (opting(OptOut::Allowed), opted_out.clone(), Some("OptedOut")),
        (
            opting(OptOut::Audited),
            opted_out.clone(),
            Some("OptedOutAudited"),
        ),
        (opting(OptOut::Forbidden), opted_out, None),
    ];
    for (policy, pod, reason) in cases {
        let world = World {
            policies: vec![policy],
            ..World::default()
        };
        let row = world.row(pod);
        assert_eq!(row.reason.as_deref(), reason);
        assert_eq!(row.state == CoverageState::Unselected, reason.is_some());
        assert_eq!(counts(&row), [1, 0, 0, 0]);
    }
}

#[test]
fn a_namespace_without_policy_has_no_rows_and_ended_pods_do_not_count() {
    let nobody = World {
        policies: Vec::new(),
        ..World::default()
    };
    assert!(nobody.build(&[bare()]).rows.is_empty());
    let ended = with(bare(), "/status/phase", json!("Succeeded"));
    let leaving = with(
        bare(),
        "/metadata/deletionTimestamp",
        json!("2026-01-01T00:00:00Z"),
    );
    assert!(World::default().build(&[ended, leaving]).rows.is_empty());
}

#[test]
fn pods_of_a_workload_add_up_and_so_do_policies() {
    let other = with(bare(), "/metadata/uid", json!("2"));
    let other = with(other, "/metadata/name", json!("web-2"));
    let built = World::hearing(well(), 5).build(&[injected(), other]);
    let row = &built.rows[0].1;
    assert_eq!((counts(row), row.gaps[0].pods), ([2, 1, 1, 1], 1));
    assert_eq!(row.gaps[0].pod, "web-2");
    let tally = &built.policies["shop/all"];
    assert_eq!((tally.pods.total, tally.unhealthy), (2, 1));
    let verdict = Verdict::of(tally, Mode::Monitor, Some(1));
    assert_eq!((verdict.status, verdict.reason), ("False", "Gaps"));
    assert!(
        verdict.message.contains("Uninjected: 1"),
        "{}",
        verdict.message
    );
    let sum = summary([row]);
    assert_eq!(sum.gaps, "Uninjected: 1");
    assert_eq!((sum.workloads, sum.unhealthy), (1, 1));
}

#[test]
fn many_workloads_share_reports_of_a_bounded_size_and_stay_in_theirs() {
    let rows = |count: usize| -> Vec<WorkloadCoverage> {
        let row = World::hearing(well(), 5).row(with(
            injected(),
            "/spec/containers/0/livenessProbe",
            json!({"exec": {"command": ["true"]}}),
        ));
        (0..count)
            .map(|number| WorkloadCoverage {
                name: format!("workload-{number}"),
                ..row.clone()
            })
            .collect()
    };
    let one = reports(rows(150));
    assert_eq!(one.keys().collect::<Vec<_>>(), ["coverage"]);
    let many = reports(rows(1000));
    assert_eq!(many.len(), 8);
    let total: usize = many.values().map(|report| report.workloads.len()).sum();
    assert_eq!(total, 1000);
    let more = reports(rows(1001));
    let differing = many.iter().filter(|(name, report)| more[*name] != **report);
    assert_eq!(
        differing.count(),
        1,
        "one row more is a change of one report"
    );
    let crowd = reports(rows(30_000));
    let kept: usize = crowd.values().map(|report| report.workloads.len()).sum();
    let omitted: u32 = crowd.values().map(|report| report.omitted).sum();
    assert_eq!((kept + omitted as usize, crowd.len()), (30_000, 64));
    for report in crowd.values() {
        let size = serde_json::to_string(report).expect("JSON").len();
        assert!(size < 1_000_000, "{size}");
    }
}
