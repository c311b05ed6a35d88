//! The harness's controllers and its mock of kubelet: what other tests rely on.

use picket_tests::kube::kubelet::Fault;
use picket_tests::kube::objects::deployment;
use picket_tests::kube::{ControlPlane, Kubelet, eventually};
use serde_json::{Value, json};

fn pods(namespace: &str) -> Vec<Value> {
    let list = ["get", "pods", "-n", namespace, "-o", "json"];
    let kubectl = ControlPlane::with_controllers().kubectl();
    let pods = kubectl.run(&list, "").expect_success().json();
    pods["items"].as_array().expect("a list").clone()
}

#[test]
fn a_deployment_makes_pods_that_run_and_its_end_collects_them() {
    let control_plane = ControlPlane::with_controllers();
    let kubectl = control_plane.kubectl();
    let namespace = control_plane.namespace("controllers", &[]);
    let kubelet = Kubelet::start(control_plane, &namespace);
    kubectl.apply(&deployment(&namespace, "web", 2), false);
    eventually("two replicas are available", || {
        let deployment = kubectl.get("deployment", &namespace, "web")?;
        (deployment["status"]["availableReplicas"] == 2).then_some(())
    });

    let image = "registry.example/web:1";
    kubelet.faults([Fault::image_pull(image)]);
    eventually("no replica is available", || {
        let deployment = kubectl.get("deployment", &namespace, "web")?;
        let available = &deployment["status"]["availableReplicas"];
        (available.is_null() || *available == 0).then_some(())
    });
    for pod in pods(&namespace) {
        let state = &pod["status"]["containerStatuses"][0]["state"];
        assert_eq!(state["waiting"]["reason"], "ImagePullBackOff", "{pod:#}");
    }

    let delete = ["delete", "deployment", "web", "-n", &namespace];
    kubectl.run(&delete, "").expect_success();
    eventually("the pods are collected", || {
        pods(&namespace).is_empty().then_some(())
    });
}

#[test]
fn a_pod_that_fargate_refuses_stays_pending_with_an_event() {
    use picket_tests::kube::kubelet::{Ailment, Patient};
    let control_plane = ControlPlane::with_controllers();
    let kubectl = control_plane.kubectl();
    let namespace = control_plane.namespace("refused", &[]);
    let kubelet = Kubelet::start(control_plane, &namespace);
    kubelet.faults([Fault {
        patient: Patient::Container("web".to_owned()),
        ailment: Ailment::NotSupportedOnFargate("fields not supported".to_owned()),
    }]);
    kubectl.apply(&deployment(&namespace, "web", 1), false);
    let message = eventually("fargate-scheduler has told why", || {
        let list = ["get", "events", "-n", &namespace, "-o", "json"];
        let events = kubectl.run(&list, "").expect_success().json();
        let events = events["items"].as_array()?.clone();
        let of = |event: &&Value| event["source"]["component"] == "fargate-scheduler";
        Some(events.iter().find(of)?["message"].clone())
    });
    assert_eq!(
        message,
        json!("Pod not supported on Fargate: fields not supported")
    );
    let pods = pods(&namespace);
    assert_eq!(pods.len(), 1);
    assert!(pods[0]["spec"]["nodeName"].is_null(), "{:#}", pods[0]);
}
