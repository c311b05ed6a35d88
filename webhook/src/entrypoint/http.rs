//! HTTP with limits: one short session for each look-up, a connection for each host in it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::guard::Guard;
use super::keychain::BoxFuture;
use super::url::{Origin, Url};
use super::{Cause, Unresolved};

/// How long one address may take when there are others to try.
const CONNECT_ONE: Duration = Duration::from_millis(800);
/// How long the last address may take.
const CONNECT_LAST: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// What answers may take in memory while they are read, all together, in KiB.
const ROOM: usize = 32 << 10;
/// Answers up to this length, in KiB, are read without asking for room.
const SMALL: usize = 64;
/// Room for the head of an answer.
const MAX_HEAD: usize = 32 << 10;

const AGENT: &str = concat!("picket/", env!("CARGO_PKG_VERSION"));

/// What an answer is asked with.
type Sender = SendRequest<Full<Bytes>>;

/// An answer, as far as it was read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Given back with the body.
    _room: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// A header's text; nothing when it is absent or no text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What all sessions share.
#[derive(Debug)]
pub struct Http {
    guard: Guard,
    tls: Arc<ClientConfig>,
    names: Arc<dyn Names>,
    room: Arc<Semaphore>,
    requests: AtomicU64,
}

/// Turns names into addresses.
pub trait Names: fmt::Debug + Send + Sync + 'static {
    /// The addresses of a host, the best first.
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's own name service.
#[derive(Debug)]
struct SystemNames;

impl Names for SystemNames {
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

impl Http {
    /// Trusts the authorities that browsers trust, and these (DER); of those `of_system` what is
    /// understood.
    ///
    /// # Errors
    /// When the crypto provider refuses, or one of `authorities` is no certificate.
    pub fn new(
        guard: Guard,
        authorities: impl IntoIterator<Item = CertificateDer<'static>>,
        of_system: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        for authority in authorities {
            roots.add(authority)?;
        }
        roots.add_parsable_certificates(of_system);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            guard,
            tls: tls.into(),
            names: Arc::new(SystemNames),
            room: Arc::new(Semaphore::new(ROOM)),
            requests: AtomicU64::new(0),
        })
    }

    /// Asks these for addresses instead of the system.
    pub fn with_names(mut self, names: impl Names) -> Self {
        self.names = Arc::new(names);
        self
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Requests that were sent so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn session(self: &Arc<Self>) -> Session {
        Session {
            http: Arc::clone(self),
            connections: HashMap::new(),
        }
    }

    async fn connect(&self, origin: &Origin) -> Result<Sender, Unresolved> {
        let stream = self.dial(origin).await?;
        if !origin.tls {
            return handshake(stream).await;
        }
        let untrusted = |error: &dyn fmt::Display| {
            Unresolved::new(
                Cause::UntrustedTls,
                format!("{}: {error}", origin.authority()),
            )
        };
        let name = origin
            .host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(name).map_err(|error| untrusted(&error))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        match connector.connect(name, stream).await {
            Ok(stream) => handshake(stream).await,
            Err(error)
                if error
                    .get_ref()
                    .is_some_and(|inner| inner.is::<rustls::Error>()) =>
            {
                Err(untrusted(&error))
            }
            Err(error) => Err(unreachable(&origin.authority(), &error)),
        }
    }

    /// Connects to an address that was checked: what is checked is what is connected to.
    async fn dial(&self, origin: &Origin) -> Result<TcpStream, Unresolved> {
        let authority = origin.authority();
        let host = origin.host.trim_start_matches('[').trim_end_matches(']');
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = self.names.addresses(host).await;
                found.map_err(|error| unreachable(&authority, &error))?
            }
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in found.into_iter().take(2 * MAX_ADDRESSES) {
            match self.guard.check(address) {
                Ok(()) => allowed.push(SocketAddr::new(address, origin.port)),
                Err(kind) => refused = Some((address, kind)),
            }
        }
        allowed.truncate(MAX_ADDRESSES);
        if let (true, Some((address, kind))) = (allowed.is_empty(), refused) {
            let detail = format!("{authority} is {address}, an address {kind}");
            return Err(Unresolved::new(Cause::AddressRefused, detail));
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let count = allowed.len();
        for (index, address) in allowed.into_iter().enumerate() {
            let patience = if index + 1 == count {
                CONNECT_LAST
            } else {
                CONNECT_ONE
            };
            match timeout(patience, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // A small request should not wait for a larger one.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
            }
        }
        Err(unreachable(&authority, &last))
    }
}

fn unreachable(authority: &str, error: &dyn fmt::Display) -> Unresolved {
    Unresolved::new(Cause::Unreachable, format!("{authority}: {error}"))
}

async fn handshake<S>(stream: S) -> Result<Sender, Unresolved>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(100)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Unresolved::new(Cause::Unreachable, error.to_string()))?;
    // Ends with the session, whose senders are the only ones.
    tokio::spawn(async move {
        // What goes wrong here is told to whoever waits for the answer.
        let _ = connection.await;
    });
    Ok(sender)
}

/// The connections of one look-up.
pub(super) struct Session {
    http: Arc<Http>,
    connections: HashMap<Origin, Sender>,
}

impl Session {
    pub(super) fn guard(&self) -> &Guard {
        &self.http.guard
    }

    /// Sends a request and reads at most `limit` bytes of the answer. Follows nothing.
    ///
    /// # Errors
    /// [`Unresolved`]: unreachable, refused, too large, broken.
    pub(super) async fn send(
        &mut self,
        method: Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        limit: usize,
    ) -> Result<Answer, Unresolved> {
        let broken = |error: &dyn fmt::Display| {
            Unresolved::new(Cause::InvalidAnswer, format!("{url}: {error}"))
        };
        let mut open = self.connections.remove(&url.origin);
        if let Some(sender) = &mut open
            && sender.ready().await.is_err()
        {
            open = None;
        }
        let mut sender = match open {
            Some(sender) => sender,
            None => self.http.connect(&url.origin).await?,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(&url.path)
            .header(HOST, url.origin.authority())
            .header(USER_AGENT, AGENT);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| broken(&error))?;
        self.http.requests.fetch_add(1, Ordering::Relaxed);
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| Unresolved::new(Cause::Unreachable, format!("{url}: {error}")))?;
        let (head, body) = answer.into_parts();
        let room = self.room(limit).await;
        let body = match Limited::new(body, limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let detail = format!("{url}: more than {limit} bytes");
                return Err(Unresolved::new(Cause::TooLarge, detail));
            }
            Err(error) => return Err(broken(&error)),
        };
        self.connections.insert(url.origin.clone(), sender);
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            _room: room,
        })
    }

    /// Waits until there is room for an answer of this length.
    async fn room(&self, limit: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = limit.div_ceil(1024).min(ROOM);
        if wanted <= SMALL {
            return None;
        }
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        // Never closed, so there is always an answer.
        Arc::clone(&self.http.room)
            .acquire_many_owned(wanted)
            .await
            .ok()
    }
}
