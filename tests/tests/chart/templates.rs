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
fn a_service_monitor_finds_the_service_that_is_made_for_it_and_that_finds_the_pods() {
    let values = "monitoring.serviceMonitor.enabled=true,monitoring.serviceMonitor.labels.team=ops";
    let objects = template(&Helm::offline(), &["--set", values]);
    let monitor = find(&objects, "ServiceMonitor", "picket-operator");
    assert_eq!(monitor["metadata"]["labels"]["team"], "ops");
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object();
    let chosen: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == "Service")
        .filter(|service| {
            let mut wanted = wanted.into_iter().flatten();
            wanted.all(|(label, value)| service["metadata"]["labels"][label] == *value)
        })
        .map(|service| &service["metadata"]["name"])
        .collect();
    assert_eq!(chosen, ["picket-metrics"]);
    let service = find(&objects, "Service", "picket-metrics");
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(service["spec"]["ports"][0]["name"], endpoint["port"]);
    let template = &find(&objects, "Deployment", "picket-operator")["spec"]["template"];
    let selector = service["spec"]["selector"].as_object().expect("labels");
    for (label, value) in selector {
        assert_eq!(template["metadata"]["labels"][label], *value);
    }
    let ports = template["spec"]["containers"][0]["ports"].as_array();
    let mut ports = ports.into_iter().flatten();
    let target = &service["spec"]["ports"][0]["targetPort"];
    assert!(ports.any(|port| port["name"] == *target), "{target}");
}

#[test]
fn the_kill_switch_turns_the_backstop_into_one_that_only_audits() {
    for (values, actions, operator) in [
        ("backstop.mode=Deny", json!(["Deny", "Audit"]), "true"),
        (
            "backstop.mode=Deny,injection.enabled=false",
            json!(["Warn", "Audit"]),
            "false",
        ),
    ] {
        let objects = template(&Helm::offline(), &["--set", values]);
        let kind = "ValidatingAdmissionPolicyBinding";
        let binding = find(&objects, kind, "picket-backstop");
        assert_eq!(binding["spec"]["validationActions"], actions, "{values}");
        let deployment = find(&objects, "Deployment", "picket-operator");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let mut variables = container["env"].as_array().into_iter().flatten();
        let told = variables.find(|one| one["name"] == "PICKET_BACKSTOP_DENIES");
        assert_eq!(told.expect("it is told")["value"], operator, "{values}");
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
