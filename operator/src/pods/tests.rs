use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn read(pod: Value) -> PodFacts {
    let pod: WatchedPod = serde_json::from_value(pod).expect("a pod");
    PodFacts::of(&pod)
}

fn named(uid: &str, name: &str, owner: Option<&str>) -> PodFacts {
    let owners = owner.map(|uid| {
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true}])
    });
    read(json!({
        "metadata": {"uid": uid, "name": name, "namespace": "shop", "ownerReferences": owners},
    }))
}

fn names(pods: &[Arc<PodFacts>]) -> Vec<&str> {
    pods.iter().map(|pod| &*pod.name).collect()
}

#[test]
fn facts_of_an_injected_pod_on_fargate() {
    let status = json!({
        "revision": "7", "policy": "shop/all", "mode": "Monitor", "agent": "NativeSidecar",
        "containers": [{"name": "web", "argvSource": "Spec", "command": 1}],
        "qos": {"before": "Burstable", "after": "Burstable"},
    });
    let pod = read(json!({
        "metadata": {
            "uid": "1", "name": "web-1", "namespace": "shop",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"eks.amazonaws.com/fargate-profile": "all"},
            "annotations": {
                "picket.dev/status": status.to_string(),
                "CapacityProvisioned": "0.25vCPU 0.5GB",
                "picket.dev/quarantine": "true",
            },
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {
            "nodeName": "fargate-1", "serviceAccountName": "web",
            "initContainers": [
                {"name": "picket-setup", "volumeMounts": [{"name": "picket", "mountPath": "/picket"}]},
                {"name": "picket-agent", "restartPolicy": "Always"},
            ],
            "containers": [
                {
                    "name": "web",
                    "command": ["/picket/picket-tracer", "trace", "--"], "args": ["/app"],
                    "volumeMounts": [{"name": "picket", "mountPath": "/picket"}],
                    "readinessProbe": {"exec": {"command": ["true"]}},
                    "livenessProbe": {"httpGet": {"path": "/"}},
                    "lifecycle": {"preStop": {"exec": {"command": ["/picket/picket-tracer", "trace", "--", "true"]}}},
                },
                {"name": "cache", "command": ["/picket/picket-tracer"], "lifecycle": {"postStart": {"exec": {"command": ["true"]}}}},
            ],
            "ephemeralContainers": [{"name": "debugger"}],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "initContainerStatuses": [
                {"name": "picket-agent", "ready": true, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}},
            ],
            "containerStatuses": [
                {"name": "web", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "x".repeat(999)}},
                 "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}},
            ],
        },
    }));
    assert_eq!(
        (&*pod.uid, &*pod.name, &*pod.namespace),
        ("1", "web-1", "shop")
    );
    assert_eq!(pod.created, 1_767_225_600);
    assert!(pod.is_on_fargate() && pod.is_injected() && pod.ready && pod.quarantine_wanted);
    assert_eq!(pod.capacity_provisioned.as_deref(), Some("0.25vCPU 0.5GB"));
    assert_eq!(pod.node.as_deref(), Some("fargate-1"));
    assert_eq!(
        pod.status.as_ref().map(|status| status.revision.as_str()),
        Some("7")
    );
    let kinds: Vec<_> = pod.containers.iter().map(|c| (&*c.name, c.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("picket-setup", ContainerKind::Init),
            ("picket-agent", ContainerKind::NativeSidecar),
            ("web", ContainerKind::Container),
            ("cache", ContainerKind::Container),
            ("debugger", ContainerKind::Ephemeral),
        ]
    );
    let web = pod.container("web").expect("web");
    assert!(web.traced && web.mounts_ours && web.untraced_probe && !web.untraced_hook);
    let ContainerState::Waiting(why) = &web.state else {
        panic!("{:?}", web.state)
    };
    assert_eq!(&*why.reason, "CrashLoopBackOff");
    assert_eq!(why.message.as_deref().map(str::len), Some(200));
    let ended = web.ended_before.as_ref().expect("ended before");
    assert_eq!((&*ended.reason, ended.exit_code), ("OOMKilled", 137));
    let cache = pod.container("cache").expect("cache");
    assert!(!cache.traced, "without our volume nothing runs from it");
    assert!(cache.untraced_hook && !cache.untraced_probe);
    let agent = pod.container("picket-agent").expect("agent");
    assert_eq!(agent.running_since, Some(1_767_225_600));
    assert!(agent.ready && agent.state == ContainerState::Running);
}

#[test]
fn a_pod_with_nothing_in_it_and_one_with_nulls_are_read() {
    let pod = read(json!({"metadata": {"name": "a"}}));
    assert!(!pod.is_injected() && pod.phase == Phase::Pending);
    let pod = read(json!({
        "metadata": {"name": "a", "annotations": {"picket.dev/status": "{"}},
        "spec": {"containers": null, "initContainers": [{"name": "a", "command": null, "args": null}]},
        "status": {"conditions": null, "containerStatuses": null, "phase": "Failed"},
    }));
    assert!(pod.status.is_none() && pod.phase.has_ended());
}

#[test]
fn a_pod_that_no_node_takes_says_why() {
    let pod = read(json!({"metadata": {"name": "a"}, "status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Pod not supported on Fargate: fields not supported: x"},
    ]}}));
    assert_eq!(
        pod.unschedulable.as_deref(),
        Some("Unschedulable: Pod not supported on Fargate: fields not supported: x")
    );
}

#[test]
fn pods_are_found_by_uid_name_and_owner() {
    let pods = Pods::default();
    assert!(!pods.is_synced());
    pods.replace([
        named("1", "a", Some("rs")),
        named("2", "b", Some("rs")),
        named("3", "c", None),
    ]);
    assert!(pods.is_synced());
    assert_eq!(pods.count(), 3);
    assert_eq!(
        pods.by_uid("2").map(|pod| pod.name.clone()).as_deref(),
        Some("b")
    );
    assert_eq!(
        pods.by_name("shop", "c")
            .map(|pod| pod.uid.clone())
            .as_deref(),
        Some("3")
    );
    assert!(pods.by_name("blog", "c").is_none());
    assert_eq!(names(&pods.of_owner("rs")), ["a", "b"]);
    assert_eq!(names(&pods.in_namespace("shop")), ["a", "b", "c"]);
    pods.remove("1");
    pods.put(named("2", "b", Some("other")));
    assert_eq!(names(&pods.of_owner("rs")), Vec::<&str>::new());
    assert_eq!(names(&pods.of_owner("other")), ["b"]);
    pods.replace([named("9", "c", None)]);
    assert_eq!(names(&pods.all()), ["c"]);
    assert!(
        pods.by_uid("3").is_none(),
        "the older pod of that name is gone"
    );
}

#[test]
fn a_pod_that_takes_a_name_over_ends_the_older_one() {
    let pods = Pods::default();
    pods.put(named("1", "a", Some("rs")));
    pods.put(named("2", "a", Some("rs")));
    assert!(pods.by_uid("1").is_none());
    assert_eq!(names(&pods.of_owner("rs")), ["a"]);
    pods.remove("1");
    assert_eq!(pods.count(), 1);
}

#[test]
fn changes_are_numbered_and_none_is_lost() {
    let pods = Pods::default();
    let mut told = pods.changes();
    pods.replace([named("1", "a", None)]);
    assert!(told.has_changed().expect("open"));
    let first = pods.changed_since(*told.borrow_and_update());
    assert!(first.namespaces.is_empty());
    pods.put(named("1", "a", None));
    assert!(!told.has_changed().expect("open"), "nothing changed");
    pods.remove("1");
    let second = pods.changed_since(first.until);
    assert_eq!(
        second.namespaces.iter().map(|n| &**n).collect::<Vec<_>>(),
        ["shop"]
    );
    assert!(pods.changed_since(second.until).namespaces.is_empty());
    assert_eq!(pods.changed_since(0).namespaces.len(), 1);
}

#[test]
fn an_empty_cluster_counts_as_listed() {
    let pods = Pods::default();
    let mut told = pods.changes();
    pods.replace([]);
    assert!(pods.is_synced());
    assert!(told.has_changed().expect("open"));
    told.mark_unchanged();
}
