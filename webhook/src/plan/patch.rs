//! The difference between a pod and the injected pod, as few operations on small places.
//!
//! Lists of named things (containers, volumes, mounts) are compared entry by entry by name:
//! an entry of the user's is never replaced, only the fields in it that are ours.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation};
use picket_crds::{AGENT_CONTAINER, MOUNT_PATH, SETUP_CONTAINER, VOLUME};
use serde_json::{Map, Value};

/// A place in the pod. Most places are the same on both sides, so a pointer is only made where an
/// operation needs one.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    token: &'a str,
}

impl Place<'_> {
    const ROOT: Place<'static> = Place {
        parent: None,
        token: "",
    };

    fn under<'a>(&'a self, token: &'a str) -> Place<'a> {
        Place {
            parent: Some(self),
            token,
        }
    }

    fn pointer(&self) -> PointerBuf {
        let mut pointer = match self.parent {
            Some(parent) => parent.pointer(),
            None => return PointerBuf::root(),
        };
        pointer.push_back(self.token);
        pointer
    }
}

/// Operations that turn `from` into `to`.
pub(super) fn difference(from: &Value, to: Value) -> Vec<PatchOperation> {
    let mut operations = Vec::new();
    compare(&Place::ROOT, from, to, &mut operations);
    operations
}

/// Whether two values are equal. Nearly all that are have their keys in the same order too, and
/// need no look-up by key then.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|((key, left), (other, right))| key == other && same(left, right))
                || left == right
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        _ => left == right,
    }
}

/// What is added is moved out of `to`, not copied.
fn compare(place: &Place<'_>, from: &Value, to: Value, operations: &mut Vec<PatchOperation>) {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => compare_objects(place, from, to, operations),
        (Value::Array(from), Value::Array(to)) if key_of(place.token).is_some() => {
            let key = key_of(place.token).unwrap_or("name");
            compare_lists(place, key, from, to, operations);
        }
        (from, to) if same(from, &to) => {}
        (_, value) => operations.push(PatchOperation::Replace(ReplaceOperation {
            path: place.pointer(),
            value,
        })),
    }
}

fn compare_objects(
    place: &Place<'_>,
    from: &Map<String, Value>,
    to: Map<String, Value>,
    operations: &mut Vec<PatchOperation>,
) {
    // The planner works on a copy and adds at the end, so the keys of both mostly stand side by
    // side.
    if from.len() <= to.len() && from.keys().zip(to.keys()).all(|(old, new)| old == new) {
        let mut added = to.into_iter();
        for ((key, old), (_, value)) in from.iter().zip(added.by_ref()) {
            compare(&place.under(key), old, value, operations);
        }
        operations.extend(added.map(|(key, value)| add(place, &key, value)));
        return;
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        operations.push(remove(place, key));
    }
    for (key, value) in to {
        match from.get(&key) {
            Some(old) => compare(&place.under(&key), old, value, operations),
            None => operations.push(add(place, &key, value)),
        }
    }
}

fn compare_lists(
    place: &Place<'_>,
    key: &str,
    from: &[Value],
    to: Vec<Value>,
    operations: &mut Vec<PatchOperation>,
) {
    let name = |item: &Value| item[key].as_str().unwrap_or_default().to_owned();
    let from_names: Vec<String> = from.iter().map(name).collect();
    let wanted: Vec<String> = to.iter().map(name).collect();
    let mut kept: Vec<usize> = (0..from.len())
        .filter(|index| wanted.contains(&from_names[*index]))
        .collect();
    if !in_order(kept.iter().map(|index| &from_names[*index]), &wanted) {
        // Another webhook moved something of ours: take ours out and put it back where it
        // belongs. The user's entries are in order, because the planner never moves them.
        kept.retain(|index| !is_ours(&from_names[*index]));
    }
    let is_kept = |name: &String| kept.iter().any(|index| from_names[*index] == *name);
    for (index, name) in from_names.iter().enumerate().rev() {
        if !is_kept(name) {
            operations.push(remove(place, &index.to_string()));
        }
    }
    let mut kept = kept.into_iter().peekable();
    for (index, item) in to.into_iter().enumerate() {
        let token = index.to_string();
        match kept.next_if(|old| from_names[*old] == wanted[index]) {
            Some(old) => {
                compare(&place.under(&token), &from[old], item, operations);
            }
            None => operations.push(add(place, &token, item)),
        }
    }
}

fn in_order<'a>(names: impl Iterator<Item = &'a String>, wanted: &[String]) -> bool {
    let mut wanted = wanted.iter();
    let mut names = names;
    names.all(|name| wanted.any(|candidate| candidate == name))
}

fn is_ours(name: &str) -> bool {
    [SETUP_CONTAINER, AGENT_CONTAINER, VOLUME, MOUNT_PATH].contains(&name)
}

/// The field by which entries of a list are told apart, for the lists that we add to.
fn key_of(list: &str) -> Option<&'static str> {
    match list {
        "initContainers"
        | "containers"
        | "ephemeralContainers"
        | "volumes"
        | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        _ => None,
    }
}

fn add(place: &Place<'_>, token: &str, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path: child(place, token),
        value,
    })
}

fn remove(place: &Place<'_>, token: &str) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation {
        path: child(place, token),
    })
}

fn child(place: &Place<'_>, token: &str) -> PointerBuf {
    let mut path = place.pointer();
    path.push_back(token);
    path
}
