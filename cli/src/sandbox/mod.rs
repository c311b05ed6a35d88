//! Runs one container of a pod as a local process, without a container engine.
//!
//! A container here is a process in mount and PID name spaces of its own, with a root file
//! system made of the host's programs (read-only), the pod's volumes, and the files that its
//! image would bring. Nothing of the host is changed. As root it needs no user name space; as
//! anybody else it makes one.
//!
//! Three steps, each a process: [`Sandbox::start`] in the caller runs `picket sandbox enter`,
//! which unshares and becomes the waiting parent; its child `picket sandbox init` is process 1
//! of the new PID name space, builds the root and finally *becomes* the container's program.

mod enter;
mod init;
mod root;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};

/// A container to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Container {
    /// Name, for messages.
    pub(crate) name: String,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Working directory in the container.
    pub(crate) working_directory: Option<PathBuf>,
    /// User id to run as.
    pub(crate) uid: u32,
    /// Group id to run as.
    pub(crate) gid: u32,
    /// Whether the host's `/usr`, `/bin`, `/lib` … are there, as in a distribution's image.
    pub(crate) userland: bool,
    /// Whether the root is read-only once the mounts are in place.
    pub(crate) read_only_root: bool,
    /// Volumes and image files.
    pub(crate) mounts: Vec<Mount>,
    /// An empty folder of the caller's on which the root is mounted.
    pub(crate) root: PathBuf,
}

/// A host folder or file that the container sees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// On the host.
    pub(crate) source: PathBuf,
    /// In the container.
    pub(crate) target: PathBuf,
    /// Whether the container may write to it.
    pub(crate) read_only: bool,
}

/// What can go wrong between the specification and the container's program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// A step of the set-up failed.
    #[error("{step}: {source}")]
    Step {
        /// What was tried.
        step: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Name spaces are not to be had.
    #[error(
        "this system does not let us make {what} ({source}); run as root, or allow user name \
         spaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces>0)"
    )]
    NameSpaces {
        /// Which.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
}

trait Step<T> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, SandboxError>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, SandboxError> {
        self.map_err(|error| SandboxError::Step {
            step: step(),
            source: error.into(),
        })
    }
}

/// A running container.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// The process that waits for the container; its exit code is the container's.
    pub(crate) process: Child,
}

impl Sandbox {
    /// Starts the container with its standard output and error on pipes.
    ///
    /// # Errors
    /// Only what keeps the first process from starting; later faults are the exit code 125
    /// and a line on its standard error.
    pub(crate) fn start(container: &Container) -> Result<Self, SandboxError> {
        let specification = container.root.with_extension("json");
        let text = serde_json::to_vec(container).expect("a container is plain data");
        fs::write(&specification, text).step(|| format!("write {}", specification.display()))?;
        let process = Command::new("/proc/self/exe")
            .args(["sandbox", "enter"])
            .arg(&specification)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .step(|| format!("start container {}", container.name))?;
        Ok(Self { process })
    }

    /// Asks the container to end, as a kubelet does first.
    pub(crate) fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.process.id() as i32);
        // It may have ended by itself: then there is nobody to ask.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }
}

/// A container ends with whoever started it: its process 1 is bound to the one killed here.
impl Drop for Sandbox {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Entry of the hidden `picket sandbox` command. Runs before any thread is made.
pub(crate) fn main(stage: &str, specification: &Path) -> ExitCode {
    let result = match (stage, read(specification)) {
        ("enter", Ok(container)) => enter::enter(&container, specification),
        ("init", Ok(container)) => init::init(&container, false).map(|never| match never {}),
        ("init-mapped", Ok(container)) => init::init(&container, true).map(|never| match never {}),
        (_, Ok(_)) => Err(SandboxError::Step {
            step: format!("sandbox stage {stage}"),
            source: std::io::ErrorKind::InvalidInput.into(),
        }),
        (_, Err(error)) => Err(error),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("picket: sandbox: {error}");
            ExitCode::from(125)
        }
    }
}

/// Maps one user and one group into the user name space this process has just made, which
/// needs no privilege outside it.
fn map_ids(inside: (u32, u32), outside: (u32, u32)) -> Result<(), SandboxError> {
    for (path, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        (
            "/proc/self/uid_map",
            format!("{} {} 1", inside.0, outside.0),
        ),
        (
            "/proc/self/gid_map",
            format!("{} {} 1", inside.1, outside.1),
        ),
    ] {
        fs::write(path, text).map_err(|source| SandboxError::NameSpaces {
            what: "a user name space",
            source,
        })?;
    }
    Ok(())
}

fn read(specification: &Path) -> Result<Container, SandboxError> {
    let text = fs::read(specification).step(|| format!("read {}", specification.display()))?;
    serde_json::from_slice(&text)
        .map_err(std::io::Error::from)
        .step(|| format!("parse {}", specification.display()))
}
