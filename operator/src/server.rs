//! The two HTTP servers: the webhook over TLS, health and metrics in clear.
//!
//! Both take a listener that is already bound, so that callers choose the port
//! (tests and the demo let the system choose) and a port in use is an error
//! before anything starts.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Version, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::task::JoinHandle;

use crate::certificates::ServingCertificate;

/// How often an HTTP/2 peer must answer a ping.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Why a server could not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The listener cannot be used.
    #[error("cannot serve on the listening socket: {0}")]
    Listener(#[source] io::Error),
    /// TLS cannot be set up with the process's crypto provider.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The server stopped by itself.
    #[error("the server on {address} stopped: {source}")]
    Stopped {
        /// Where it listened.
        address: SocketAddr,
        /// Why it stopped.
        source: io::Error,
    },
}

/// The webhook's server: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2.
pub struct WebhookServer;

impl WebhookServer {
    /// Serves `app` over TLS on `listener` with whatever `certificate` holds at
    /// the time of each handshake. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError::Listener`], or [`ServerError::Tls`].
    pub fn start(
        listener: TcpListener,
        app: Router,
        certificate: Arc<ServingCertificate>,
    ) -> Result<RunningServer, ServerError> {
        let address = prepare(&listener)?;
        let acceptor = {
            let configuration =
                RustlsConfig::from_config(Arc::new(tls_configuration(certificate)?));
            RustlsAcceptor::new(configuration).acceptor(NoDelayAcceptor::new())
        };
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(listener)
            .map_err(ServerError::Listener)?
            .acceptor(acceptor)
            .handle(handle.clone());
        limit(server.http_builder());
        let ending = Arc::<AtomicBool>::default();
        let app = app.layer(from_fn_with_state(Arc::clone(&ending), say_good_bye));
        let task = tokio::spawn(server.serve(app.into_make_service()));
        Ok(RunningServer {
            address,
            handle,
            ending,
            task,
        })
    }
}

/// The server for health and metrics, in clear.
pub struct HealthServer;

impl HealthServer {
    /// Serves `app` on `listener`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError::Listener`].
    pub fn start(listener: TcpListener, app: Router) -> Result<RunningServer, ServerError> {
        let address = prepare(&listener)?;
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(listener)
            .map_err(ServerError::Listener)?
            .handle(handle.clone());
        limit(server.http_builder());
        let task = tokio::spawn(server.serve(app.into_make_service()));
        Ok(RunningServer {
            address,
            handle,
            ending: Arc::default(),
            task,
        })
    }
}

/// A server that runs until it is drained; dropping this value does not stop
/// it.
#[derive(Debug)]
pub struct RunningServer {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
    ending: Arc<AtomicBool>,
    task: JoinHandle<io::Result<()>>,
}

impl RunningServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server stops by itself, which it should not, and says
    /// why it did.
    pub async fn stopped(&mut self) -> ServerError {
        let result = (&mut self.task).await;
        self.outcome(result)
            .err()
            .unwrap_or_else(|| self.error(io::Error::other("nobody asked it to")))
    }

    /// Goes on answering, but asks whoever keeps a connection over HTTP/1.1 to end it: API servers
    /// call webhooks that way, and do not try again when a connection that they use is closed under
    /// them.
    pub fn end_soon(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Takes no new connections, lets requests in flight finish for at most
    /// `grace`, then closes what is left.
    ///
    /// # Errors
    /// [`ServerError::Stopped`] if the server had failed before.
    pub async fn drain(mut self, grace: Duration) -> Result<(), ServerError> {
        self.handle.graceful_shutdown(Some(grace));
        let result = (&mut self.task).await;
        self.outcome(result)
    }

    fn outcome(
        &self,
        result: Result<io::Result<()>, tokio::task::JoinError>,
    ) -> Result<(), ServerError> {
        result
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> ServerError {
        ServerError::Stopped {
            address: self.address,
            source,
        }
    }
}

/// Adds `Connection: close` to answers over HTTP/1 once the server is about to end.
async fn say_good_bye(
    State(ending): State<Arc<AtomicBool>>,
    request: Request,
    next: Next,
) -> Response {
    let keeps = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if keeps && ending.load(Ordering::Relaxed) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

pub(crate) fn prepare(listener: &TcpListener) -> Result<SocketAddr, ServerError> {
    listener
        .set_nonblocking(true)
        .map_err(ServerError::Listener)?;
    listener.local_addr().map_err(ServerError::Listener)
}

/// Ends connections whose peer is gone or sends nothing: they would add up.
/// hyper has such limits but enforces none without a timer.
fn limit(http: &mut Builder<TokioExecutor>) {
    http.http1().timer(TokioTimer::new());
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL));
}

/// TLS 1.2 and 1.3 with whatever `certificate` holds at the time of each handshake.
pub(crate) fn tls_configuration(
    certificate: Arc<ServingCertificate>,
) -> Result<rustls::ServerConfig, ServerError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut configuration = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(configuration)
}
