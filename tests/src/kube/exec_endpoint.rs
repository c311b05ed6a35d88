//! A mock of the one thing that an API server asks of kubelet for `kubectl exec`: it takes note of
//! the command that arrives and runs nothing, so kubectl fails. Real commands in real containers
//! are for [`crate::containers`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::PrivateKeyDer;
use serde_json::json;

use super::{ControlPlane, KubeError, PATIENCE};

/// A command as it arrived at kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `namespace/pod/container`.
    pub target: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The other options, such as `tty`.
    pub options: BTreeMap<String, String>,
}

/// A node whose kubelet only listens. It is removed from the cluster with the control plane.
pub struct ExecEndpoint {
    /// Its node's name: pods need it as `spec.nodeName`.
    pub node: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl ExecEndpoint {
    /// Starts it, with a node of its own.
    ///
    /// # Panics
    /// When the port or the node cannot be had.
    #[must_use]
    pub fn start(control_plane: &ControlPlane) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("address").port();
        let node = format!("node-{port}");
        control_plane.kubectl().apply(
            &json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": node},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
                },
            }),
            false,
        );
        let configuration = Arc::new(configuration().expect("a certificate"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (configuration, noted) = (Arc::clone(&configuration), Arc::clone(&noted));
                std::thread::spawn(move || {
                    if let Some(asked) = answer(stream, configuration) {
                        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                        noted.push(asked);
                    }
                });
            }
        });
        Self { node, asked }
    }

    /// What was asked so far about a pod, the first first.
    #[must_use]
    pub fn asked_about(&self, namespace: &str, pod: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let start = format!("{namespace}/{pod}/");
        let about = asked.iter().filter(|one| one.target.starts_with(&start));
        about.cloned().collect()
    }
}

/// API servers do not verify kubelets unless they are told to.
fn configuration() -> Result<rustls::ServerConfig, KubeError> {
    let key = rcgen::KeyPair::generate()?;
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let configuration = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], der)
        });
    Ok(configuration.expect("a usable certificate"))
}

/// Reads a request to its end, refuses it, and says what it asked for.
fn answer(stream: TcpStream, configuration: Arc<rustls::ServerConfig>) -> Option<Asked> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let connection = rustls::ServerConnection::new(configuration).ok()?;
    let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
    let mut first = String::new();
    stream.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        let length = stream.read_line(&mut line).ok()?;
        if length == 0 || line.trim().is_empty() {
            break;
        }
    }
    let body = "nothing runs here";
    let length = body.len();
    let refusal = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let asked = parse(first.split(' ').nth(1)?);
    stream.get_mut().write_all(refusal.as_bytes()).ok()?;
    asked
}

/// From the path and query of a request: `/exec/namespace/pod/container?command=…`.
fn parse(target: &str) -> Option<Asked> {
    let (path, query) = target.split_once('?')?;
    let mut asked = Asked {
        target: path.strip_prefix("/exec/")?.to_owned(),
        command: Vec::new(),
        options: BTreeMap::new(),
    };
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=')?;
        match key {
            "command" => asked.command.push(decoded(value)),
            _ => drop(asked.options.insert(key.to_owned(), decoded(value))),
        }
    }
    Some(asked)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| {
                    let digit = digit.map(char::from)?.to_digit(16)?;
                    u8::try_from(digit).ok()
                });
                match digits {
                    [Some(high), Some(low)] => high << 4 | low,
                    _ => b'%',
                }
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
