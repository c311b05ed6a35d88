//! The simplest of HTTP clients, to speak to the operator as an API server
//! does and as a stranger might.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::PATIENCE;

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

/// `GET` over HTTP on a port of this machine; `None` when nobody answers.
pub(super) fn get(port: u16, path: &str) -> Option<Response> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    read(&mut socket)
}

/// `POST` of JSON over HTTPS on a port of this machine, trusting only `trust`
/// (PEM).
pub(super) fn post(port: u16, path: &str, body: &str, trust: &[u8]) -> Option<Response> {
    ask(port, ("POST", path), "", body, trust)
}

/// Any request over HTTPS on a port of this machine, with further lines in its head, trusting
/// only `trust` (PEM).
pub(super) fn ask(
    port: u16,
    (method, path): (&str, &str),
    head: &str,
    body: &str,
    trust: &[u8],
) -> Option<Response> {
    let mut stream = connect(port, trust)?;
    let head = format!("Connection: close\r\n{head}");
    // Who refuses a body may have closed before all of it was sent.
    let _ = stream.write_all(request(method, path, &head, body).as_bytes());
    read(&mut stream)
}

/// Posts one body after the other on one connection that nothing asks to be closed; gives the
/// status of each answer if the peer then closes it, and nothing if it stays open.
pub(super) fn until_closed(
    port: u16,
    path: &str,
    head: &str,
    bodies: &[&str],
    trust: &[u8],
) -> Option<Vec<u16>> {
    let mut stream = connect(port, trust)?;
    for body in bodies {
        let _ = stream.write_all(request("POST", path, head, body).as_bytes());
    }
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes)
        && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    {
        return None;
    }
    let text = String::from_utf8_lossy(&bytes);
    let answers = text.split("HTTP/1.1 ").skip(1);
    Some(
        answers
            .filter_map(|answer| answer.get(..3)?.parse().ok())
            .collect(),
    )
}

/// Posts a body so often on one connection, each time after the answer, or until that is not 204: the
/// status of each answer.
pub(super) fn until_refused(
    port: u16,
    path: &str,
    head: &str,
    (body, most): (&str, usize),
    trust: &[u8],
) -> Option<Vec<u16>> {
    const NO_CONTENT: u16 = 204;
    let mut stream = connect(port, trust)?;
    let mut told = Vec::new();
    while told.len() < most && told.last().is_none_or(|status| *status == NO_CONTENT) {
        stream
            .write_all(request("POST", path, head, body).as_bytes())
            .ok()?;
        // The head of the answer, which has no body where there is another after it.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            answer.push(byte[0]);
        }
        let answer = String::from_utf8_lossy(&answer);
        told.push(answer.split(' ').nth(1)?.parse().ok()?);
    }
    Some(told)
}

fn request(method: &str, path: &str, head: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{head}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A connection to a port of this machine, trusting only `trust` (PEM).
fn connect(
    port: u16,
    trust: &[u8],
) -> Option<rustls::StreamOwned<rustls::ClientConnection, TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust) {
        roots.add(certificate.ok()?).ok()?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let configuration = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = Ipv4Addr::LOCALHOST.to_string().try_into().ok()?;
    let connection = rustls::ClientConnection::new(Arc::new(configuration), name).ok()?;
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(rustls::StreamOwned::new(connection, socket))
}

/// Reads a response until the peer closes the connection.
fn read(stream: &mut impl Read) -> Option<Response> {
    let mut bytes = Vec::new();
    // A peer may close TLS without notice once the response is complete.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Response {
        status,
        body: body.to_owned(),
    })
}
