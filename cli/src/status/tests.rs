use picket_crds::{CoverageReport, ProtectionPolicy};
use serde_json::{Value, json};

use super::*;

fn policy(conditions: Value) -> ProtectionPolicy {
    serde_json::from_value(json!({
        "apiVersion": "picket.dev/v1alpha1", "kind": "ProtectionPolicy",
        "metadata": {"name": "all", "namespace": "shop"},
        "spec": {},
        "status": {
            "conditions": conditions,
            "coverage": {"total": 2, "injected": 1, "current": 1, "reporting": 1},
        },
    }))
    .expect("a policy")
}

fn condition(type_: &str, status: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": "Because", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

fn report(workloads: Value) -> CoverageReport {
    serde_json::from_value(json!({
        "apiVersion": "picket.dev/v1alpha1", "kind": "CoverageReport",
        "metadata": {"name": "coverage", "namespace": "shop"},
        "spec": {},
        "status": {"workloads": workloads},
    }))
    .expect("a report")
}

fn page(workloads: Value) -> Page {
    let conditions = json!([
        condition("Accepted", "True", "in use"),
        condition("Covered", "False", "1 of 2 workloads lack something"),
    ]);
    Page::of(&[policy(conditions)], &[], vec![report(workloads)])
}

fn two() -> Value {
    json!([
        {"kind": "Deployment", "name": "web", "state": "Unhealthy", "policy": "shop/all",
         "pods": {"total": 2, "injected": 1, "current": 1, "reporting": 1},
         "gaps": [{"gap": "Uninjected", "pods": 1, "pod": "web-2", "message": "restart it"},
                  {"gap": "ExecProbe", "pods": 1, "container": "web", "pod": "web-1", "message": "untraced"}]},
        {"kind": "CronJob", "name": "nightly", "state": "Unselected", "reason": "OptedOut",
         "pods": {"total": 1, "injected": 0, "current": 0, "reporting": 0}},
    ])
}

#[test]
fn a_page_for_people() {
    let page = page(two());
    assert!(page.is_unhealthy());
    let expected = "\
POLICY    MODE     MATCHED  INJECTED  CURRENT  REPORTING  COVERED  WHY
shop/all  Monitor  2        1         1        1          False    1 of 2 workloads lack something

NAMESPACE  WORKLOAD         STATE       PODS  INJECTED  CURRENT  REPORTING  POLICY    GAPS
shop       CronJob/nightly  Unselected  1     0         0        0          -         OptedOut
shop       Deployment/web   Unhealthy   2     1         1        1          shop/all  Uninjected: 1, ExecProbe(web): 1

shop/Deployment/web:
  Uninjected in 1 pod, one is web-2: restart it
  ExecProbe in 1 pod, one is web-1, container web: untraced
";
    assert_eq!(table::page(&page), expected);
}

#[test]
fn a_page_for_programs_has_the_words_of_the_api() {
    let json = serde_json::to_value(page(two())).expect("JSON");
    assert_eq!(json["workloads"][1]["namespace"], "shop");
    assert_eq!(json["workloads"][1]["gaps"][0]["gap"], "Uninjected");
    assert_eq!(json["policies"][0]["pods"]["total"], 2);
    assert_eq!(json["policies"][0]["covered"], "False");
}

#[test]
fn a_policy_that_is_not_accepted_says_so_first() {
    let conditions = json!([
        condition("Accepted", "False", "not in use: spec.mode"),
        condition("Covered", "True", "covered"),
    ]);
    let page = Page::of(&[policy(conditions)], &[], Vec::new());
    assert_eq!(page.policies[0].message, "not in use: spec.mode");
    assert!(table::page(&page).ends_with("No workload to show.\n"));
    assert!(table::page(&Page::default()).starts_with("No policy"));
}

#[test]
fn what_changed_is_told_and_what_went_too() {
    let before = page(two());
    let mut changed = two();
    changed[0]["state"] = json!("Healthy");
    changed.as_array_mut().expect("a list").remove(1);
    let now = page(changed);
    let lines = now.changed_since(&before);
    let told: Vec<(&str, u32)> = lines
        .iter()
        .map(|line| (line.row.name.as_str(), line.row.pods.total))
        .collect();
    assert_eq!(told, [("web", 2), ("nightly", 0)]);
    assert!(now.changed_since(&now).is_empty());
}
