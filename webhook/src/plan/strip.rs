//! Takes our own additions out of a pod: the first half of planning an injected pod anew, and
//! all of `picket uninject`.

use picket_crds::{
    AGENT_CONTAINER, MOUNT_PATH, SETUP_CONTAINER, TOKEN_VOLUME, VOLUME, annotations,
};
use serde_json::{Map, Value};

use super::commands;
use super::shape::CONTAINER_LISTS;
use super::wrapper;
use crate::reason::Reason;
use crate::status::{ContainerStatus, Status};

/// The pod as it was before injection: same meaning, same order. `None` when nothing of ours
/// is in it. Pull secrets that the annotation says were appended go too.
pub fn uninjected(pod: &Value) -> Option<Value> {
    super::shape::check(pod).ok()?;
    let status = Status::of(pod);
    let mut original = pod.clone();
    strip(&mut original).ok()?;
    if let Some(status) = status {
        retain(&mut original["spec"], "imagePullSecrets", |secret| {
            !status
                .image_pull_secrets
                .iter()
                .any(|added| secret["name"] == added.as_str())
        });
    }
    Some(original).filter(|original| original != pod)
}

/// Takes our containers, volume, mounts, annotation and tracer out of a well-shaped pod. Pull
/// secrets stay.
///
/// A pod counts as injected when it has our annotation or our setup container; without these,
/// names like ours are the user's own and a conflict.
///
/// # Errors
/// [`Reason::NameConflict`] or [`Reason::VolumeConflict`].
pub(super) fn strip(pod: &mut Value) -> Result<(), Reason> {
    let status = Status::of(pod);
    let injected = pod["metadata"]["annotations"]
        .get(annotations::STATUS)
        .is_some()
        || entries(&pod["spec"], "initContainers")
            .any(|container| container["name"] == SETUP_CONTAINER);
    for list in CONTAINER_LISTS {
        if injected {
            retain(&mut pod["spec"], list, |container| !is_ours(container));
        } else if entries(&pod["spec"], list).any(is_ours) {
            return Err(Reason::NameConflict);
        }
        for container in pod["spec"]
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if injected {
                retain(container, "volumeMounts", |mount| !is_our_mount(mount));
            }
            commands::unwrap(container);
            unwrap(container, status.as_ref());
        }
    }
    if entries(&pod["spec"], "containers").next().is_none() {
        return Err(Reason::NameConflict);
    }
    if status
        .as_ref()
        .is_some_and(|status| status.share_process_namespace)
    {
        remove(&mut pod["spec"], "shareProcessNamespace");
    }
    if injected {
        retain(&mut pod["spec"], "volumes", |volume| {
            let shared = volume["name"] == VOLUME && volume["emptyDir"].is_object();
            let token = volume["name"] == TOKEN_VOLUME && volume["projected"].is_object();
            !shared && !token
        });
        if let Some(Value::Object(map)) = pod["metadata"].get_mut("annotations") {
            map.shift_remove(annotations::STATUS);
            if map.is_empty() {
                remove(&mut pod["metadata"], "annotations");
                if pod["metadata"].as_object().is_some_and(Map::is_empty) {
                    remove(pod, "metadata");
                }
            }
        }
    }
    let mounts = CONTAINER_LISTS
        .into_iter()
        .flat_map(|list| entries(&pod["spec"], list));
    let mounts = mounts.flat_map(|container| entries(container, "volumeMounts"));
    if mounts
        .chain(entries(&pod["spec"], "volumes"))
        .any(|named| named["name"] == VOLUME || named["name"] == TOKEN_VOLUME)
    {
        return Err(Reason::VolumeConflict);
    }
    Ok(())
}

fn unwrap(container: &mut Value, status: Option<&Status>) {
    let recorded = status.and_then(|status| status.container(container["name"].as_str()?));
    if let Some(own) = wrapper::unwrap(container, recorded) {
        unpin(container, recorded);
        for (field, words) in [("command", own.command), ("args", own.args)] {
            match words {
                Some(words) => container[field] = words.into(),
                None => remove(container, field),
            }
        }
    }
}

/// Takes the digest off an image reference to which we appended it.
fn unpin(container: &mut Value, recorded: Option<&ContainerStatus>) {
    let Some(ContainerStatus {
        image: Some(digest),
        pinned: true,
        ..
    }) = recorded
    else {
        return;
    };
    let image = container["image"].as_str().unwrap_or_default();
    if let Some(own) = image
        .strip_suffix(digest.as_str())
        .and_then(|image| image.strip_suffix('@'))
    {
        container["image"] = own.into();
    }
}

fn is_ours(container: &Value) -> bool {
    container["name"] == SETUP_CONTAINER || container["name"] == AGENT_CONTAINER
}

fn is_our_mount(mount: &Value) -> bool {
    (mount["name"] == VOLUME && mount["mountPath"] == MOUNT_PATH) || mount["name"] == TOKEN_VOLUME
}

/// The entries of a list that may be missing.
pub(super) fn entries<'a>(
    parent: &'a Value,
    field: &str,
) -> impl Iterator<Item = &'a Value> + use<'a> {
    parent[field].as_array().into_iter().flatten()
}

/// Keeps entries; a list that becomes empty by that goes too.
fn retain(parent: &mut Value, field: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(Value::Array(items)) = parent.get_mut(field) {
        let before = items.len();
        items.retain(keep);
        if items.is_empty() && before > 0 {
            remove(parent, field);
        }
    }
}

fn remove(parent: &mut Value, field: &str) {
    // `remove` would put the last key in its place.
    parent
        .as_object_mut()
        .and_then(|map: &mut Map<String, Value>| map.shift_remove(field));
}
