//! The messages of `admission.k8s.io/v1`.
//!
//! Our own types: kube's response writes the patch as a list of numbers where the API server
//! expects base64.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::PatchOperation;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::slim;
use crate::sessions::User;

/// The API version of every message here.
pub const API_VERSION: &str = "admission.k8s.io/v1";
/// The kind of every message here.
pub const KIND: &str = "AdmissionReview";

/// A request that is no AdmissionReview.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("malformed AdmissionReview: {path}: {message}")]
pub struct Malformed {
    /// Where in the review, as a JSON path such as `request.uid`; `.` is the whole of it.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an AdmissionReview")]
struct Review {
    api_version: String,
    kind: String,
    request: Request,
}

/// What the API server asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Names this question; the answer repeats it.
    pub uid: String,
    /// The kind of the object.
    pub kind: Kind,
    /// For example `status` or `ephemeralcontainers`.
    #[serde(default)]
    pub sub_resource: Option<String>,
    /// The name; empty with `generateName`.
    #[serde(default)]
    pub name: Option<String>,
    /// The namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// CREATE, UPDATE, DELETE or CONNECT.
    pub operation: String,
    /// The object as it came, without what the planner never looks at.
    #[serde(default, deserialize_with = "slim::object")]
    pub object: Value,
    /// What an update changes, as it is stored; without the same.
    #[serde(default, deserialize_with = "slim::object")]
    pub old_object: Value,
    /// True when nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// Who asks.
    #[serde(default)]
    pub user_info: Caller,
}

/// Who makes a request, as the API server authenticated it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Caller {
    username: Option<String>,
    uid: Option<String>,
    groups: Option<Vec<String>>,
}

/// A group, version and kind.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Kind {
    /// Empty for the core group.
    #[serde(default)]
    pub group: String,
    /// For example `v1`.
    #[serde(default)]
    pub version: String,
    /// For example `Pod`.
    pub kind: String,
}

impl Request {
    /// Reads a review.
    ///
    /// # Errors
    /// [`Malformed`] with the path of the first thing that is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let malformed = |path: &str, message: String| Malformed {
            path: path.to_owned(),
            message,
        };
        let review = match serde_json::from_slice::<Review>(body) {
            Ok(review) => review,
            // To keep track of the path costs time, so only what is malformed is read again.
            Err(_) => {
                let mut deserializer = serde_json::Deserializer::from_slice(body);
                let review = serde_path_to_error::deserialize(&mut deserializer)
                    .map_err(|error| malformed(&place(error.path()), error.inner().to_string()))?;
                deserializer
                    .end()
                    .map_err(|error| malformed(".", error.to_string()))?;
                review
            }
        };
        for (path, found, expected) in [
            ("apiVersion", &review.api_version, API_VERSION),
            ("kind", &review.kind, KIND),
        ] {
            if found != expected {
                return Err(malformed(
                    path,
                    format!("expected {expected:?}, found {found:?}"),
                ));
            }
        }
        if review.request.uid.is_empty() {
            return Err(malformed("request.uid", "must not be empty".into()));
        }
        Ok(review.request)
    }

    /// The namespace of the object; empty when it has none.
    pub fn namespace(&self) -> String {
        self.namespace
            .clone()
            .or_else(|| text(&self.object["metadata"]["namespace"]))
            .unwrap_or_default()
    }

    /// True for the creation of a pod.
    pub fn creates_a_pod(&self) -> bool {
        self.is_of_pod("CREATE", "")
    }

    /// True for adding ephemeral containers to a pod.
    pub fn adds_ephemeral_containers(&self) -> bool {
        self.is_of_pod("UPDATE", "ephemeralcontainers")
    }

    /// True for running a command in a pod.
    pub fn runs_a_command(&self) -> bool {
        self.operation == "CONNECT"
            && self.kind.kind == "PodExecOptions"
            && self.kind.group.is_empty()
            && self.sub_resource.as_deref() == Some("exec")
    }

    /// Who asks; leaves nothing of it behind.
    pub fn take_user(&mut self) -> User {
        let caller = std::mem::take(&mut self.user_info);
        User {
            username: caller.username.unwrap_or_default(),
            uid: caller.uid.unwrap_or_default(),
            groups: caller.groups.unwrap_or_default(),
        }
    }

    fn is_of_pod(&self, operation: &str, sub_resource: &str) -> bool {
        self.operation == operation
            && self.kind.kind == "Pod"
            && self.kind.group.is_empty()
            && self.sub_resource.as_deref().unwrap_or_default() == sub_resource
    }
}

/// A text that is there and not empty.
pub(super) fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// The path of a fault, as far as it is known: a body that ends early ends somewhere in the
/// last thing that was begun.
fn place(path: &serde_path_to_error::Path) -> String {
    match path.to_string().trim_end_matches(['?', '.']) {
        "" => ".".to_owned(),
        known => known.to_owned(),
    }
}

/// What we answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// That of the question.
    pub uid: String,
    /// False refuses the request.
    pub allowed: bool,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Refusal>,
    /// JSON Patch in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// `JSONPatch`, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_type: Option<&'static str>,
    /// Shown to whoever made the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Written to the audit log; the API server puts the webhook's name before the keys.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub audit_annotations: BTreeMap<&'static str, String>,
}

/// Why a request is refused.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// HTTP status that the client gets.
    pub code: u16,
    /// For the person who made the request.
    pub message: String,
}

impl Response {
    /// Allowed, and nothing else.
    pub fn allowed(uid: String) -> Self {
        Self {
            uid,
            allowed: true,
            status: None,
            patch: None,
            patch_type: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
        }
    }

    /// With these operations, if there are any.
    ///
    /// # Errors
    /// When the operations cannot be written as JSON.
    pub fn with_patch(mut self, operations: &[PatchOperation]) -> Result<Self, serde_json::Error> {
        if !operations.is_empty() {
            self.patch = Some(STANDARD.encode(serde_json::to_vec(operations)?));
            self.patch_type = Some("JSONPatch");
        }
        Ok(self)
    }

    /// The review that carries this response.
    pub fn into_review(self) -> ResponseReview {
        ResponseReview {
            api_version: API_VERSION,
            kind: KIND,
            response: self,
        }
    }
}

/// A review that carries a response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseReview {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_their_path() {
        let base = r#""apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview""#;
        for (body, path, message) in [
            ("".to_owned(), ".", "EOF"),
            ("{".to_owned(), ".", "EOF"),
            (format!("{{{base},\"request\":{{"), "request", "EOF"),
            ("[]".to_owned(), ".", "an AdmissionReview"),
            ("7".to_owned(), ".", "an AdmissionReview"),
            (format!("{{{base}}}"), ".", "missing field `request`"),
            (format!("{{{base},\"request\":{{}}}}"), "request", "missing field `uid`"),
            (format!("{{{base},\"request\":{{\"uid\":7}}}}"), "request.uid", "expected a string"),
            (
                format!("{{{base},\"request\":{{\"uid\":\"1\",\"kind\":{{\"kind\":[]}}}}}}"),
                "request.kind.kind",
                "expected a string",
            ),
            (
                format!("{{{base},\"request\":{{\"uid\":\"\",\"kind\":{{\"kind\":\"Pod\"}},\"operation\":\"CREATE\"}}}}"),
                "request.uid",
                "empty",
            ),
            (
                r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"1","kind":{"kind":"Pod"},"operation":"CREATE"}}"#.to_owned(),
                "apiVersion",
                "v1beta1",
            ),
        ] {
            let fault = Request::parse(body.as_bytes()).unwrap_err();
            assert_eq!(fault.path, path, "{body}: {fault}");
            assert!(fault.message.contains(message), "{body}: {fault}");
        }
    }

    #[test]
    fn only_the_creation_of_a_pod_counts() {
        let request = |group: &str, kind: &str, operation: &str, sub: Option<&str>| Request {
            uid: "1".into(),
            kind: Kind {
                group: group.into(),
                version: "v1".into(),
                kind: kind.into(),
            },
            sub_resource: sub.map(str::to_owned),
            name: None,
            namespace: None,
            operation: operation.into(),
            object: Value::Null,
            old_object: Value::Null,
            dry_run: None,
            user_info: Caller::default(),
        };
        assert!(request("", "Pod", "CREATE", None).creates_a_pod());
        assert!(request("", "Pod", "CREATE", Some("")).creates_a_pod());
        assert!(!request("", "Pod", "UPDATE", None).creates_a_pod());
        assert!(!request("", "Pod", "CREATE", Some("binding")).creates_a_pod());
        assert!(!request("example", "Pod", "CREATE", None).creates_a_pod());
        assert!(!request("", "Service", "CREATE", None).creates_a_pod());
    }
}
