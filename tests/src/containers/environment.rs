//! A container's environment, and what depends on it, as kubelet makes them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use super::{ContainersError, Surroundings};

/// Name and value of every variable the manifest asks for, in its order, with
/// references to earlier ones replaced.
pub(super) fn variables(
    pod: &Pod,
    container: &Container,
    surroundings: &Surroundings,
) -> Result<Vec<(String, String)>, ContainersError> {
    if container.env_from.as_ref().is_some_and(|e| !e.is_empty()) {
        return Err(ContainersError::Unsupported(format!(
            "envFrom of container {}",
            container.name
        )));
    }
    let mut known = BTreeMap::new();
    let mut variables = Vec::new();
    if let Some(address) = surroundings.api_server {
        for (name, value) in [
            ("KUBERNETES_SERVICE_HOST", address.ip().to_string()),
            ("KUBERNETES_SERVICE_PORT", address.port().to_string()),
        ] {
            known.insert(name.to_owned(), value.clone());
            variables.push((name.to_owned(), value));
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => match resolve(pod, source, surroundings)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(variable.value.as_deref().unwrap_or_default(), &known),
        };
        known.insert(variable.name.clone(), value.clone());
        variables.push((variable.name.clone(), value));
    }
    Ok(variables)
}

/// The value, or `None` for an optional reference to what is not there.
fn resolve(
    pod: &Pod,
    source: &EnvVarSource,
    surroundings: &Surroundings,
) -> Result<Option<String>, ContainersError> {
    if let Some(reference) = &source.field_ref {
        return field(pod, &reference.field_path).map(Some);
    }
    let (kind, map, name, key, optional) = if let Some(r) = &source.config_map_key_ref {
        (
            "ConfigMap",
            &surroundings.config_maps,
            &r.name,
            &r.key,
            r.optional,
        )
    } else if let Some(r) = &source.secret_key_ref {
        ("Secret", &surroundings.secrets, &r.name, &r.key, r.optional)
    } else {
        return Err(ContainersError::Unsupported(
            "resourceFieldRef of a variable".to_owned(),
        ));
    };
    match map.get(name).and_then(|data| data.get(key)) {
        Some(value) => Ok(Some(value.clone())),
        None if optional == Some(true) => Ok(None),
        None => Err(ContainersError::Unresolved(format!(
            "{kind} {name}, key {key}"
        ))),
    }
}

/// What a `fieldPath` of the downward API stands for.
pub(super) fn field(pod: &Pod, path: &str) -> Result<String, ContainersError> {
    let text =
        |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
    let spec = pod.spec.as_ref();
    let subscript = |prefix: &str| {
        path.strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix("['")?.strip_suffix("']"))
    };
    let entry = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref()
            .and_then(|map| map.get(key))
            .cloned()
            .unwrap_or_default()
    };
    if let Some(key) = subscript("metadata.labels") {
        return Ok(entry(&pod.metadata.labels, key));
    }
    if let Some(key) = subscript("metadata.annotations") {
        return Ok(entry(&pod.metadata.annotations, key));
    }
    Ok(match path {
        "metadata.name" => text(&pod.metadata.name, ""),
        "metadata.namespace" => text(&pod.metadata.namespace, "default"),
        "metadata.uid" => text(&pod.metadata.uid, ""),
        "metadata.labels" => lines(&pod.metadata.labels),
        "metadata.annotations" => lines(&pod.metadata.annotations),
        // Nothing schedules these pods, so a pod may be without a node.
        "spec.nodeName" => text(&spec.and_then(|s| s.node_name.clone()), "harness"),
        "spec.serviceAccountName" => text(
            &spec.and_then(|s| s.service_account_name.clone()),
            "default",
        ),
        // The pod's network has a loopback interface only.
        "status.podIP" | "status.podIPs" | "status.hostIP" | "status.hostIPs" => {
            "127.0.0.1".to_owned()
        }
        _ => return Err(ContainersError::Unsupported(format!("fieldPath {path}"))),
    })
}

fn lines(map: &Option<BTreeMap<String, String>>) -> String {
    map.iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value:?}\n"))
        .collect()
}

/// Replaces `$(NAME)` where NAME is known and `$$` by `$`, as Kubernetes does
/// in `command`, `args` and values of variables; all else stays as it is.
pub(super) fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let reference = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        rest = if let Some(unescaped) = after.strip_prefix('$') {
            expanded.push('$');
            unescaped
        } else if let Some((name, behind)) = reference {
            match known.get(name) {
                Some(value) => expanded.push_str(value),
                None => {
                    expanded.push_str("$(");
                    expanded.push_str(name);
                    expanded.push(')');
                }
            }
            behind
        } else {
            expanded.push('$');
            after
        };
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_replaced_as_kubelet_does() {
        let known = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, expected) in [
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("$A ${A} $", "$A ${A} $"),
            ("$$", "$"),
        ] {
            assert_eq!(expand(text, &known), expected, "{text}");
        }
    }

    #[test]
    fn variables_come_from_fields_maps_and_each_other() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u-1",
                         "labels": {"app": "web"}, "annotations": {"picket.dev/status": "{}"}},
            "spec": {"containers": [{"name": "web", "env": [
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k", "optional": true}}},
                {"name": "URL", "value": "http://$(POD)/$(LATER)"},
                {"name": "LATER", "value": "x"}
            ]}]}
        }))
        .unwrap();
        let surroundings = Surroundings {
            secrets: BTreeMap::from([(
                "s".to_owned(),
                BTreeMap::from([("k".to_owned(), "secret".to_owned())]),
            )]),
            ..Surroundings::default()
        };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let variables = variables(&pod, container, &surroundings).unwrap();
        let expected = [
            ("POD", "web-0"),
            ("UID", "u-1"),
            ("APP", "web"),
            ("NODE", "harness"),
            ("KEY", "secret"),
            ("URL", "http://web-0/$(LATER)"),
            ("LATER", "x"),
        ];
        assert_eq!(
            variables,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-0"},
            "spec": {"containers": [{"name": "web", "env": [
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}
        }))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let error = variables(&pod, container, &Surroundings::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Secret s, key k: no such thing in the pod's surroundings"
        );
    }
}
