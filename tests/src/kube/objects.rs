//! Objects that tests create, and what they look for in what comes back.

use serde_json::{Value, json};

/// A ProtectionPolicy.
#[must_use]
pub fn policy(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "picket.dev/v1alpha1",
        "kind": "ProtectionPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// A pod with one container `web` that names its command.
#[must_use]
pub fn pod(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web"}},
        "spec": {
            "containers": [{
                "name": "web",
                "image": "registry.example/web:1",
                "command": ["/bin/web"],
                "args": ["--listen", ":80"],
            }],
        },
    })
}

/// Names of the entries of a list of a pod's spec.
#[must_use]
pub fn names(pod: &Value, list: &str) -> Vec<String> {
    let entries = pod["spec"][list].as_array();
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["name"].as_str().map(str::to_owned))
        .collect()
}

/// Whether anything in a pod is Picket's.
#[must_use]
pub fn is_bare(pod: &Value) -> bool {
    !pod.to_string().contains("picket-tracer")
        && pod["metadata"]["annotations"]["picket.dev/status"].is_null()
}

/// Fails unless the container `web` of a [`pod`] is traced and setup and agent
/// stand first among the init containers.
///
/// # Panics
/// When the pod is not injected like that.
#[track_caller]
pub fn assert_injected(pod: &Value) {
    let init = names(pod, "initContainers");
    assert_eq!(
        init.get(..2).unwrap_or_default(),
        ["picket-setup", "picket-agent"],
        "init containers of {pod:#}"
    );
    assert_eq!(pod["spec"]["initContainers"][1]["restartPolicy"], "Always");
    assert!(names(pod, "volumes").contains(&"picket".to_owned()));
    let web = &pod["spec"]["containers"][0];
    let command: Vec<&str> = web["command"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(command.first(), Some(&"/picket/picket-tracer"), "{web:#}");
    assert_eq!(command.get(1), Some(&"trace"), "{web:#}");
    assert_eq!(command.last(), Some(&"--"), "{web:#}");
    assert_eq!(web["args"], json!(["/bin/web", "--listen", ":80"]));
    let status = pod["metadata"]["annotations"]["picket.dev/status"]
        .as_str()
        .expect("status annotation");
    let status: Value = serde_json::from_str(status).expect("JSON in the status annotation");
    let traced = status["containers"].as_array().into_iter().flatten();
    assert_eq!(
        traced
            .filter(|container| container["name"] == "web")
            .count(),
        1,
        "{status:#}"
    );
}

/// A Deployment whose pods have one container `web` that names its command.
#[must_use]
pub fn deployment(namespace: &str, name: &str, replicas: u32) -> Value {
    let pod = pod(namespace, name);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": pod["spec"],
            },
        },
    })
}

/// A StatefulSet with one replica, whose pods are those of a [`deployment`].
#[must_use]
pub fn stateful_set(namespace: &str, name: &str) -> Value {
    let mut set = deployment(namespace, name, 1);
    set["kind"] = json!("StatefulSet");
    set["spec"]["serviceName"] = json!(name);
    set
}

/// A Job of one pod, which is that of a [`deployment`].
#[must_use]
pub fn job(namespace: &str, name: &str) -> Value {
    let mut template = deployment(namespace, name, 1)["spec"]["template"].clone();
    template["spec"]["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": template},
    })
}

/// The part of the API that serves metrics: who serves it, and the field of the APIService that
/// says why that one is trusted.
#[must_use]
pub fn metrics_api(service: &Value, (trust, why): (&str, Value)) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": service,
            trust: why,
        },
    })
}

/// The columns that kubectl shows of policies.
pub const POLICY_COLUMNS: [&str; 9] = [
    "NAME",
    "MODE",
    "READY",
    "MATCHED",
    "INJECTED",
    "CURRENT",
    "REPORTING",
    "COVERED",
    "AGE",
];

/// A condition of an object; null if it is not there.
#[must_use]
pub fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == kind);
    found.cloned().unwrap_or_default()
}
