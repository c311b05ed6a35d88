//! Whether the agent is well, over a Unix socket of its own: no port that could clash.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::closer::Closer;
use crate::server::{Server, Shared, Socket};

/// Connections that may have left something to close; until it is less, nobody is answered.
const LEFT_BEHIND: usize = 16;
/// How long the pipeline may keep the answer waiting.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer that is read.
const MAX_ANSWER: u64 = 4096;

/// Why the agent is not well.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Nobody answers.
    #[error("the agent does not answer at {path}: {error}")]
    NoAnswer {
        /// The health socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It says that it is not well.
    #[error("{0}")]
    NotReady(String),
}

/// The health socket that belongs to an agent's socket: `health.sock` beside it.
pub fn socket_beside(socket: &Path) -> PathBuf {
    socket.with_file_name("health.sock")
}

/// Asks an agent how it is; gives its one-line answer.
///
/// # Errors
/// [`HealthError`] when it does not answer in time or is not well.
pub fn ask(path: &Path, limit: Duration) -> Result<String, HealthError> {
    let no_answer = |error| HealthError::NoAnswer {
        path: path.to_owned(),
        error,
    };
    let stream = UnixStream::connect(path).map_err(no_answer)?;
    stream.set_read_timeout(Some(limit)).map_err(no_answer)?;
    let mut answer = String::new();
    stream
        .take(MAX_ANSWER)
        .read_to_string(&mut answer)
        .map_err(no_answer)?;
    let line = answer.lines().next().unwrap_or("no answer").to_owned();
    if line == "ok" || line.starts_with("ok ") {
        Ok(line)
    } else {
        Err(HealthError::NotReady(line))
    }
}

/// Answers at a health socket.
pub struct Responder {
    serving: Arc<OnceLock<Arc<Shared>>>,
    task: JoinHandle<()>,
}

impl Responder {
    /// Starts to answer, with `starting` at first.
    pub fn start(socket: Socket) -> Self {
        let serving = Arc::new(OnceLock::new());
        let task = tokio::spawn(respond(socket, Arc::clone(&serving)));
        Self { serving, task }
    }

    /// From now on, answers for this server.
    pub fn watch(&self, server: &Server) {
        // A responder watches one server; a second call changes nothing.
        let _ = self.serving.set(Arc::clone(server.shared()));
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder").finish_non_exhaustive()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn respond(socket: Socket, serving: Arc<OnceLock<Arc<Shared>>>) {
    let closer = Closer::new();
    loop {
        // Root of a container can reach this socket, too.
        while closer.waiting() >= LEFT_BEHIND {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let Ok((mut stream, _)) = socket.listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let line = match serving.get() {
            None => "starting: rules are not loaded yet\n".to_owned(),
            Some(shared) => match shared.status(PATIENCE).await {
                Some(status) => well(&status),
                None => "stuck: events are not taken in\n".to_owned(),
            },
        };
        // Who asked may be gone.
        let _ = timeout(PATIENCE, stream.write_all(line.as_bytes())).await;
        closer.end(stream);
    }
}

fn well(status: &serde_json::Value) -> String {
    let containers = status["containers"].as_array().map_or(0, Vec::len);
    format!(
        "ok rules={} refused={} containers={containers} events={} findings={}\n",
        status["rules"], status["rules_refused"], status["events"], status["findings"],
    )
}
