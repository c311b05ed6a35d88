//! The simplest of HTTPS servers, for mocks that an API server speaks to: one request on each
//! connection, each answered in a thread of its own, until the test process ends.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;

use super::PATIENCE;

/// A request, as far as mocks look at it.
pub(super) struct Request {
    /// Path and query.
    pub(super) target: String,
    /// Body.
    pub(super) body: Vec<u8>,
}

/// What is answered.
pub(super) struct Answer {
    /// For example `200 OK`.
    pub(super) status: &'static str,
    /// JSON, or a few words.
    pub(super) body: String,
}

/// The name under which an API server looks for an aggregated server, wherever its Service leads.
const SERVICE: &str = "metrics.kube-system.svc";

/// A server that runs until the test process ends.
pub(super) struct Served {
    /// Its port on the loopback address.
    pub(super) port: u16,
    /// Its certificate, in PEM: for `127.0.0.1`, and for [`SERVICE`].
    pub(super) certificate: String,
}

/// A free port, and TLS for it.
pub(super) struct Listening {
    pub(super) listener: TcpListener,
    pub(super) tls: Arc<rustls::ServerConfig>,
    /// As [`Served::port`] and [`Served::certificate`] say.
    pub(super) served: Served,
}

/// Listens on a free port with a certificate of its own.
///
/// # Panics
/// When there is no port or no certificate.
pub(super) fn listen() -> Listening {
    listen_at(&Ipv4Addr::LOCALHOST.to_string())
}

fn listen_at(address: &str) -> Listening {
    let key = rcgen::KeyPair::generate().expect("key");
    let names = vec![Ipv4Addr::LOCALHOST.to_string(), SERVICE.to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .and_then(|parameters| parameters.self_signed(&key))
        .expect("certificate");
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], der)
        .expect("certificate");
    let listener = TcpListener::bind((address, 0)).expect("port");
    let port = listener.local_addr().expect("address").port();
    Listening {
        listener,
        tls: Arc::new(tls),
        served: Served {
            port,
            certificate: certificate.pem(),
        },
    }
}

/// Serves on a free port. What `answer` did is done before its client hears of it.
///
/// # Panics
/// When there is no port or no certificate.
pub(super) fn serve(answer: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Served {
    serve_at(&Ipv4Addr::LOCALHOST.to_string(), answer)
}

/// The same at an address of this machine.
///
/// # Panics
/// As [`serve`].
pub(super) fn serve_at(
    address: &str,
    answer: impl Fn(Request) -> Answer + Send + Sync + 'static,
) -> Served {
    let Listening {
        listener,
        tls,
        served,
    } = listen_at(address);
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (tls, answer) = (Arc::clone(&tls), Arc::clone(&answer));
            // A client that has gone away is no fault of the test.
            std::thread::spawn(move || attend(socket, tls, &*answer));
        }
    });
    served
}

/// Answers one request and closes the connection; `None` when the client went away before.
fn attend(
    socket: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    answer: &dyn Fn(Request) -> Answer,
) -> Option<()> {
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let connection = rustls::ServerConnection::new(tls).ok()?;
    let mut stream = BufReader::new(rustls::StreamOwned::new(connection, socket));
    let Answer { status, body } = answer(read(&mut stream)?);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    let stream = stream.get_mut();
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}

fn read(stream: &mut impl BufRead) -> Option<Request> {
    let mut first = String::new();
    stream.read_line(&mut first).ok()?;
    let target = first.split(' ').nth(1)?.to_owned();
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
    Some(Request { target, body })
}

/// An address of this machine that others could reach: endpoints must not be on loopback.
///
/// # Panics
/// When it has none.
pub(super) fn own_address() -> String {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("a socket");
    // Nothing is sent: the system only says which address it would send from.
    socket
        .connect(("198.51.100.1", 9))
        .expect("this machine has no IPv4 route, so it has no address for an EndpointSlice");
    socket.local_addr().expect("an address").ip().to_string()
}
