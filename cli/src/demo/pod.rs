//! Makes the demo's pod as a cluster would have made it by the time a webhook is asked.

use serde_json::{Value, json};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The pod that the Deployment's ReplicaSet would create, after the ServiceAccount admission
/// plugin: no name yet, only `generateName`, and the projected token mounted everywhere.
///
/// `port` replaces the one in the manifest, because a local process shares the host's network.
pub(super) fn from_deployment(deployment: &Value, port: u16) -> Value {
    let name = &deployment["metadata"]["name"];
    let template = &deployment["spec"]["template"];
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": template["metadata"],
        "spec": template["spec"],
    });
    pod["metadata"]["generateName"] =
        json!(format!("{}-6d5f7c9b8-", name.as_str().unwrap_or("pod")));
    pod["metadata"]["namespace"] = deployment["metadata"]["namespace"].clone();
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
        "blockOwnerDeletion": true, "uid": "0b9c6a1e-64d1-4f35-8d0c-5c7f6f0f9a11",
        "name": format!("{}-6d5f7c9b8", name.as_str().unwrap_or("pod")),
    }]);
    push(
        &mut pod["spec"]["volumes"],
        json!({
            "name": "kube-api-access-x2x7k",
            "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]}},
            ]},
        }),
    );
    for container in pod["spec"]["containers"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        push(
            &mut container["volumeMounts"],
            json!({
                "name": "kube-api-access-x2x7k", "mountPath": ACCOUNT, "readOnly": true,
            }),
        );
        for variable in container["env"].as_array_mut().into_iter().flatten() {
            if variable["name"] == "PORT" {
                variable["value"] = json!(port.to_string());
            }
        }
    }
    pod
}

/// What the API server and the scheduler fill in after admission.
pub(super) fn stored(mut pod: Value) -> Value {
    let prefix = pod["metadata"]["generateName"]
        .as_str()
        .unwrap_or("pod-")
        .to_owned();
    pod["metadata"]["name"] = json!(format!("{prefix}x2x7k"));
    pod["metadata"]["uid"] = json!("9a4e5b7c-2d61-4c43-a3f4-8b8f0d8a7c20");
    pod["spec"]["nodeName"] = json!("fargate-ip-10-0-1-23.eu-central-1.compute.internal");
    pod
}

fn push(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(item),
        None => *list = json!([item]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_has_no_name_before_admission_and_one_after() {
        let deployment = json!({
            "metadata": {"name": "shop", "namespace": "s"},
            "spec": {"template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [
                {"name": "shop", "env": [{"name": "PORT", "value": "8080"}]},
            ]}}},
        });
        let pod = from_deployment(&deployment, 4711);
        assert!(pod["metadata"].get("name").is_none());
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["value"], "4711");
        assert_eq!(
            pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
            ACCOUNT
        );
        assert_eq!(stored(pod)["metadata"]["name"], "shop-6d5f7c9b8-x2x7k");
    }
}
