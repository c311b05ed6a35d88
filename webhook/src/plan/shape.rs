//! Whether a pod has the shape of a pod, as far as the planner touches it.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::commands;
use super::strip::entries;

/// The lists that hold containers, in the order in which Kubernetes starts them.
pub(super) const CONTAINER_LISTS: [&str; 2] = ["initContainers", "containers"];

/// Where a pod is not of the shape that a pod has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    path: String,
    expected: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.path, self.expected)
    }
}

/// Checks everything that the planner relies on.
pub(super) fn check(pod: &Value) -> Result<(), Fault> {
    object(pod, "pod")?;
    object(&pod["spec"], "spec")?;
    optional_object(&pod["metadata"], "metadata")?;
    for field in ["annotations", "labels"] {
        strings_by_key(&pod["metadata"][field], &format!("metadata.{field}"))?;
    }
    let mut names = BTreeSet::new();
    for list in CONTAINER_LISTS {
        let path = format!("spec.{list}");
        for (index, container) in objects(&pod["spec"][list], &path)?.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if !names.insert(name(container, &path)?) {
                return Err(fault(
                    format!("{path}.name"),
                    "a name that no other container has",
                ));
            }
            for field in ["command", "args"] {
                strings(&container[field], &format!("{path}.{field}"))?;
            }
            for place in &commands::PLACES {
                if let Some(command) = place.command(container) {
                    strings(command, &format!("{path}.{}", place.path()))?;
                }
            }
            let mounts = format!("{path}.volumeMounts");
            unique(&container["volumeMounts"], "mountPath", &mounts)?;
            objects(
                &container["volumeDevices"],
                &format!("{path}.volumeDevices"),
            )?;
        }
    }
    if pod["spec"]["containers"]
        .as_array()
        .is_none_or(Vec::is_empty)
    {
        return Err(fault("spec.containers".into(), "at least one container"));
    }
    unique(&pod["spec"]["volumes"], "name", "spec.volumes")?;
    objects(&pod["spec"]["imagePullSecrets"], "spec.imagePullSecrets")?;
    Ok(())
}

/// Checks ephemeral containers, which only their own requests touch.
pub(super) fn check_ephemeral(pod: &Value) -> Result<(), Fault> {
    let path = "spec.ephemeralContainers";
    unique(&pod["spec"]["ephemeralContainers"], "name", path)?;
    for (index, container) in entries(&pod["spec"], "ephemeralContainers").enumerate() {
        let path = format!("{path}[{index}]");
        for field in ["command", "args"] {
            strings(&container[field], &format!("{path}.{field}"))?;
        }
        let mounts = format!("{path}.volumeMounts");
        unique(&container["volumeMounts"], "mountPath", &mounts)?;
    }
    Ok(())
}

fn fault(path: String, expected: &'static str) -> Fault {
    Fault { path, expected }
}

fn object(value: &Value, path: &str) -> Result<(), Fault> {
    if value.is_object() {
        Ok(())
    } else {
        Err(fault(path.into(), "an object"))
    }
}

fn optional_object(value: &Value, path: &str) -> Result<(), Fault> {
    if value.is_null() {
        Ok(())
    } else {
        object(value, path)
    }
}

fn strings_by_key(value: &Value, path: &str) -> Result<(), Fault> {
    optional_object(value, path)?;
    match value
        .as_object()
        .into_iter()
        .flatten()
        .find(|(_, value)| !value.is_string())
    {
        Some((key, _)) => Err(fault(format!("{path}[{key:?}]"), "a string")),
        None => Ok(()),
    }
}

fn list<'a>(value: &'a Value, path: &str) -> Result<&'a [Value], Fault> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(fault(path.into(), "a list")),
    }
}

fn objects<'a>(value: &'a Value, path: &str) -> Result<&'a [Value], Fault> {
    let items = list(value, path)?;
    for (index, item) in items.iter().enumerate() {
        object(item, &format!("{path}[{index}]"))?;
    }
    Ok(items)
}

fn strings(value: &Value, path: &str) -> Result<(), Fault> {
    match list(value, path)?.iter().position(|item| !item.is_string()) {
        Some(index) => Err(fault(format!("{path}[{index}]"), "a string")),
        None => Ok(()),
    }
}

fn name<'a>(value: &'a Value, path: &str) -> Result<&'a str, Fault> {
    match value["name"].as_str() {
        Some(name) if !name.is_empty() => Ok(name),
        _ => Err(fault(format!("{path}.name"), "a name")),
    }
}

fn unique(value: &Value, key: &'static str, path: &str) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    for (index, item) in objects(value, path)?.iter().enumerate() {
        let path = format!("{path}[{index}].{key}");
        match item[key].as_str() {
            None => return Err(fault(path, "a string")),
            Some(text) if !seen.insert(text) => {
                return Err(fault(path, "a value that no other entry has"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_name_their_path() {
        for (pod, expected) in [
            (json!(7), "pod: expected an object"),
            (json!({}), "spec: expected an object"),
            (
                json!({"spec": {}}),
                "spec.containers: expected at least one container",
            ),
            (
                json!({"spec": {"containers": {}}}),
                "spec.containers: expected a list",
            ),
            (
                json!({"spec": {"containers": [{}]}}),
                "spec.containers[0].name: expected a name",
            ),
            (
                json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
                "spec.containers[1].name: expected a name that no other container has",
            ),
            (
                json!({"spec": {"containers": [{"name": "a", "command": ["x", 1]}]}}),
                "spec.containers[0].command[1]: expected a string",
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}, "spec": {"containers": [{"name": "a"}]}}),
                "metadata.labels[\"a\"]: expected a string",
            ),
        ] {
            assert_eq!(check(&pod).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn absent_and_null_lists_are_fine() {
        check(&json!({"spec": {"containers": [{"name": "a", "args": null}], "volumes": null}}))
            .unwrap();
    }
}
