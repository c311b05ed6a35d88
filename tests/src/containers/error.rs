//! What can go wrong with a pod in real containers.

use std::path::PathBuf;
use std::time::Duration;

/// Why a pod could not be run, or not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ContainersError {
    /// The container engine was never configured on this machine.
    #[error(
        "{0} is not there: run `make test-tools images test-images` (or `make test`, which does all of it)"
    )]
    NotSetUp(PathBuf),
    /// The container engine refused.
    #[error("podman {command}: {message}")]
    Engine {
        /// The arguments that podman was called with.
        command: String,
        /// What it wrote to standard error.
        message: String,
    },
    /// A file or process of the harness itself.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The manifest is not a pod.
    #[error("not a pod: {0}")]
    NotAPod(#[from] serde_json::Error),
    /// A field that this harness does not act on, and must not ignore.
    #[error("{0}: not supported by the container harness")]
    Unsupported(String),
    /// A reference to something that the surroundings of the pod do not have.
    #[error("{0}: no such thing in the pod's surroundings")]
    Unresolved(String),
    /// As kubelet: a container that must not run as root would.
    #[error("container {0}: runAsNonRoot is set, and it would run as root")]
    WouldRunAsRoot(String),
    /// An init container failed, so the pod's containers never start.
    #[error("init container {container} ended with code {code}: {logs}")]
    InitFailed {
        /// Name in the manifest.
        container: String,
        /// Its exit code.
        code: i32,
        /// What it wrote.
        logs: String,
    },
    /// Something awaited did not come.
    #[error("{what} did not come within {limit:?}; so far: {so_far}")]
    TimedOut {
        /// What was awaited.
        what: String,
        /// How long.
        limit: Duration,
        /// What there was at the end.
        so_far: String,
    },
}

impl ContainersError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
