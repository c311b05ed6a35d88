//! Every right of the control plane has its reason in the documentation, and no other is told of.

use std::collections::BTreeSet;
use std::path::Path;

use picket_tests::kube::helm::chart;
use serde_json::Value;

/// Rights as `resource verb`.
type Rights = BTreeSet<String>;

fn of_the_chart() -> Rights {
    let mut rights = Rights::new();
    for file in [
        "clusterrole",
        "role",
        "certificate-self-managed",
        "pull-secrets",
        "preflight",
        "prewarm",
        "quarantine",
        "rollout",
    ] {
        let path = format!("{}/files/{file}.yaml", chart());
        let text = std::fs::read_to_string(&path).expect("rules");
        let rules: Vec<Value> = serde_saphyr::from_str(&text).expect("YAML");
        for rule in &rules {
            for resource in rule["resources"].as_array().expect("resources") {
                for verb in rule["verbs"].as_array().expect("verbs") {
                    let (resource, verb) = (resource.as_str(), verb.as_str());
                    let words = (resource.expect("text"), verb.expect("text"));
                    rights.insert(format!("{} {}", words.0, words.1));
                }
            }
        }
    }
    rights
}

/// The rows of the tables under "Rights": resources in backticks, then verbs, then why. A row
/// without resources goes on with those of the row above.
fn of_the_documentation() -> Rights {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(path).expect("docs/operations.md");
    let section = text.split("\n## Rights\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("its text");
    let mut rights = Rights::new();
    let mut resources: Vec<String> = Vec::new();
    for line in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, named, verbs, why, ..] = cells[..] else {
            panic!("{line}");
        };
        if named == "resource" {
            continue;
        }
        assert!(!why.is_empty(), "{line}");
        if !named.is_empty() {
            // Names after "only" are objects, and API groups stand in parentheses.
            let named = named.split(", only").next().expect("its beginning");
            let named = named.split(" (").next().expect("its beginning");
            let names = named.split('`').skip(1).step_by(2);
            resources = names.map(str::to_owned).collect();
        }
        for resource in &resources {
            for verb in verbs.split(", ") {
                rights.insert(format!("{resource} {verb}"));
            }
        }
    }
    rights
}

#[test]
fn every_right_has_its_reason_in_the_documentation() {
    let (given, told) = (of_the_chart(), of_the_documentation());
    let untold: Vec<&String> = given.difference(&told).collect();
    assert!(untold.is_empty(), "docs/operations.md lacks {untold:?}");
    // Datadog's key is looked at where a value names its Secret.
    let ungiven: Vec<&String> = told.difference(&given).collect();
    assert!(ungiven.is_empty(), "no file of the chart gives {ungiven:?}");
}
