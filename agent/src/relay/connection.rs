//! HTTP/1.1 over TLS to one server, with limits on time and size.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::access::{Access, AccessError};

/// How long a connection may take to come about, by part.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest answer that nobody expects, in bytes: a refusal's text.
const SMALL: usize = 4 * 1024;

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The token cannot be read.
    #[error("cannot read the token for the relay: {0}")]
    Token(#[source] std::io::Error),
    /// Nobody is there, or it is not whom we trust.
    #[error("cannot connect to the relay: {0}")]
    Connect(#[source] std::io::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The connection broke.
    #[error("the connection to the relay broke: {0}")]
    Broken(String),
    /// It took too long.
    #[error("the relay did not answer in time")]
    TooSlow,
    /// It said no.
    #[error("the relay refused ({status}): {reason}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// What it said.
        reason: String,
    },
    /// It said something else than agreed.
    #[error("the relay's answer is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// A connection to the relay.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    host: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What is asked.
#[derive(Debug)]
pub struct Ask {
    /// How.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// JSON, or nothing.
    pub body: Vec<u8>,
    /// Largest answer, in bytes.
    pub largest: usize,
    /// How long the answer may take.
    pub patience: Duration,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`RelayError`] when that does not come about in time.
    pub async fn open(access: &Access) -> Result<Self, RelayError> {
        let tls = TlsConnector::from(access.tls()?);
        let connect = async {
            let stream = TcpStream::connect(&access.address).await?;
            stream.set_nodelay(true)?;
            tls.connect(access.host.clone(), stream).await
        };
        let stream = timeout(CONNECT, connect)
            .await
            .map_err(|_| RelayError::TooSlow)?
            .map_err(RelayError::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| RelayError::Broken(error.to_string()))?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told of the same error.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            driver,
            host: access.address.clone(),
        })
    }

    /// Whether it has ended, as one does that nothing was asked on for a minute.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Asks; gives the answer's body, which is empty for 204.
    ///
    /// # Errors
    /// [`RelayError`]; the connection is of no use then.
    pub async fn ask(&mut self, ask: Ask, access: &Access) -> Result<Bytes, RelayError> {
        // Read anew each time: kubelet replaces it.
        let token = access.token().map_err(RelayError::Token)?;
        let request = Request::builder()
            .method(ask.method)
            .uri(&ask.path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(ask.body)))
            .map_err(|error| RelayError::Broken(error.to_string()))?;
        let answer = async {
            let broken = |error: hyper::Error| RelayError::Broken(error.to_string());
            self.sender.ready().await.map_err(broken)?;
            let answer = self.sender.send_request(request).await.map_err(broken)?;
            let status = answer.status();
            let largest = match status.is_success() {
                true => ask.largest,
                false => SMALL,
            };
            let body = Limited::new(answer.into_body(), largest)
                .collect()
                .await
                .map_err(|error| RelayError::Broken(error.to_string()))?
                .to_bytes();
            match status.is_success() {
                true => Ok(body),
                false => Err(RelayError::Refused {
                    status,
                    reason: String::from_utf8_lossy(&body).trim().to_owned(),
                }),
            }
        };
        timeout(ask.patience, answer)
            .await
            .map_err(|_| RelayError::TooSlow)?
    }
}
