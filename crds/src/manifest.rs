//! The CustomResourceDefinitions as YAML.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::cluster::ClusterProtectionPolicy;
use crate::policy::ProtectionPolicy;
use crate::report::CoverageReport;
use crate::rule_set::RuleSet;

/// Every CustomResourceDefinition as (file name, YAML), keys sorted so that the text changes
/// only when the API does.
///
/// # Panics
/// Never: the definitions are constants of plain data, and a test writes each of them.
pub fn manifests() -> Vec<(&'static str, String)> {
    [
        (
            "picket.dev_clusterprotectionpolicies.yaml",
            ClusterProtectionPolicy::crd(),
        ),
        ("picket.dev_coveragereports.yaml", CoverageReport::crd()),
        (
            "picket.dev_protectionpolicies.yaml",
            ProtectionPolicy::crd(),
        ),
        ("picket.dev_rulesets.yaml", RuleSet::crd()),
    ]
    .into_iter()
    .map(|(file, definition)| {
        let definition = serde_json::to_value(definition).expect("plain data");
        let yaml = serde_saphyr::to_string(&sorted(definition)).expect("plain data");
        let text = format!("# Written by `picket crds --write crds/yaml`. Do not edit.\n{yaml}");
        (file, text)
    })
    .collect()
}

/// The same value with the keys of every object in order, whatever map `serde_json` was built
/// with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|(left, _), (right, _)| left.cmp(right));
            entries
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// The first field of a policy's spec that the API does not know, with its path and the fields
/// that there are: what `kubectl` says, for those who read policies from files.
pub fn unknown_field(policy: &Value) -> Option<String> {
    let definition = if policy["kind"] == "ClusterProtectionPolicy" {
        ClusterProtectionPolicy::crd()
    } else {
        ProtectionPolicy::crd()
    };
    let definition = serde_json::to_value(definition).ok()?;
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")?;
    find_unknown(&policy["spec"], schema, "spec")
}

fn find_unknown(value: &Value, schema: &Value, path: &str) -> Option<String> {
    match (value, schema.get("properties").and_then(Value::as_object)) {
        (Value::Object(fields), Some(known)) => fields.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match known.get(name) {
                Some(schema) => find_unknown(value, schema, &path),
                None => {
                    let names: Vec<&str> = known.keys().map(String::as_str).collect();
                    Some(format!(
                        "{path}: unknown field; there are {}",
                        names.join(", ")
                    ))
                }
            }
        }),
        (Value::Array(items), _) => items.iter().enumerate().find_map(|(index, item)| {
            find_unknown(item, &schema["items"], &format!("{path}[{index}]"))
        }),
        _ => None,
    }
}
