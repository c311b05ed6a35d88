//! What the templates make of the values.

use picket_tests::kube::ControlPlane;
use picket_tests::kube::helm::Helm;
use serde_json::{Value, json};

use crate::{ALL, find, template};

#[test]
fn pods_of_the_chart_are_restricted_and_spread() {
    let objects = template(&Helm::offline(), &["--is-upgrade", "--set", ALL]);
    let deployment = find(&objects, "Deployment", "picket-operator");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let spec = &deployment["spec"]["template"]["spec"];
    assert_eq!(spec["priorityClassName"], "system-cluster-critical");
    let keys: Vec<&Value> = spec["topologySpreadConstraints"]
        .as_array()
        .expect("spread")
        .iter()
        .map(|constraint| &constraint["topologyKey"])
        .collect();
    assert_eq!(
        keys,
        ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    );
    assert_eq!(
        find(&objects, "PodDisruptionBudget", "picket-operator")["spec"]["maxUnavailable"],
        1
    );

    // The admission plugin itself judges what is restricted.
    let control_plane = ControlPlane::shared();
    let labels = [("pod-security.kubernetes.io/enforce", "restricted")];
    let namespace = control_plane.namespace("restricted", &labels);
    for (kind, name) in [("Deployment", "picket-operator"), ("Job", "picket-crds")] {
        let template = &find(&objects, kind, name)["spec"]["template"];
        let mut spec = template["spec"].clone();
        spec.as_object_mut()
            .expect("spec")
            .remove("serviceAccountName");
        spec.as_object_mut()
            .expect("spec")
            .remove("priorityClassName");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        });
        control_plane.kubectl().apply(&pod, true);
    }
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_documented_or_served() {
    let objects = template(&Helm::offline(), &["--set", ALL]);
    let dashboard = &find(&objects, "ConfigMap", "picket-dashboard")["data"]["picket.json"];
    let dashboard: Value = serde_json::from_str(dashboard.as_str().expect("text")).expect("JSON");
    let alerts = find(&objects, "PrometheusRule", "picket-operator");
    let text = format!("{dashboard} {alerts}");
    let served = include_str!("../../../operator/src/metrics.rs");
    let coverage = include_str!("../../../operator/src/coverage/gauges.rs");
    let admission = include_str!("../../../webhook/src/admission/metrics.rs");
    let mut seen = 0;
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        if !word.starts_with("picket_") {
            continue;
        }
        seen += 1;
        let base = word.trim_end_matches("_total").trim_end_matches("_bucket");
        let known = match base.strip_prefix("picket_admission_") {
            Some(short) => admission.contains(&format!("\"{short}\"")),
            None => [served, coverage]
                .iter()
                .any(|file| file.contains(&format!("\"{base}\""))),
        };
        assert!(known, "nobody serves {word}");
    }
    assert!(seen > 10);
}
