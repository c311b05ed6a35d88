//! ResourceQuotas, as far as they bound what our containers ask for.

use serde_json::Value;

use super::limits::Ceiling;
use super::strip::entries;
use crate::capacity::Qos;
use crate::namespace::Namespace;
use crate::quantity;

/// Names in a quota: section, resource, and under which names it is bounded.
const BOUNDED: [(&str, usize, &[&str]); 4] = [
    ("requests", 0, &["requests.cpu", "cpu"]),
    ("requests", 1, &["requests.memory", "memory"]),
    ("limits", 0, &["limits.cpu"]),
    ("limits", 1, &["limits.memory"]),
];

/// True when a quota counts CPU limits: then it refuses containers without one.
pub(super) fn wants_cpu_limits(pod: &Value, namespace: &Namespace) -> bool {
    namespace
        .quotas
        .iter()
        .any(|quota| hard(quota).get("limits.cpu").is_some() && applies(quota, pod))
}

/// What the quotas that apply to a pod leave for it.
pub(super) fn ceilings(pod: &Value, namespace: &Namespace) -> Vec<Ceiling> {
    let mut ceilings = Vec::new();
    for quota in namespace.quotas.iter().filter(|quota| applies(quota, pod)) {
        for (section, resource, names) in BOUNDED {
            let read = [quantity::millicores, quantity::bytes][resource];
            for name in names {
                let Some(hard) = read(&hard(quota)[*name]) else {
                    continue;
                };
                let used = read(&quota["status"]["used"][*name]).unwrap_or(0);
                ceilings.push(Ceiling {
                    section,
                    resource,
                    allowed: hard.saturating_sub(used),
                });
            }
        }
    }
    ceilings
}

/// What is enforced is in the status; a quota that was just made has none yet.
fn hard(quota: &Value) -> &Value {
    match &quota["status"]["hard"] {
        Value::Null => &quota["spec"]["hard"],
        enforced => enforced,
    }
}

/// Whether a pod is in all scopes of a quota. One that we do not know counts as a match: to be
/// refused is worse than to be careful.
fn applies(quota: &Value, pod: &Value) -> bool {
    let mut plain = entries(&quota["spec"], "scopes").filter_map(Value::as_str);
    let mut expressions = entries(&quota["spec"]["scopeSelector"], "matchExpressions");
    plain.all(|scope| in_scope(scope, pod)) && expressions.all(|expression| fits(expression, pod))
}

fn fits(expression: &Value, pod: &Value) -> bool {
    let scope = expression["scopeName"].as_str().unwrap_or_default();
    if scope != "PriorityClass" {
        return in_scope(scope, pod);
    }
    let class = pod["spec"]["priorityClassName"].as_str();
    let listed = || entries(expression, "values").any(|value| value.as_str() == class);
    match expression["operator"].as_str() {
        Some("In") => class.is_some() && listed(),
        Some("NotIn") => class.is_none() || !listed(),
        Some("Exists") => class.is_some(),
        Some("DoesNotExist") => class.is_none(),
        _ => true,
    }
}

fn in_scope(scope: &str, pod: &Value) -> bool {
    let ends = pod["spec"]["activeDeadlineSeconds"].is_number();
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => Qos::of(pod) == Qos::BestEffort,
        "NotBestEffort" => Qos::of(pod) != Qos::BestEffort,
        _ => true,
    }
}
