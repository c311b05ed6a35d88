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

/// A place in the pod. Hardly any pod has a fault, so paths are only written for one that has.
#[derive(Debug, Clone, Copy)]
struct At<'a> {
    within: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    const fn top(field: &'a str) -> Self {
        Self {
            within: None,
            step: Step::Field(field),
        }
    }

    fn field(&'a self, field: &'a str) -> Self {
        self.step(Step::Field(field))
    }

    fn index(&'a self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&'a self, step: Step<'a>) -> Self {
        Self {
            within: Some(self),
            step,
        }
    }

    fn fault(&self, expected: &'static str) -> Fault {
        Fault {
            path: self.to_string(),
            expected,
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = self.within {
            within.fmt(f)?;
        }
        match self.step {
            Step::Field(field) if self.within.is_none() => f.write_str(field),
            Step::Field(field) => write!(f, ".{field}"),
            Step::Key(key) => write!(f, "[{key:?}]"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

const SPEC: At<'static> = At::top("spec");

/// Checks everything that the planner relies on.
pub(super) fn check(pod: &Value) -> Result<(), Fault> {
    object(pod, &At::top("pod"))?;
    object(&pod["spec"], &SPEC)?;
    let metadata = At::top("metadata");
    optional_object(&pod["metadata"], &metadata)?;
    for field in ["annotations", "labels"] {
        strings_by_key(&pod["metadata"][field], &metadata.field(field))?;
    }
    let mut names = BTreeSet::new();
    for list in CONTAINER_LISTS {
        let at = SPEC.field(list);
        for (index, container) in objects(&pod["spec"][list], &at)?.iter().enumerate() {
            let at = at.index(index);
            if !names.insert(name(container, &at)?) {
                let name = at.field("name");
                return Err(name.fault("a name that no other container has"));
            }
            for place in &commands::PLACES {
                if let Some(command) = place.command(container) {
                    strings(command, &at.field(&place.path()))?;
                }
            }
            check_container(container, &at)?;
            let devices = at.field("volumeDevices");
            objects(&container["volumeDevices"], &devices)?;
        }
    }
    if pod["spec"]["containers"]
        .as_array()
        .is_none_or(Vec::is_empty)
    {
        return Err(SPEC.field("containers").fault("at least one container"));
    }
    unique(&pod["spec"]["volumes"], "name", &SPEC.field("volumes"))?;
    let secrets = SPEC.field("imagePullSecrets");
    objects(&pod["spec"]["imagePullSecrets"], &secrets)?;
    Ok(())
}

/// Checks ephemeral containers, which only their own requests touch.
pub(super) fn check_ephemeral(pod: &Value) -> Result<(), Fault> {
    let at = SPEC.field("ephemeralContainers");
    unique(&pod["spec"]["ephemeralContainers"], "name", &at)?;
    for (index, container) in entries(&pod["spec"], "ephemeralContainers").enumerate() {
        check_container(container, &at.index(index))?;
    }
    Ok(())
}

/// Checks what all kinds of containers have.
fn check_container(container: &Value, at: &At<'_>) -> Result<(), Fault> {
    for field in ["command", "args"] {
        strings(&container[field], &at.field(field))?;
    }
    let mounts = at.field("volumeMounts");
    unique(&container["volumeMounts"], "mountPath", &mounts)
}

fn object(value: &Value, at: &At<'_>) -> Result<(), Fault> {
    if value.is_object() {
        Ok(())
    } else {
        Err(at.fault("an object"))
    }
}

fn optional_object(value: &Value, at: &At<'_>) -> Result<(), Fault> {
    if value.is_null() {
        Ok(())
    } else {
        object(value, at)
    }
}

fn strings_by_key(value: &Value, at: &At<'_>) -> Result<(), Fault> {
    optional_object(value, at)?;
    match value
        .as_object()
        .into_iter()
        .flatten()
        .find(|(_, value)| !value.is_string())
    {
        Some((key, _)) => Err(at.step(Step::Key(key)).fault("a string")),
        None => Ok(()),
    }
}

fn list<'v>(value: &'v Value, at: &At<'_>) -> Result<&'v [Value], Fault> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(at.fault("a list")),
    }
}

fn objects<'v>(value: &'v Value, at: &At<'_>) -> Result<&'v [Value], Fault> {
    let items = list(value, at)?;
    for (index, item) in items.iter().enumerate() {
        object(item, &at.index(index))?;
    }
    Ok(items)
}

fn strings(value: &Value, at: &At<'_>) -> Result<(), Fault> {
    match list(value, at)?.iter().position(|item| !item.is_string()) {
        Some(index) => Err(at.index(index).fault("a string")),
        None => Ok(()),
    }
}

fn name<'v>(value: &'v Value, at: &At<'_>) -> Result<&'v str, Fault> {
    match value["name"].as_str() {
        Some(name) if !name.is_empty() => Ok(name),
        _ => Err(at.field("name").fault("a name")),
    }
}

fn unique(value: &Value, key: &'static str, at: &At<'_>) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    for (index, item) in objects(value, at)?.iter().enumerate() {
        let at = at.index(index);
        let at = at.field(key);
        match item[key].as_str() {
            None => return Err(at.fault("a string")),
            Some(text) if !seen.insert(text) => {
                return Err(at.fault("a value that no other entry has"));
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
