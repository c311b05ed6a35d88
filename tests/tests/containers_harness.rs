//! The container harness itself: a pod gets in containers what its manifest
//! says, so that what the other tests conclude from it holds on a node.

use std::time::Duration;

use picket_tests::containers::{ContainersError, Engine, Node, RunningPod, Surroundings};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}
    })
}

fn shell(name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": "localhost/picket-test-app:dev",
        "command": ["sh", "-c", script], "securityContext": restricted(),
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]
    })
}

fn pod(init: Value, containers: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "shop"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000,
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": init, "containers": containers,
            "volumes": [{"name": "shared", "emptyDir": {}}]
        }
    })
}

fn run(pod: &Value, surroundings: &Surroundings) -> RunningPod {
    let engine = Engine::open().expect("container engine");
    RunningPod::run(&engine, pod, surroundings).expect("pod in containers")
}

#[test]
fn init_containers_sidecars_and_containers_start_in_kubelets_order() {
    let mut sidecar = shell("log", "echo sidecar >>/shared/order; exec sleep 1000");
    sidecar["restartPolicy"] = json!("Always");
    sidecar["startupProbe"] = json!({
        "exec": {"command": ["grep", "-q", "sidecar", "/shared/order"]},
        "periodSeconds": 1, "failureThreshold": 30
    });
    let pod = run(
        &pod(
            json!([shell("prepare", "echo prepare >>/shared/order"), sidecar]),
            json!([shell(
                "web",
                "echo web >>/shared/order; cat /shared/order; exit 7"
            )]),
        ),
        &Surroundings::default(),
    );
    assert_eq!(pod.wait("web", LIMIT).unwrap(), 7);
    let logs = pod.logs("web").unwrap();
    assert_eq!(logs.stdout, "prepare\nsidecar\nweb\n");
    assert!(pod.is_running("log").unwrap());
}

#[test]
fn a_restricted_container_has_nothing_it_should_not_have() {
    let script = "grep -E '^(Uid|Gid|CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status; \
                  hostname; touch /x";
    let pod = run(
        &pod(json!([]), json!([shell("web", script)])),
        &Surroundings::default(),
    );
    assert_eq!(pod.wait("web", LIMIT).unwrap(), 1);
    let logs = pod.logs("web").unwrap();
    let lines: Vec<_> = logs
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "Uid: 1000 1000 1000 1000",
            "Gid: 1000 1000 1000 1000",
            "CapEff: 0000000000000000",
            "CapBnd: 0000000000000000",
            "NoNewPrivs: 1",
            "Seccomp: 2",
            "web-0",
        ]
    );
    assert!(logs.stderr.contains("Read-only file system"), "{logs:?}");
}

#[test]
fn containers_of_a_pod_share_its_network() {
    let client = "until wget -q -O- http://127.0.0.1:8080/index.html; do sleep 0.1; done";
    let mut server = shell("server", "");
    server["command"] = json!(["httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/srv"]);
    let pod = run(
        &pod(json!([]), json!([server, shell("client", client)])),
        &Surroundings::default(),
    );
    assert_eq!(pod.wait("client", LIMIT).unwrap(), 0);
    assert!(pod.logs("client").unwrap().stdout.contains("shop"));
}

#[test]
fn a_failing_init_container_keeps_the_pod_from_starting() {
    let engine = Engine::open().expect("container engine");
    let manifest = pod(
        json!([shell("prepare", "echo no disk; exit 3")]),
        json!([shell("web", "true")]),
    );
    let error = RunningPod::run(&engine, &manifest, &Surroundings::default()).unwrap_err();
    match error {
        ContainersError::InitFailed {
            container,
            code,
            logs,
        } => {
            assert_eq!(
                (container.as_str(), code, logs.as_str()),
                ("prepare", 3, "no disk\n")
            );
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_container_can_be_held_back_frozen_killed_and_started_again() {
    let manifest = pod(
        json!([]),
        json!([
            shell("web", "echo up; exec sleep 1000"),
            shell("late", "echo late")
        ]),
    );
    let surroundings = Surroundings {
        held_back: vec!["late".to_owned()],
        ..Surroundings::default()
    };
    let pod = run(&manifest, &surroundings);
    assert!(!pod.is_running("late").unwrap());
    pod.start("late").unwrap();
    assert_eq!(pod.wait("late", LIMIT).unwrap(), 0);

    pod.wait_for_line("web", "the first line", LIMIT, |line| line == "up")
        .unwrap();
    pod.freeze("web").unwrap();
    assert!(!pod.is_running("web").unwrap());
    pod.thaw("web").unwrap();
    assert_eq!(pod.exec("web", &["sh", "-c", "exit 5"]).unwrap().code, 5);
    pod.signal("web", "KILL").unwrap();
    assert_eq!(pod.wait("web", LIMIT).unwrap(), 137);
    pod.start("web").unwrap();
    assert!(pod.is_running("web").unwrap());
}

#[test]
fn a_wait_ends_with_what_was_written() {
    let manifest = pod(
        json!([]),
        json!([shell("web", "echo busy; exec sleep 1000")]),
    );
    let pod = run(&manifest, &Surroundings::default());
    pod.wait_for_line("web", "the first line", LIMIT, |line| line == "busy")
        .unwrap();
    let error = pod.wait("web", Duration::from_millis(200)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the end of web did not come within 200ms; so far: busy\n"
    );
}

#[test]
fn runtime_default_is_what_the_node_says() {
    // That a program runs at all under a profile of ours is what this shows;
    // what the profile refuses is the unit test's business.
    for node in [Node::Podman, Node::Containerd, Node::WithoutPtrace] {
        let surroundings = Surroundings {
            node,
            ..Surroundings::default()
        };
        let script = "grep -E '^Seccomp(_filters)?:' /proc/self/status; echo done";
        let pod = run(
            &pod(json!([]), json!([shell("web", script)])),
            &surroundings,
        );
        assert_eq!(pod.wait("web", LIMIT).unwrap(), 0, "{node:?}");
        let logs = pod.logs("web").unwrap();
        assert_eq!(
            logs.stdout.split_whitespace().collect::<Vec<_>>(),
            ["Seccomp:", "2", "Seccomp_filters:", "1", "done"],
            "{node:?}"
        );
    }
}
