//! What CoverageReports say.

use std::time::Instant;

use serde_json::Value;

use super::{INTERVAL, Kubectl, PATIENCE};

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
