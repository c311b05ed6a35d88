//! Autoscaling on CPU: the real HorizontalPodAutoscaler controller looks after injected pods. How
//! much CPU they use is a mock's word ([`MetricsApi`]).

use picket_tests::kube::objects::{condition, deployment, is_bare};
use picket_tests::kube::{
    ControlPlane, Kubectl, Kubelet, MetricsApi, Operator, Options, eventually,
};
use serde_json::{Value, json};

/// An autoscaler for half of the CPU that is requested, as a metric says that counts it.
fn autoscaler(namespace: &str, name: &str, workload: &str, metric: Value) -> Value {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload},
            "minReplicas": 1,
            "maxReplicas": 4,
            "metrics": [metric],
        },
    })
}

fn half_of_the_pod() -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

fn half_of_the_container() -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    json!({
        "type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": "web", "target": target},
    })
}

/// A Deployment of one pod with a container that requests 400m.
fn workload(namespace: &str, name: &str) -> Value {
    let mut deployment = deployment(namespace, name, 1);
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "400m", "memory": "64Mi"}});
    deployment
}

/// The one pod of the Deployment, once it is ready.
fn ready_pod(kubectl: &Kubectl, namespace: &str) -> Value {
    eventually("the pod is ready", || {
        let list = ["get", "pods", "-n", namespace, "-o", "json"];
        let pods = kubectl.run(&list, "").expect_success().json();
        let pod = pods["items"].get(0)?.clone();
        (condition(&pod, "Ready")["status"] == "True").then_some(pod)
    })
}

/// What the autoscaler says once it has counted, or says why it cannot.
fn counted(kubectl: &Kubectl, namespace: &str, name: &str) -> Value {
    eventually("the autoscaler counts", || {
        let autoscaler = kubectl.get("horizontalpodautoscaler", namespace, name)?;
        let active = condition(&autoscaler, "ScalingActive");
        // What it says before it has heard of the pod's metrics is not its last word.
        let message = active["message"].as_str().unwrap_or_default();
        let is_done = active["status"] == "True" || message.contains("missing request");
        is_done.then_some(autoscaler)
    })
}

#[test]
fn an_injected_pod_is_scaled_by_its_own_requests() {
    let control_plane = ControlPlane::with_controllers();
    let operator = Operator::install(control_plane, &Options::default());
    let kubectl = operator.kubectl();
    let metrics = MetricsApi::shared();

    for (metric, current) in [
        (half_of_the_pod(), "resource"),
        (half_of_the_container(), "containerResource"),
    ] {
        let namespace = operator.protected("scaled", &[]);
        let _kubelet = Kubelet::start(control_plane, &namespace);
        kubectl.apply(&workload(&namespace, "web"), false);
        let pod = ready_pod(&kubectl, &namespace);
        assert!(!is_bare(&pod), "{pod:#}");
        // 300m of 400m: the agent's CPU counts where the whole pod does, its request of 0 as well.
        let name = pod["metadata"]["name"].as_str().expect("name");
        metrics.report(&namespace, &[(name, &[("web", 300), ("picket-agent", 4)])]);
        kubectl.apply(&autoscaler(&namespace, "web", "web", metric), false);

        let scaled = counted(&kubectl, &namespace, "web");
        let used = &scaled["status"]["currentMetrics"][0][current]["current"];
        let expected = if current == "resource" { 76 } else { 75 };
        assert_eq!(used["averageUtilization"], expected, "{scaled:#}");
        assert_eq!(scaled["status"]["desiredReplicas"], 2, "{scaled:#}");
        eventually("the Deployment is scaled", || {
            let deployment = kubectl.get("deployment", &namespace, "web")?;
            (deployment["spec"]["replicas"] == 2).then_some(())
        });
    }
}

/// Why the agent requests `"0"` and not nothing: the same pod, with a sidecar as other injectors
/// add it.
#[test]
fn a_sidecar_without_a_cpu_request_would_have_stopped_the_autoscaler() {
    let control_plane = ControlPlane::with_controllers();
    let kubectl = control_plane.kubectl();
    let metrics = MetricsApi::shared();
    let namespace = control_plane.namespace("unscaled", &[]);
    let _kubelet = Kubelet::start(control_plane, &namespace);
    let mut bare = workload(&namespace, "web");
    bare["spec"]["template"]["spec"]["initContainers"] = json!([{
        "name": "sidecar",
        "image": "registry.example/sidecar:1",
        "restartPolicy": "Always",
        "resources": {"requests": {"memory": "64Mi"}},
    }]);
    kubectl.apply(&bare, false);
    let pod = ready_pod(&kubectl, &namespace);
    let name = pod["metadata"]["name"].as_str().expect("name");
    metrics.report(&namespace, &[(name, &[("web", 300), ("sidecar", 4)])]);
    kubectl.apply(
        &autoscaler(&namespace, "web", "web", half_of_the_pod()),
        false,
    );
    let stopped = counted(&kubectl, &namespace, "web");
    let active = condition(&stopped, "ScalingActive");
    assert_eq!(active["status"], "False", "{stopped:#}");
    assert_eq!(active["reason"], "FailedGetResourceMetric", "{stopped:#}");
}
