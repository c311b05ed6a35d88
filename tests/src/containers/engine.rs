//! The container engine: podman, with a configuration and a storage of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::ContainersError;

/// podman as `scripts/containers.sh` has set it up for the tests.
#[derive(Debug, Clone)]
pub struct Engine {
    configuration: PathBuf,
    storage: PathBuf,
}

impl Engine {
    /// Finds the set-up: `CONTAINERS_CONF` and `CONTAINERS_STORAGE_CONF`, or
    /// where the scripts put it.
    ///
    /// # Errors
    /// When it is not there; the message says how to get it.
    pub fn open() -> Result<Self, ContainersError> {
        let from_environment = |name| std::env::var_os(name).map(PathBuf::from);
        let folder = crate::cache().join("containers");
        let engine = Self {
            configuration: from_environment("CONTAINERS_CONF")
                .unwrap_or_else(|| folder.join("containers.conf")),
            storage: from_environment("CONTAINERS_STORAGE_CONF")
                .unwrap_or_else(|| folder.join("storage.conf")),
        };
        for file in [&engine.configuration, &engine.storage] {
            if !file.is_file() {
                return Err(ContainersError::NotSetUp(file.clone()));
            }
        }
        Ok(engine)
    }

    /// Runs podman to its end, whatever that is.
    ///
    /// # Errors
    /// When podman cannot be started.
    pub fn output<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Output, ContainersError> {
        self.command(arguments)
            .output()
            .map_err(ContainersError::io("starting podman"))
    }

    /// Runs podman and gives its standard output, without the line end.
    ///
    /// # Errors
    /// When podman cannot be started or fails; with what it said.
    pub fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Result<String, ContainersError> {
        let output = self.output(arguments)?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned())
        } else {
            Err(ContainersError::Engine {
                command: line(arguments),
                message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            })
        }
    }

    /// Starts podman and leaves it running.
    ///
    /// # Errors
    /// When podman cannot be started.
    pub fn spawn<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Child, ContainersError> {
        self.command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(ContainersError::io("starting podman"))
    }

    /// Starts a process that removes the pod and the folder as soon as its
    /// standard input ends, which it does when this process does, however.
    pub(super) fn remove_when_we_are_gone(
        &self,
        pod: &str,
        folder: &Path,
    ) -> Result<Child, ContainersError> {
        const SCRIPT: &str = r#"
            trap '' INT TERM HUP
            cat >/dev/null
            podman pod rm --force --ignore --time=0 "$1" >/dev/null && rm -rf "$2"
        "#;
        Command::new("sh")
            .args(["-c", SCRIPT, "reaper", pod])
            .arg(folder)
            .env("CONTAINERS_CONF", &self.configuration)
            .env("CONTAINERS_STORAGE_CONF", &self.storage)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(ContainersError::io("starting the reaper"))
    }

    fn command<S: AsRef<str>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new("podman");
        command
            .args(arguments.iter().map(AsRef::as_ref))
            .env("CONTAINERS_CONF", &self.configuration)
            .env("CONTAINERS_STORAGE_CONF", &self.storage)
            .stdin(Stdio::null());
        command
    }
}

fn line<S: AsRef<str>>(arguments: &[S]) -> String {
    arguments
        .iter()
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(" ")
}
