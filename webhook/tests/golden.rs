//! One folder per pod shape ([`Case`]) in, `patch.json` and `report.txt` out.
//!
//! `UPDATE_GOLDEN=1 cargo test -p picket-webhook --test golden` writes the outputs anew.

mod common;

use std::fs;

use common::Case;
use k8s_openapi::api::core::v1::Pod;
use picket_webhook::admission::review::Request;
use picket_webhook::plan::uninjected;
use picket_webhook::{Context, Outcome, Plan, Reason, plan};
use serde_json::{Value, json};

/// A patch without the fingerprint, which any new field of policies changes.
fn without_fingerprint(patch: &str) -> String {
    let key = r#"\"fingerprint\":\""#;
    let Some((before, after)) = patch.split_once(key) else {
        return patch.to_owned();
    };
    let (_, after) = after.split_once(',').expect("it is not the last");
    format!("{before}{after}")
}

fn compare(case: &Case, file: &str, actual: &str) {
    let path = case.folder.join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; if that is meant, run UPDATE_GOLDEN=1 cargo test -p picket-webhook --test golden\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}

/// The plan for the pod as it is read from an AdmissionReview: without what the planner never
/// looks at.
fn reviewed(pod: &Value, context: &Context<'_>) -> Plan {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "1", "kind": {"version": "v1", "kind": "Pod"}, "operation": "CREATE", "object": pod},
    });
    let request = Request::parse(review.to_string().as_bytes()).expect("a review");
    plan(&request.object, context)
}

fn check(case: &Case) -> Outcome {
    let (pod, context) = (case.pod.clone(), case.context());
    let first = plan(&pod, &context);
    let patch = serde_json::to_string_pretty(&first.operations).unwrap();
    let patch = without_fingerprint(&patch);
    compare(case, "patch.json", &format!("{patch}\n"));
    compare(case, "report.txt", &first.report.to_string());

    assert_eq!(
        reviewed(&pod, &context),
        first,
        "as the webhook reads the pod"
    );
    let injected = common::apply(&pod, &first);
    let again = plan(&injected, &context);
    assert!(
        again.operations.is_empty(),
        "planning twice gives {}",
        serde_json::to_string_pretty(&again.operations).unwrap()
    );
    if first.report.outcome() != Outcome::Injected {
        assert_eq!(injected, pod, "a pod that is not injected stays as it is");
        return first.report.outcome();
    }
    assert!(matches!(
        again.report.reason,
        Reason::Current | Reason::PartlyInjected
    ));
    assert_eq!(again.report.containers, first.report.containers);
    serde_json::from_value::<Pod>(injected.clone()).expect("the injected pod is a pod");
    let lists = ["initContainers", "containers"].map(|list| {
        injected["spec"][list]
            .as_array()
            .cloned()
            .unwrap_or_default()
    });
    for container in lists
        .iter()
        .flatten()
        .filter(|container| container["image"] == common::IMAGE)
    {
        common::assert_restricted(container);
    }
    // An autoscaler that worked before works as before, unless somebody demands CPU for us.
    let (before, after) = (
        common::autoscaling_denominator(&pod),
        common::autoscaling_denominator(&injected),
    );
    let cpu_for_us = !case.facts.limit_ranges.is_empty()
        || case
            .policies
            .iter()
            .any(|policy| policy.spec.agent.resources.requests.cpu.is_some());
    if uninjected(&pod).is_none() && !cpu_for_us {
        assert_eq!(before, after, "requests that utilisation is measured by");
    }
    assert_eq!(before.is_some(), after.is_some());
    let original = uninjected(&injected).expect("an injected pod can be given back");
    let arrived_clean = uninjected(&pod).is_none();
    if arrived_clean {
        common::assert_only_our_places_differ(&pod, &injected);
        assert_eq!(
            common::without_empty(&original),
            common::without_empty(&pod)
        );
    }
    assert_eq!(
        common::apply(&original, &plan(&original, &context)),
        injected,
        "from the original again"
    );
    first.report.outcome()
}

#[test]
fn every_case() {
    let cases = Case::all();
    let outcomes: Vec<Outcome> = cases
        .iter()
        .map(|case| {
            println!("case {}", case.name);
            check(case)
        })
        .collect();
    let count = |outcome| outcomes.iter().filter(|found| **found == outcome).count();
    println!(
        "{} injected, {} skipped, {} failed",
        count(Outcome::Injected),
        count(Outcome::Skipped),
        count(Outcome::Failed)
    );
    assert!(cases.len() >= 60, "only {} cases", cases.len());
}
