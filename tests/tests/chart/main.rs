//! The chart, with Helm itself and a real API server.
#![allow(missing_docs)]

mod break_glass;
mod certificates;
mod release;
mod rights;
mod templates;
mod values;

use picket_tests::kube::helm::{Helm, chart};
use serde_json::Value;

pub const NAMESPACE: &str = "picket-system";

/// Everything that is off by default.
pub const ALL: &str = "backstop.mode=Deny,networkPolicy.enabled=true,monitoring.podMonitor.enabled=true,monitoring.rules.enabled=true,monitoring.dashboard.enabled=true,breakGlass.groups={oncall},priorityClassName=system-cluster-critical";

pub fn template(helm: &Helm, arguments: &[&str]) -> Vec<Value> {
    let chart = chart();
    let mut all = vec!["template", "picket", &chart, "-n", NAMESPACE];
    all.extend(["--kube-version", "1.34.0"]);
    all.extend(arguments);
    let text = helm.run(&all).expect_success().stdout;
    text.split("\n---")
        .map(|document| serde_saphyr::from_str(document).expect("YAML"))
        .filter(|object: &Value| object["kind"].is_string())
        .collect()
}

pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}
