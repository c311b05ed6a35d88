//! The circuit breaker: pods that do not start because of Picket. Deployments, ReplicaSets and
//! admission are real; kubelet is a mock that says what it is told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use picket_tests::kube::kubelet::{Ailment, Fault, Patient};
use picket_tests::kube::objects::{condition, deployment, is_bare};
use picket_tests::kube::{ControlPlane, Kubectl, Kubelet, Operator, Options, eventually};
use serde_json::{Value, json};

const BROKEN: &str = "registry.example/picket-sidecar:broken";

/// One test at a time: an operator looks after all pods of its cluster, so two with different images
/// would replace each other's.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An operator that waits seconds where it would wait minutes.
fn options(image: &str) -> Options {
    Options {
        sidecar_image: image.to_owned(),
        arguments: vec![
            "--suspend-after-seconds=6".to_owned(),
            "--resolve-images=false".to_owned(),
        ],
        ..Options::default()
    }
}

fn pods(kubectl: &Kubectl, namespace: &str) -> Vec<Value> {
    let list = ["get", "pods", "-n", namespace, "-o", "json"];
    let pods = kubectl.run(&list, "").expect_success().json();
    let pods = pods["items"].as_array().expect("a list").clone();
    let living = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_null();
    pods.into_iter().filter(living).collect()
}

/// Waits until so many pods of a Deployment are available, and returns all its pods.
fn available(kubectl: &Kubectl, namespace: &str, name: &str, replicas: usize) -> Vec<Value> {
    eventually(&format!("{replicas} pods of {name} are available"), || {
        let deployment = kubectl.get("deployment", namespace, name)?;
        let status = &deployment["status"];
        let all = status["availableReplicas"] == replicas && status["replicas"] == replicas;
        let pods = pods(kubectl, namespace);
        (all && pods.len() == replicas).then_some(pods)
    })
}

fn events(kubectl: &Kubectl, namespace: &str, reason: &str) -> Vec<Value> {
    let selector = format!("reason={reason}");
    let list = [
        "get",
        "events",
        "-n",
        namespace,
        "-o",
        "json",
        "--field-selector",
        &selector,
    ];
    let events = kubectl.run(&list, "").expect_success().json();
    events["items"].as_array().expect("a list").clone()
}

fn told(kubectl: &Kubectl, namespace: &str, reason: &str) -> Value {
    eventually(&format!("{reason} is told"), || {
        events(kubectl, namespace, reason).into_iter().next()
    })
}

#[test]
fn a_workload_whose_sidecar_image_cannot_be_pulled_starts_bare_until_that_is_mended() {
    let _turn = alone();
    let control_plane = ControlPlane::with_controllers();
    let kubectl = control_plane.kubectl();
    let mut operator = Operator::install(control_plane, &options(BROKEN));
    let namespace = operator.protected("broken", &[]);
    let kubelet = Kubelet::start(control_plane, &namespace);
    kubelet.faults([Fault::image_pull(BROKEN)]);

    kubectl.apply(&deployment(&namespace, "web", 2), false);
    let bare = available(&kubectl, &namespace, "web", 2);
    assert!(bare.iter().all(is_bare), "{bare:#?}");
    let event = told(&kubectl, &namespace, "InjectionSuspended");
    assert_eq!(event["type"], "Warning", "{event:#}");
    assert_eq!(event["involvedObject"]["kind"], "Deployment", "{event:#}");
    told(&kubectl, &namespace, "StuckPodReplaced");
    let metrics = operator.replicas[0].get("/metrics").expect("metrics").body;
    // What another test left behind may be suspended too.
    for name in [
        "picket_operator_suspended_workloads",
        "picket_operator_suspensions_total",
    ] {
        let served = metrics.lines().find_map(|line| line.strip_prefix(name));
        assert!(served.is_some_and(|value| value.trim() != "0"), "{metrics}");
    }

    // The policy names the workload.
    let suspended = |status: &str| {
        eventually(&format!("the policy says {status} of suspensions"), || {
            let policy = kubectl.get("protectionpolicy", &namespace, "all")?;
            let found = condition(&policy, "InjectionSuspended");
            (found["status"] == status).then_some(found)
        })
    };
    let message = suspended("True")["message"].to_string();
    let expected = format!("Deployment/web in {namespace}: SidecarImagePull");
    assert!(message.contains(&expected), "{message}");

    // Another workload is not touched by this one's suspension: it is tried.
    kubectl.apply(&deployment(&namespace, "api", 1), false);
    eventually("a pod of api is injected", || {
        let mut pods = pods(&kubectl, &namespace).into_iter();
        pods.find(|pod| pod["metadata"]["labels"]["app"] == "api" && !is_bare(pod))
    });

    // Mended: another image. A restart brings the tracer back.
    operator.restart(&options("registry.example/picket-sidecar:mended"));
    told(&kubectl, &namespace, "InjectionResumed");
    suspended("False");
    let restart = ["rollout", "restart", "deployment/web", "-n", &namespace];
    kubectl.run(&restart, "").expect_success();
    eventually("the pods of web are injected and available", || {
        let deployment = kubectl.get("deployment", &namespace, "web")?;
        let status = &deployment["status"];
        let pods = pods(&kubectl, &namespace);
        let mut web = pods
            .iter()
            .filter(|pod| pod["metadata"]["labels"]["app"] == "web");
        let done = status["availableReplicas"] == 2
            && status["updatedReplicas"] == 2
            && status["replicas"] == 2;
        (done && web.all(|pod| !is_bare(pod))).then_some(())
    });
}

#[test]
fn a_single_pod_that_fargate_refuses_comes_back_bare() {
    let _turn = alone();
    let control_plane = ControlPlane::with_controllers();
    let kubectl = control_plane.kubectl();
    let operator = Operator::install(control_plane, &options(BROKEN));
    let namespace = operator.protected("refused", &[]);
    let kubelet = Kubelet::start(control_plane, &namespace);
    let words = "invalid SecurityContext fields";
    kubelet.faults([Fault {
        patient: Patient::Container("picket-setup".to_owned()),
        ailment: Ailment::NotSupportedOnFargate(words.to_owned()),
    }]);
    let mut web = deployment(&namespace, "web", 1);
    web["spec"]["template"]["metadata"]["labels"]["eks.amazonaws.com/fargate-profile"] =
        json!("default");
    kubectl.apply(&web, false);
    let bare = available(&kubectl, &namespace, "web", 1);
    assert!(is_bare(&bare[0]), "{:#}", bare[0]);
    let event = told(&kubectl, &namespace, "InjectionSuspended");
    let message = event["message"].as_str().expect("message");
    assert!(message.starts_with("NotSupportedOnFargate: "), "{message}");
    assert!(message.contains(words), "{message}");
}

#[test]
fn an_application_that_crashes_only_under_the_tracer_runs_again_without() {
    let _turn = alone();
    let control_plane = ControlPlane::with_controllers();
    let kubectl = control_plane.kubectl();
    let operator = Operator::install(control_plane, &options(BROKEN));
    let namespace = operator.namespace("crash", &[]);
    let kubelet = Kubelet::start(control_plane, &namespace);
    kubectl.apply(&deployment(&namespace, "web", 2), false);
    available(&kubectl, &namespace, "web", 2);

    kubelet.faults([Fault {
        patient: Patient::Traced,
        ailment: Ailment::Crash(139),
    }]);
    operator.protect(&namespace, "all", json!({"computeType": "Any"}));
    let restart = ["rollout", "restart", "deployment/web", "-n", &namespace];
    kubectl.run(&restart, "").expect_success();
    let event = told(&kubectl, &namespace, "InjectionSuspended");
    let message = event["message"].as_str().expect("message");
    assert!(message.starts_with("ApplicationCrashLoop: "), "{message}");
    assert!(message.contains("exit code 139"), "{message}");
    eventually("the restarted pods run bare", || {
        let deployment = kubectl.get("deployment", &namespace, "web")?;
        let status = &deployment["status"];
        let done = status["updatedReplicas"] == 2 && status["availableReplicas"] == 2;
        (done && pods(&kubectl, &namespace).iter().all(is_bare)).then_some(())
    });
}

#[test]
fn where_unprotected_pods_are_refused_nothing_is_suspended() {
    let _turn = alone();
    let control_plane = ControlPlane::with_controllers();
    let kubectl = control_plane.kubectl();
    let operator = Operator::install(control_plane, &options(BROKEN));
    let namespace = operator.namespace("strict", &[("picket.dev/enforce", "true")]);
    let spec = json!({"computeType": "Any", "onInjectFailure": "Deny"});
    operator.protect(&namespace, "all", spec);
    let kubelet = Kubelet::start(control_plane, &namespace);
    kubelet.faults([Fault::image_pull(BROKEN)]);
    kubectl.apply(&deployment(&namespace, "web", 2), false);
    told(&kubectl, &namespace, "InjectionFails");
    assert_eq!(
        events(&kubectl, &namespace, "InjectionSuspended"),
        [] as [Value; 0]
    );
    assert!(pods(&kubectl, &namespace).iter().all(|pod| !is_bare(pod)));
    // As soon as the image is there, the same pods start.
    let before: Vec<Value> = pods(&kubectl, &namespace);
    kubelet.faults([]);
    let after = available(&kubectl, &namespace, "web", 2);
    let uids = |pods: &[Value]| -> Vec<Value> {
        pods.iter()
            .map(|pod| pod["metadata"]["uid"].clone())
            .collect()
    };
    assert_eq!(uids(&before), uids(&after));
}
