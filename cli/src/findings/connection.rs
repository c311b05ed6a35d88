//! HTTP over TLS to the replica that leads: by port forwarding of the API server, as `kubectl
//! port-forward` does it, or to an address.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use picket_events::relay::READER_PATH;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Fault;
use super::cluster::{Access, Installation};

/// Port of the relay in the operator's pods.
const PORT: u16 = 8444;
/// Service of the relay: its certificate has this name.
const SERVICE: &str = "picket-relay";
/// How long the way to an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest line, in bytes: several times the largest finding.
const LONGEST: usize = 1 << 20;
/// Largest text of a refusal, in bytes.
const SMALL: usize = 4 * 1024;

/// Where the relay is.
pub(super) enum Place<'a> {
    /// In this pod, which is reached through the API server.
    Pod(String),
    /// At this address.
    Address(&'a str),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Findings, a line each.
pub(super) struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    driver: JoinHandle<()>,
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Asks for findings, and with `follow` for those that come.
pub(super) async fn open(
    installation: &Installation,
    place: Place<'_>,
    access: &Access,
    follow: bool,
) -> Result<Lines, Fault> {
    let namespace = installation.namespace.as_str();
    let host = format!("{SERVICE}.{namespace}.svc");
    let ask = async {
        let stream = connect(installation, &place).await?;
        let name = ServerName::try_from(host.clone())
            .map_err(|error| Fault::Untrusted(error.to_string()))?;
        let tls = TlsConnector::from(configuration(&access.trust)?);
        let stream = tls.connect(name, stream).await.map_err(untrusted)?;
        ask(stream, &host, access, follow).await
    };
    timeout(PATIENCE, ask)
        .await
        .map_err(|_| Fault::Unreachable(format!("{place} does not answer in time")))?
}

async fn connect(installation: &Installation, place: &Place<'_>) -> Result<Box<dyn Stream>, Fault> {
    match place {
        Place::Address(address) => {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| Fault::Unreachable(format!("{address}: {error}")))?;
            Ok(Box::new(stream))
        }
        Place::Pod(pod) => {
            let pods: Api<Pod> =
                Api::namespaced(installation.client.clone(), &installation.namespace);
            let mut forwarder = pods.portforward(pod, &[PORT]).await.map_err(|error| {
                let what = format!("pod {pod} in namespace {}", installation.namespace);
                match installation.fault(error, what, "create and get on pods/portforward there") {
                    // It led a moment ago: another one does by now, or soon.
                    Fault::OperatorMissing { what } => {
                        Fault::NoLeader(format!("{what} led, and is gone"))
                    }
                    fault => fault,
                }
            })?;
            let stream = forwarder.take_stream(PORT);
            Ok(Box::new(stream.ok_or_else(|| {
                Fault::Unreachable(format!("port {PORT} of pod {pod} is not forwarded"))
            })?))
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pod(pod) => write!(f, "pod {pod}"),
            Self::Address(address) => f.write_str(address),
        }
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    access: &Access,
    follow: bool,
) -> Result<Lines, Fault> {
    let unreachable = |error: hyper::Error| Fault::Unreachable(error.to_string());
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    let driver = tokio::spawn(async move {
        // Whoever reads the body is told of the same error.
        let _ = connection.await;
    });
    let request = Request::get(format!("{READER_PATH}?follow={follow}"))
        .header(HOST, host)
        .header(AUTHORIZATION, format!("Bearer {}", access.token))
        .body(Empty::<Bytes>::new())
        .map_err(|error| Fault::Unreachable(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(unreachable)?;
    match answer.status() {
        StatusCode::OK => Ok(Lines {
            body: answer.into_body(),
            buffer: Vec::new(),
            driver,
        }),
        status => {
            let body = Limited::new(answer.into_body(), SMALL).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let text = String::from_utf8_lossy(&body).trim().to_owned();
            Err(match status {
                StatusCode::SERVICE_UNAVAILABLE => Fault::NoLeader(text),
                status => Fault::Refused(format!("{status}: {text}")),
            })
        }
    }
}

fn configuration(trust: &[u8]) -> Result<Arc<ClientConfig>, Fault> {
    let untrusted = |error: &dyn std::fmt::Display| Fault::Untrusted(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust) {
        let certificate = certificate.map_err(|error| untrusted(&error))?;
        roots.add(certificate).map_err(|error| untrusted(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let configuration = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| untrusted(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(configuration))
}

/// A TLS connection that did not come about: by a certificate, or because nobody answered.
fn untrusted(error: io::Error) -> Fault {
    let is_tls = error
        .get_ref()
        .is_some_and(|source| source.is::<rustls::Error>());
    match is_tls {
        true => Fault::Untrusted(error.to_string()),
        false => Fault::Unreachable(error.to_string()),
    }
}

impl Lines {
    /// The next line without its end; `None` when there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Fault> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.buffer.len() > LONGEST {
                return Err(Fault::Unreachable("a line without an end".to_owned()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(Fault::Unreachable(error.to_string())),
            }
        }
    }
}
