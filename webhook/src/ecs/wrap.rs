//! How the tracer is put before what a container runs, and how everything is taken out again.

use picket_crds::{AGENT_CONTAINER, MOUNT_PATH, ProtectionPolicySpec, SETUP_CONTAINER, VOLUME};
use serde_json::{Map, Value, json};

use super::list;
use crate::glob;
use crate::plan::argv::overriding;
use crate::reason::Reason;
use crate::settings::Settings;

/// The label that says how many words of the command were the entry point.
const ENTRY_POINT_LABEL: &str = "picket.dev/entry-point";

fn words(value: &Value) -> Vec<String> {
    let words = value.as_array().into_iter().flatten();
    words
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

fn tracer() -> String {
    format!("{MOUNT_PATH}/picket-tracer")
}

/// Puts the tracer before what a container runs.
pub(super) fn trace(
    container: &mut Value,
    name: &str,
    settings: &Settings,
    spec: &ProtectionPolicySpec,
) -> Result<(), Reason> {
    let named = |globs: &[String]| globs.iter().any(|pattern| glob::matches(pattern, name));
    if named(&spec.containers.exclude) {
        return Err(Reason::Excluded);
    }
    if !spec.containers.include.is_empty() && !named(&spec.containers.include) {
        return Err(Reason::NotIncluded);
    }
    let mounts = container["mountPoints"].as_array().into_iter().flatten();
    if mounts
        .filter_map(|mount| mount["containerPath"].as_str())
        .any(|path| path == MOUNT_PATH || path.starts_with(&format!("{MOUNT_PATH}/")))
    {
        return Err(Reason::MountConflict);
    }
    let entry_point = words(&container["entryPoint"]);
    let command = words(&container["command"]);
    let (run, own_entry_point) = if entry_point.is_empty() {
        let image = container["image"].as_str().unwrap_or_default();
        let known = overriding(&spec.entrypoint.overrides, name, image)
            .ok_or(Reason::EntrypointUnresolved)?;
        let rest = if command.is_empty() {
            &known.cmd
        } else {
            &command
        };
        ([known.entrypoint.as_slice(), rest].concat(), 0)
    } else {
        (
            [entry_point.as_slice(), &command].concat(),
            entry_point.len(),
        )
    };
    if run.is_empty() {
        return Err(Reason::NoEntrypoint);
    }
    let label = if own_entry_point > 0 {
        own_entry_point.to_string()
    } else {
        // The image's own words are in front of the container's.
        format!("image {}", run.len() - command.len())
    };
    container["entryPoint"] = json!([
        tracer(),
        "trace",
        "--container",
        name,
        "--interest",
        settings.interest,
        "--"
    ]);
    container["command"] = run.into();
    container["dockerLabels"][ENTRY_POINT_LABEL] = label.into();
    list(container, "mountPoints")
        .push(json!({"sourceVolume": VOLUME, "containerPath": MOUNT_PATH, "readOnly": true}));
    list(container, "dependsOn")
        .push(json!({"containerName": SETUP_CONTAINER, "condition": "SUCCESS"}));
    Ok(())
}

/// Takes everything of ours out of a checked task definition.
pub(super) fn strip(task: &mut Value) {
    let is_ours = |container: &Value| {
        [SETUP_CONTAINER, AGENT_CONTAINER]
            .iter()
            .any(|name| container["name"] == *name)
    };
    retain(task, "containerDefinitions", |container| {
        !is_ours(container)
    });
    retain(task, "volumes", |volume| volume["name"] != VOLUME);
    for container in task["containerDefinitions"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        retain(container, "mountPoints", |mount| {
            mount["sourceVolume"] != VOLUME
        });
        retain(container, "dependsOn", |other| {
            other["containerName"] != SETUP_CONTAINER
        });
        let entry_point = words(&container["entryPoint"]);
        if entry_point.first() != Some(&tracer()) {
            continue;
        }
        let run = words(&container["command"]);
        let label = container["dockerLabels"][ENTRY_POINT_LABEL]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let (own, rest) = match label.strip_prefix("image ") {
            Some(length) => (
                &[][..],
                run.get(length.parse().unwrap_or(0)..).unwrap_or_default(),
            ),
            None => {
                let length = label.parse().unwrap_or(run.len()).min(run.len());
                run.split_at(length)
            }
        };
        for (field, words) in [("entryPoint", own), ("command", rest)] {
            if words.is_empty() {
                remove(container, field);
            } else {
                container[field] = words.into();
            }
        }
        if let Some(Value::Object(labels)) = container.get_mut("dockerLabels") {
            labels.shift_remove(ENTRY_POINT_LABEL);
            if labels.is_empty() {
                remove(container, "dockerLabels");
            }
        }
    }
}

/// Keeps entries; a list that becomes empty by that goes too.
pub(super) fn retain(parent: &mut Value, field: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(Value::Array(items)) = parent.get_mut(field) {
        let before = items.len();
        items.retain(keep);
        if items.is_empty() && before > 0 {
            remove(parent, field);
        }
    }
}

pub(super) fn remove(parent: &mut Value, field: &str) {
    parent
        .as_object_mut()
        .and_then(|map: &mut Map<String, Value>| map.shift_remove(field));
}
