//! The difference between a pod and the injected pod, as few operations on small places.
//!
//! Lists of named things (containers, volumes, mounts) are compared entry by entry by name:
//! an entry of the user's is never replaced, only the fields in it that are ours.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation};
use picket_crds::{AGENT_CONTAINER, MOUNT_PATH, SETUP_CONTAINER, VOLUME};
use serde_json::{Map, Value};

/// Operations that turn `from` into `to`.
pub(super) fn difference(from: &Value, to: &Value) -> Vec<PatchOperation> {
    let mut operations = Vec::new();
    compare(&PointerBuf::root(), from, to, &mut operations);
    operations
}

fn compare(path: &PointerBuf, from: &Value, to: &Value, operations: &mut Vec<PatchOperation>) {
    match (from, to) {
        _ if from == to => {}
        (Value::Object(from), Value::Object(to)) => compare_objects(path, from, to, operations),
        (Value::Array(from), Value::Array(to)) if key_of(path).is_some() => {
            compare_lists(path, key_of(path).unwrap_or("name"), from, to, operations);
        }
        _ => operations.push(PatchOperation::Replace(ReplaceOperation {
            path: path.clone(),
            value: to.clone(),
        })),
    }
}

fn compare_objects(
    path: &PointerBuf,
    from: &Map<String, Value>,
    to: &Map<String, Value>,
    operations: &mut Vec<PatchOperation>,
) {
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        operations.push(remove(path, key));
    }
    for (key, value) in to {
        match from.get(key) {
            Some(old) => compare(&child(path, key), old, value, operations),
            None => operations.push(add(path, key, value)),
        }
    }
}

fn compare_lists(
    path: &PointerBuf,
    key: &str,
    from: &[Value],
    to: &[Value],
    operations: &mut Vec<PatchOperation>,
) {
    let name = |item: &Value| item[key].as_str().unwrap_or_default().to_owned();
    let wanted: Vec<String> = to.iter().map(name).collect();
    let mut kept: Vec<&Value> = from
        .iter()
        .filter(|item| wanted.contains(&name(item)))
        .collect();
    if !in_order(kept.iter().map(|item| name(item)), &wanted) {
        // Another webhook moved something of ours: take ours out and put it back where it
        // belongs. The user's entries are in order, because the planner never moves them.
        kept.retain(|item| !is_ours(&name(item)));
    }
    let kept_names: Vec<String> = kept.iter().map(|item| name(item)).collect();
    for (index, item) in from.iter().enumerate().rev() {
        if !kept_names.contains(&name(item)) {
            operations.push(remove(path, &index.to_string()));
        }
    }
    let mut kept = kept.into_iter().peekable();
    for (index, item) in to.iter().enumerate() {
        match kept.next_if(|old| name(old) == name(item)) {
            Some(old) => compare(&child(path, &index.to_string()), old, item, operations),
            None => operations.push(add(path, &index.to_string(), item)),
        }
    }
}

fn in_order(names: impl Iterator<Item = String>, wanted: &[String]) -> bool {
    let mut wanted = wanted.iter();
    let mut names = names;
    names.all(|name| wanted.any(|candidate| *candidate == name))
}

fn is_ours(name: &str) -> bool {
    [SETUP_CONTAINER, AGENT_CONTAINER, VOLUME, MOUNT_PATH].contains(&name)
}

/// The field by which entries of a list are told apart, for the lists that we add to.
fn key_of(path: &PointerBuf) -> Option<&'static str> {
    match path.last()?.decoded().as_ref() {
        "initContainers"
        | "containers"
        | "ephemeralContainers"
        | "volumes"
        | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        _ => None,
    }
}

fn child(path: &PointerBuf, token: &str) -> PointerBuf {
    let mut path = path.clone();
    path.push_back(token);
    path
}

fn add(path: &PointerBuf, token: &str, value: &Value) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path: child(path, token),
        value: value.clone(),
    })
}

fn remove(path: &PointerBuf, token: &str) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation {
        path: child(path, token),
    })
}
