//! Mutating webhooks of others: what AWS' own does on EKS, as far as Picket can see it, and what
//! meshes do. They decide before or after Picket's, by the name of their configuration.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::served::{Answer, Served, serve};
use super::{ADMISSION_TIMEOUT_SECONDS, ControlPlane};

/// The label of namespaces whose pods such a webhook is asked about.
const ASKED_ABOUT: &str = "test.picket.dev/other-webhook";

/// A mutating webhook of somebody else.
pub struct OtherWebhook {
    selector: String,
}

impl OtherWebhook {
    /// The one of AWS, which labels pods for Fargate.
    ///
    /// # Panics
    /// As all of them: when it cannot be started, or the API server refuses its configuration.
    #[must_use]
    pub fn of_aws(control_plane: &ControlPlane, prefix: &str) -> Self {
        Self::start(control_plane, prefix, label_for_fargate)
    }

    /// One that adds a container to pods, and an init container before all others, as meshes do.
    ///
    /// # Panics
    /// As [`Self::of_aws`].
    #[must_use]
    pub fn of_a_mesh(control_plane: &ControlPlane, prefix: &str) -> Self {
        Self::start(control_plane, prefix, add_proxy)
    }

    /// Starts it and configures it under `prefix` and a name of its own; webhooks are asked in
    /// the order of these names.
    fn start(control_plane: &ControlPlane, prefix: &str, patch: fn(&Value) -> Vec<Value>) -> Self {
        let selector = control_plane.namespace("other-webhook", &[]);
        let Served { port, certificate } = serve(move |request| Answer {
            status: "200 OK",
            body: answer(&request.body, patch),
        });
        let trust = ByteString(certificate.into_bytes());
        let name = format!("{prefix}-{selector}");
        control_plane.kubectl().apply(
            &json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": name},
                "webhooks": [{
                    "name": "pods.other.example",
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "failurePolicy": "Fail",
                    "reinvocationPolicy": "Never",
                    "timeoutSeconds": ADMISSION_TIMEOUT_SECONDS,
                    "clientConfig": {
                        "url": format!("https://127.0.0.1:{port}/"),
                        "caBundle": trust,
                    },
                    "rules": [{
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                    }],
                    "namespaceSelector": {"matchLabels": {ASKED_ABOUT: selector}},
                }],
            }),
            false,
        );
        Self { selector }
    }

    /// The label that a namespace needs for it to be asked.
    #[must_use]
    pub fn label(&self) -> (&str, &str) {
        (ASKED_ABOUT, &self.selector)
    }
}

/// A review's answer: allowed, with this patch of its pod.
fn answer(review: &[u8], patch: fn(&Value) -> Vec<Value>) -> String {
    let review: Value = serde_json::from_slice(review).unwrap_or_default();
    let patch = json!(patch(&review["request"]["object"]));
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": ByteString(patch.to_string().into_bytes()),
        },
    })
    .to_string()
}

fn label_for_fargate(pod: &Value) -> Vec<Value> {
    let mut patch = Vec::new();
    if pod["metadata"]["labels"].is_null() {
        patch.push(json!({"op": "add", "path": "/metadata/labels", "value": {}}));
    }
    let label = "/metadata/labels/eks.amazonaws.com~1fargate-profile";
    patch.push(json!({"op": "add", "path": label, "value": "default"}));
    patch.push(json!({"op": "add", "path": "/spec/schedulerName", "value": "fargate-scheduler"}));
    patch
}

fn add_proxy(pod: &Value) -> Vec<Value> {
    let mut patch = Vec::new();
    if pod["spec"]["initContainers"].is_null() {
        patch.push(json!({"op": "add", "path": "/spec/initContainers", "value": []}));
    }
    for (list, place, name) in [
        ("initContainers", "0", "mesh-init"),
        ("containers", "-", "mesh-proxy"),
    ] {
        let container = json!({
            "name": name,
            "image": "registry.example/mesh:1",
            "command": [format!("/{name}")],
        });
        let path = format!("/spec/{list}/{place}");
        patch.push(json!({"op": "add", "path": path, "value": container}));
    }
    patch
}
