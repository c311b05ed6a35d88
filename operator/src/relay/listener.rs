//! HTTP/1.1 over TLS for as many agents as there are pods: bounded in number, in time, and in
//! what each connection may hold.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::metrics::RelayMetrics;
use crate::certificates::ServingCertificate;
use crate::server::{ServerError, prepare, tls_configuration};

/// Most connections: each agent keeps one.
const CONNECTIONS: usize = 20_000;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, waiting between two requests included: longer than
/// the pause between an agent's requests.
const HEAD: Duration = Duration::from_secs(60);
/// What a connection may hold of a request that is not read yet, in bytes.
const BUFFER: usize = 16 * 1024;
/// Time before another accept after one that failed: out of descriptors, most likely.
const PAUSE: Duration = Duration::from_millis(50);

/// A running listener; dropping it does not stop it.
#[derive(Debug)]
pub struct RelayListener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    turns: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl RelayListener {
    /// Serves `app` over TLS on `listener`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`] when the listener or TLS cannot be used.
    pub fn start(
        listener: TcpListener,
        app: Router,
        certificate: Arc<ServingCertificate>,
        metrics: RelayMetrics,
    ) -> Result<Self, ServerError> {
        let address = prepare(&listener)?;
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(ServerError::Listener)?;
        let mut tls = tls_configuration(certificate)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (stop, stopping) = watch::channel(false);
        let turns = Arc::new(Semaphore::new(CONNECTIONS));
        let serving = Serving {
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            app,
            metrics,
            stopping,
        };
        let task = tokio::spawn(serving.accept(listener, Arc::clone(&turns)));
        Ok(Self {
            address,
            stop,
            turns,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connections, and lets requests under way finish for at most `grace`.
    pub async fn drain(self, grace: Duration) {
        self.stop.send_replace(true);
        // The task ends by itself now.
        let _ = self.task.await;
        let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        if timeout(grace, self.turns.acquire_many(all)).await.is_err() {
            warn!("some connections of the relay did not end in time");
        }
    }
}

/// Waits until everything is to end; whoever could say so may be gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}

#[derive(Clone)]
struct Serving {
    acceptor: TlsAcceptor,
    app: Router,
    metrics: RelayMetrics,
    stopping: watch::Receiver<bool>,
}

impl Serving {
    async fn accept(mut self, listener: tokio::net::TcpListener, turns: Arc<Semaphore>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut self.stopping) => return,
            };
            match (accepted, Arc::clone(&turns).try_acquire_owned()) {
                (Ok((stream, _)), Ok(turn)) => {
                    tokio::spawn(self.clone().serve(stream, turn));
                }
                (Ok(_), Err(_)) => {
                    self.metrics.refused_connections.inc();
                }
                (Err(error), _) => {
                    warn!(%error, "the relay cannot accept");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn serve(mut self, stream: TcpStream, turn: OwnedSemaphorePermit) {
        let _turn = turn;
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        let handshake = timeout(HANDSHAKE, self.acceptor.accept(stream)).await;
        let stream = match handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => stream,
            Err(error) => {
                debug!(%error, "no TLS");
                self.metrics.refused_connections.inc();
                return;
            }
        };
        self.metrics.connections.inc();
        let service = TowerToHyperService::new(self.app);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut self.stopping) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a connection of the relay broke");
        }
        self.metrics.connections.dec();
    }
}
