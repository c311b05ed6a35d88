//! Pods as EKS has them on Fargate: labelled by its own webhook, judged once by
//! `fargate-scheduler`, on a node of their own, with the size that AWS provisioned in an
//! annotation. The scheduler is played here; the API server and everything of Picket are real.

use picket_tests::kube::coverage::{has_gap, is, row};
use picket_tests::kube::objects::{assert_injected, pod};
use serde_json::{Value, json};

use super::{kubelet, operator};

/// A pod as Amazon's webhook leaves it.
fn on_fargate(namespace: &str, name: &str) -> Value {
    let mut pod = pod(namespace, name);
    pod["metadata"]["labels"]["eks.amazonaws.com/fargate-profile"] = json!("shop");
    pod["spec"]["schedulerName"] = json!("fargate-scheduler");
    pod["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "250m", "memory": "128Mi"}});
    pod
}

/// The message of a gap of a row.
fn message<'a>(row: &'a Value, gap: &str) -> &'a str {
    let mut gaps = row["gaps"].as_array().into_iter().flatten();
    let found = gaps.find(|entry| entry["gap"] == gap);
    found.map_or("", |entry| entry["message"].as_str().unwrap_or_default())
}

#[test]
fn what_the_scheduler_refuses_is_a_gap_with_its_words_until_it_is_mended() {
    let operator = operator();
    let kubectl = operator.kubectl();
    let namespace = operator.namespace("refused", &[]);
    operator.protect(&namespace, "all", json!({}));
    assert_injected(&kubectl.apply(&on_fargate(&namespace, "web"), false));
    let web = (namespace.as_str(), "Pod", "web");
    // Nobody has judged it yet.
    let waiting = row(&kubectl, web, |row| row["state"] == "Progressing");
    assert!(!has_gap(&waiting, "PendingOnFargate"), "{waiting:#}");
    assert_eq!(waiting["capacity"]["provisioned"], Value::Null);

    let words = "Pod not supported on Fargate: volumes not supported: data not supported because: PVC data not bound";
    let judged = json!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words,
    }]}});
    let patch = [
        "patch",
        "pod",
        "web",
        "-n",
        &namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        &judged.to_string(),
    ];
    kubectl.run(&patch, "").expect_success();
    let refused = row(&kubectl, web, |row| has_gap(row, "PendingOnFargate"));
    let said = format!("Unschedulable: {words}");
    assert_eq!(message(&refused, "PendingOnFargate"), said, "{refused:#}");
    assert!(is(&refused, "Unhealthy", [1, 1, 1, 0]), "{refused:#}");

    let delete = ["delete", "pod", "web", "-n", &namespace, "--force"];
    kubectl.run(&delete, "").expect_success();
    kubectl.apply(&on_fargate(&namespace, "web"), false);
    let _kubelet = kubelet(&namespace);
    let placed = row(&kubectl, web, |row| is(row, "Healthy", [1, 1, 1, 1]));
    assert!(!has_gap(&placed, "PendingOnFargate"), "{placed:#}");
}

#[test]
fn another_size_than_was_expected_is_told_and_makes_nobody_unhealthy() {
    let operator = operator();
    let kubectl = operator.kubectl();
    let namespace = operator.namespace("sized", &[]);
    operator.protect(&namespace, "all", json!({}));
    let _kubelet = kubelet(&namespace);
    kubectl.apply(&on_fargate(&namespace, "web"), false);
    let web = (namespace.as_str(), "Pod", "web");
    row(&kubectl, web, |row| is(row, "Healthy", [1, 1, 1, 1]));
    let provision = |size: &str| {
        let size = format!("CapacityProvisioned={size}");
        let annotate = [
            "annotate",
            "--overwrite",
            "pod",
            "web",
            "-n",
            &namespace,
            &size,
        ];
        kubectl.run(&annotate, "").expect_success();
    };
    let provisioned = |size: &str| row(&kubectl, web, |row| row["capacity"]["provisioned"] == size);

    // 128 MiB of the application, 64 of the agent and the 256 that AWS adds: the least there is.
    let least = "0.25vCPU 0.5GB";
    provision(least);
    let expected = provisioned(least);
    assert_eq!(expected["capacity"]["before"], least, "{expected:#}");
    assert_eq!(expected["capacity"]["expected"], least, "{expected:#}");
    assert!(!has_gap(&expected, "CapacityDrift"), "{expected:#}");

    let more = "0.25vCPU 1GB";
    provision(more);
    let drifted = provisioned(more);
    assert_eq!(
        message(&drifted, "CapacityDrift"),
        format!("expected {least}, provisioned {more}"),
        "{drifted:#}"
    );
    assert!(is(&drifted, "Healthy", [1, 1, 1, 1]), "{drifted:#}");
}
