//! Policies from files, checked more strictly than an API server's watch would: a misspelt
//! field is an error, because nobody else will say so.

use picket_crds::{ComputeType, GROUP, ProtectionPolicySpec, unknown_field};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ManifestError, documents};
use crate::policy::{Policy, Scope};

/// Reads every ProtectionPolicy and ClusterProtectionPolicy of a YAML stream; other objects in it are passed over.
///
/// # Errors
/// [`ManifestError`] for a document that is no YAML, for a policy that does not have the shape
/// of one, and when there is none at all. Rules across fields are the API server's to check.
pub fn policies_from_yaml(
    text: &str,
    default_namespace: &str,
) -> Result<Vec<Policy>, ManifestError> {
    let mut policies = Vec::new();
    for (document, value) in documents::read_all(text)? {
        let error = |message: String| ManifestError { document, message };
        let api_version = value["apiVersion"].as_str().unwrap_or_default();
        let of_cluster = value["kind"] == "ClusterProtectionPolicy";
        let is_policy = of_cluster || value["kind"] == "ProtectionPolicy";
        if !is_policy || !api_version.starts_with(&format!("{GROUP}/")) {
            continue;
        }
        if let Some(unknown) = unknown_field(&value) {
            return Err(error(unknown));
        }
        policies.push(if of_cluster {
            Policy::of_cluster(read(value).map_err(error)?)
        } else {
            Policy::new(read(value).map_err(error)?, default_namespace)
        });
    }
    if policies.is_empty() {
        return Err(ManifestError {
            document: 1,
            message: "there is no ProtectionPolicy and no ClusterProtectionPolicy in it".to_owned(),
        });
    }
    Ok(policies)
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value)
        .map_err(|fault| format!("{}: {}", fault.path(), fault.inner()))
}

/// A policy that wants every pod of a namespace, wherever it runs: what the offline commands
/// use when they are given none.
pub fn catch_all(namespace: &str) -> Policy {
    let spec = ProtectionPolicySpec {
        compute_type: ComputeType::Any,
        ..ProtectionPolicySpec::default()
    };
    Policy {
        scope: Scope::Namespace(namespace.to_owned()),
        name: "default".to_owned(),
        created: None,
        spec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_spec(spec: &str) -> Result<Vec<Policy>, ManifestError> {
        let head = "apiVersion: picket.dev/v1alpha1\nkind: ProtectionPolicy\nmetadata: {name: a}\n";
        policies_from_yaml(
            &format!("apiVersion: v1\nkind: ConfigMap\n---\n{head}{spec}\n"),
            "shop",
        )
    }

    #[test]
    fn a_policy_gets_the_namespace_of_the_command() {
        let policies = read_spec("spec: {mode: Enforce}").unwrap();
        assert_eq!(policies[0].key(), "shop/a");
        assert!(
            policies[0].spec.containers.init_containers,
            "defaults are those of the API"
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (spec, expected) in [
            (
                "spec: {podselector: {}}",
                "document 2: spec.podselector: unknown field",
            ),
            (
                "spec: {agent: {resources: {request: {}}}}",
                "spec.agent.resources.request: unknown field",
            ),
            (
                "spec: {entrypoint: {overrides: [{comand: [a]}]}}",
                "spec.entrypoint.overrides[0].comand: unknown field",
            ),
            (
                "spec: {mode: Enforced}",
                "spec.mode: unknown variant `Enforced`",
            ),
            ("spec: {priority: high}", "spec.priority: invalid type"),
        ] {
            let error = read_spec(spec).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let cluster = "apiVersion: picket.dev/v1alpha1\nkind: ClusterProtectionPolicy\nmetadata: {name: a}\nspec: {namespaceSelecter: {}}\n";
        let error = policies_from_yaml(cluster, "shop").unwrap_err().to_string();
        assert!(
            error.contains("spec.namespaceSelecter: unknown field"),
            "{error}"
        );
        let cluster = cluster.replace(
            "Selecter: {}",
            "Selector: {matchLabels: {a: b}}, mode: Enforce",
        );
        let policies = policies_from_yaml(&cluster, "shop").unwrap();
        assert_eq!(policies[0].key(), "a");
        assert_eq!(policies[0].spec.mode, picket_crds::Mode::Enforce);
        let none = policies_from_yaml("apiVersion: v1\nkind: ConfigMap\n", "shop").unwrap_err();
        assert!(none.to_string().contains("no ProtectionPolicy"));
    }
}
