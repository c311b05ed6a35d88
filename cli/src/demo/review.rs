//! Asks the webhook about a pod as a real API server does: an AdmissionReview over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// What can go wrong on the way to an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewError {
    /// No connection, or it broke.
    #[error("webhook: {0}")]
    Connection(#[from] std::io::Error),
    /// The certificate was not the one the CA vouches for, or TLS failed otherwise.
    #[error("webhook TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// HTTP failed.
    #[error("webhook HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The answer is not what an API server would accept.
    #[error("webhook answered {0}")]
    Answer(String),
}

/// The webhook's answer: the pod as it would be stored, and what was said about it.
#[derive(Debug)]
pub(super) struct Reviewed {
    /// The pod after the patch.
    pub(super) pod: Value,
    /// Number of patch operations.
    pub(super) operations: usize,
    /// Admission warnings.
    pub(super) warnings: Vec<String>,
}

/// Sends the pod through the webhook and applies the patch.
///
/// # Errors
/// Any answer that an API server would not accept.
pub(super) async fn review(
    webhook: SocketAddr,
    server_name: &str,
    authority: CertificateDer<'static>,
    pod: &Value,
) -> Result<Reviewed, ReviewError> {
    let request = request(pod);
    let answer = post(webhook, server_name, authority, &request).await?;
    let response = &answer["response"];
    if response["uid"] != request["request"]["uid"] {
        return Err(ReviewError::Answer(format!("a foreign uid: {answer}")));
    }
    if response["allowed"] != true {
        return Err(ReviewError::Answer(format!(
            "a refusal: {}",
            response["status"]["message"]
        )));
    }
    let warnings = (response["warnings"].as_array().into_iter().flatten())
        .filter_map(|warning| warning.as_str().map(str::to_owned))
        .collect();
    let mut reviewed = pod.clone();
    let mut operations = 0;
    if let Some(encoded) = response["patch"].as_str() {
        let malformed = |_| ReviewError::Answer(format!("a malformed patch: {encoded}"));
        let patch = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|_| ReviewError::Answer("a patch that is not base64".into()))?;
        let patch: json_patch::Patch = serde_json::from_slice(&patch).map_err(malformed)?;
        operations = patch.0.len();
        json_patch::patch(&mut reviewed, &patch)
            .map_err(|error| ReviewError::Answer(format!("a patch that does not fit: {error}")))?;
    }
    Ok(Reviewed {
        pod: reviewed,
        operations,
        warnings,
    })
}

/// The review that an API server sends when a ReplicaSet makes a pod.
fn request(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "4c7a3f0e-5f51-4b5e-9b39-0d2a8f1c6e11",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": pod["metadata"]["namespace"],
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "groups": ["system:serviceaccounts", "system:authenticated"],
            },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    })
}

async fn post(
    webhook: SocketAddr,
    server_name: &str,
    authority: CertificateDer<'static>,
    body: &Value,
) -> Result<Value, ReviewError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority)?;
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(server_name.to_owned()).map_err(std::io::Error::other)?;
    let stream = TcpStream::connect(webhook).await?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::post("/mutate?timeout=5s")
        .header("Host", server_name)
        .header("Content-Type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|error| ReviewError::Answer(error.to_string()))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    connection.abort();
    match serde_json::from_slice(&bytes) {
        Ok(answer) if status.is_success() => Ok(answer),
        _ => Err(ReviewError::Answer(format!(
            "{status}: {}",
            String::from_utf8_lossy(&bytes)
        ))),
    }
}
