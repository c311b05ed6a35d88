//! What CoverageReports, Deployments and events say of workloads.

use std::time::Instant;

use serde_json::{Value, json};

use super::{INTERVAL, Kubectl, PATIENCE, eventually};

/// The row of a workload in the coverage reports of its namespace; null if it is in none.
#[must_use]
pub fn coverage(kubectl: &Kubectl, namespace: &str, kind: &str, name: &str) -> Value {
    let list = ["get", "coveragereports", "-n", namespace, "-o", "json"];
    let reports = kubectl.run(&list, "").expect_success().json();
    let reports = reports["items"].as_array().cloned().unwrap_or_default();
    let mut rows = reports.iter().flat_map(|report| {
        report["status"]["workloads"]
            .as_array()
            .into_iter()
            .flatten()
    });
    let found = rows.find(|row| row["kind"] == kind && row["name"] == name);
    found.cloned().unwrap_or_default()
}

/// Waits until the row of a workload, by namespace, kind and name, is as wanted; gives it.
///
/// # Panics
/// When it does not become so; the message shows what it is.
#[track_caller]
pub fn row(kubectl: &Kubectl, at: (&str, &str, &str), wanted: impl Fn(&Value) -> bool) -> Value {
    let (namespace, kind, name) = at;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row = self::coverage(kubectl, namespace, kind, name);
        if wanted(&row) {
            return row;
        }
        assert!(
            Instant::now() < deadline,
            "{namespace}/{kind}/{name} does not become as wanted: {row:#}"
        );
        std::thread::sleep(INTERVAL);
    }
}

/// Whether a row has a gap.
#[must_use]
pub fn has_gap(row: &Value, gap: &str) -> bool {
    let mut gaps = row["gaps"].as_array().into_iter().flatten();
    gaps.any(|entry| entry["gap"] == gap)
}

/// Whether a row has a state, and these numbers of pods: total, injected, current, reporting.
#[must_use]
pub fn is(row: &Value, state: &str, pods: [u32; 4]) -> bool {
    let [total, injected, current, reporting] = pods;
    row["state"] == state
        && row["pods"]
            == json!({"total": total, "injected": injected, "current": current, "reporting": reporting})
}

/// Waits until a Deployment has as many available replicas.
///
/// # Panics
/// When it does not get them.
pub fn available(kubectl: &Kubectl, namespace: &str, name: &str, replicas: u32) {
    eventually(&format!("{namespace}/{name} is available"), || {
        let deployment = kubectl.get("deployment", namespace, name)?;
        (deployment["status"]["availableReplicas"] == replicas).then_some(())
    });
}

/// Reasons of the events about an object.
///
/// # Panics
/// When the API server does not list them.
#[must_use]
pub fn reasons(kubectl: &Kubectl, namespace: &str, name: &str) -> Vec<String> {
    let list = ["get", "events", "-n", namespace, "-o", "json"];
    let events = kubectl.run(&list, "").expect_success().json();
    let events = events["items"].as_array().cloned().unwrap_or_default();
    let about = events
        .iter()
        .filter(|event| event["involvedObject"]["name"] == name);
    about
        .filter_map(|event| event["reason"].as_str().map(str::to_owned))
        .collect()
}
