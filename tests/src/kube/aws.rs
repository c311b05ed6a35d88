//! What AWS' own mutating webhook does on EKS, as far as Picket can see it: it labels the pods
//! that Fargate will run. It decides before or after Picket's, by the name of its configuration.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use k8s_openapi::ByteString;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

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
        let key = rcgen::KeyPair::generate().expect("key");
        let names = vec![Ipv4Addr::LOCALHOST.to_string()];
        let certificate = rcgen::CertificateParams::new(names)
            .and_then(|parameters| parameters.self_signed(&key))
            .expect("certificate");
        let trust = ByteString(certificate.pem().into_bytes());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("port");
        let port = listener.local_addr().expect("address").port();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        let tls = configuration(certificate.der().clone(), key);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let tls = Arc::clone(&tls);
                std::thread::spawn(move || answer(socket, tls));
            }
        });
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

fn configuration(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let configuration = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("certificate");
    Arc::new(configuration)
}

/// Answers one review and closes the connection.
fn answer(socket: TcpStream, tls: Arc<rustls::ServerConfig>) {
    let Ok(connection) = rustls::ServerConnection::new(tls) else {
        return;
    };
    let mut stream = BufReader::new(rustls::StreamOwned::new(connection, socket));
    let Some(review) = read(&mut stream) else {
        return;
    };
    let labels = &review["request"]["object"]["metadata"]["labels"];
    let mut patch = Vec::new();
    if labels.is_null() {
        patch.push(json!({"op": "add", "path": "/metadata/labels", "value": {}}));
    }
    let label = "/metadata/labels/eks.amazonaws.com~1fargate-profile";
    patch.push(json!({"op": "add", "path": label, "value": "default"}));
    patch.push(json!({"op": "add", "path": "/spec/schedulerName", "value": "fargate-scheduler"}));
    let patch = ByteString(json!(patch).to_string().into_bytes());
    let body = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": patch,
        },
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let stream = stream.get_mut();
    // An API server that has gone away is no fault of this test.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn read(stream: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
