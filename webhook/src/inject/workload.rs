//! Where the pods of a manifest are.

use serde_json::Value;

/// A pod or pod template in a manifest.
pub(super) struct Workload<'a> {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// `Kind/name`, unless it is a pod, which nobody controls.
    pub(super) controller: Option<String>,
    pub(super) pod: &'a mut Value,
}

/// API group, kind, and where its pod template is. A pod is its own template.
const KINDS: [(&str, &str, &str); 8] = [
    ("", "Pod", ""),
    ("", "ReplicationController", "/spec/template"),
    ("apps", "Deployment", "/spec/template"),
    ("apps", "StatefulSet", "/spec/template"),
    ("apps", "DaemonSet", "/spec/template"),
    ("apps", "ReplicaSet", "/spec/template"),
    ("batch", "Job", "/spec/template"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template"),
];

/// Hands every workload of an object, or of a list of objects, to `change`. True when one of
/// them returned true.
pub(super) fn each(
    object: &mut Value,
    default_namespace: &str,
    change: &mut dyn FnMut(Workload<'_>) -> bool,
) -> bool {
    let kind = text(&object["kind"]);
    if kind.ends_with("List") {
        let mut changed = false;
        for item in object
            .get_mut("items")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            changed |= each(item, default_namespace, change);
        }
        return changed;
    }
    let api_version = text(&object["apiVersion"]);
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let Some((_, _, path)) = KINDS
        .iter()
        .find(|known| known.0 == group && known.1 == kind)
    else {
        return false;
    };
    let metadata = &object["metadata"];
    let first = |values: [&Value; 2]| values.into_iter().map(text).find(|text| !text.is_empty());
    let name = first([&metadata["name"], &metadata["generateName"]]).unwrap_or_default();
    let namespace = first([&metadata["namespace"], &Value::Null])
        .unwrap_or_else(|| default_namespace.to_owned());
    let controller = (kind != "Pod").then(|| format!("{kind}/{name}"));
    match object.pointer_mut(path) {
        Some(pod) => change(Workload {
            kind,
            namespace,
            name,
            controller,
            pod,
        }),
        None => false,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
