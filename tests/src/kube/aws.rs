//! What AWS' own mutating webhook does on EKS, as far as Picket can see it: it labels the pods
//! that Fargate will run. It decides before or after Picket's, by the name of its configuration.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::served::{Answer, Served, serve};
use super::{ADMISSION_TIMEOUT_SECONDS, ControlPlane};

/// The label of namespaces whose pods Fargate runs.
const ON_FARGATE: &str = "test.picket.dev/fargate";

/// A mutating webhook that labels pods for Fargate.
pub struct FargateWebhook {
    selector: String,
}

impl FargateWebhook {
    /// Starts it and configures it under `prefix` and a name of its own; webhooks are asked in
    /// the order of these names.
    ///
    /// # Panics
    /// When it cannot be started, or the API server refuses its configuration.
    #[must_use]
    pub fn start(control_plane: &ControlPlane, prefix: &str) -> Self {
        let selector = control_plane.namespace("fargate", &[]);
        let Served { port, certificate } = serve(|request| Answer {
            status: "200 OK",
            body: answer(&request.body),
        });
        let trust = ByteString(certificate.into_bytes());
        let name = format!("{prefix}-{selector}");
        control_plane.kubectl().apply(
            &json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": name},
                "webhooks": [{
                    "name": "fargate.eks.example",
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
                    "namespaceSelector": {"matchLabels": {ON_FARGATE: selector}},
                }],
            }),
            false,
        );
        Self { selector }
    }

    /// The label that a namespace needs for its pods to run on Fargate.
    #[must_use]
    pub fn label(&self) -> (&str, &str) {
        (ON_FARGATE, &self.selector)
    }
}

/// Labels the pod of a review.
fn answer(review: &[u8]) -> String {
    let review: Value = serde_json::from_slice(review).unwrap_or_default();
    let labels = &review["request"]["object"]["metadata"]["labels"];
    let mut patch = Vec::new();
    if labels.is_null() {
        patch.push(json!({"op": "add", "path": "/metadata/labels", "value": {}}));
    }
    let label = "/metadata/labels/eks.amazonaws.com~1fargate-profile";
    patch.push(json!({"op": "add", "path": label, "value": "default"}));
    patch.push(json!({"op": "add", "path": "/spec/schedulerName", "value": "fargate-scheduler"}));
    let patch = ByteString(json!(patch).to_string().into_bytes());
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": patch,
        },
    })
    .to_string()
}
