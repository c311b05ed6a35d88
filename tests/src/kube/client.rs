//! kubectl, as a person uses it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// kubectl with a kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
}

/// What a command answered.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// Whether it exited with 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Kubectl {
    pub(super) fn new(binary: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { binary, kubeconfig }
    }

    /// Runs kubectl with these arguments and standard input.
    ///
    /// # Panics
    /// When it cannot be started at all.
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(&self.binary)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            // Discovery is cached on disk otherwise: tests would share it.
            .env("KUBECACHEDIR", self.kubeconfig.with_extension("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("piped");
        // A command that does not read its input has closed it: no fault.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("kubectl ends");
        Output {
            command: format!("kubectl {}", arguments.join(" ")),
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Applies an object (server-side dry run if asked) and returns it as the
    /// API server answers.
    ///
    /// # Panics
    /// When the API server refuses.
    pub fn apply(&self, object: &Value, dry_run: bool) -> Value {
        let dry_run = if dry_run {
            "--dry-run=server"
        } else {
            "--dry-run=none"
        };
        self.run(
            &["apply", "-f", "-", "-o", "json", dry_run],
            &object.to_string(),
        )
        .expect_success()
        .json()
    }

    /// Gets an object, if it exists.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let output = self.run(&["get", kind, name, "-n", namespace, "-o", "json"], "");
        output.success.then(|| output.json())
    }
}

impl Output {
    /// This output, of a command that must not fail.
    ///
    /// # Panics
    /// When the command failed; the message shows its error.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.success, "{} failed: {}", self.command, self.stderr);
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error} in: {}", self.command, self.stdout))
    }
}
