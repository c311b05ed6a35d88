//! The CustomResourceDefinitions as YAML.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::policy::ProtectionPolicy;

/// A definition could not be written as YAML.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The derived definition is no JSON.
    #[error("definition of {kind}: {source}")]
    Json {
        /// The kind.
        kind: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The definition could not be written.
    #[error("definition of {kind} as YAML: {message}")]
    Yaml {
        /// The kind.
        kind: &'static str,
        /// Why.
        message: String,
    },
}

/// Every CustomResourceDefinition as (file name, YAML), keys sorted so that the text changes
/// only when the API does.
///
/// # Errors
/// [`ManifestError`] when a definition cannot be written; a test shows that it can.
pub fn manifests() -> Result<Vec<(&'static str, String)>, ManifestError> {
    let kind = "ProtectionPolicy";
    let definition = serde_json::to_value(ProtectionPolicy::crd())
        .map_err(|source| ManifestError::Json { kind, source })?;
    let yaml =
        serde_saphyr::to_string(&sorted(definition)).map_err(|error| ManifestError::Yaml {
            kind,
            message: error.to_string(),
        })?;
    let text = format!("# Written by `picket crds --write crds/yaml`. Do not edit.\n{yaml}");
    Ok(vec![("picket.dev_protectionpolicies.yaml", text)])
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
