//! Runs the injected pod: init containers, sidecar, application, visitors, and the end.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::kubelet::{self, Image, PodError};
use super::visitor;
use crate::sandbox::{Container, Sandbox, SandboxError};

/// How long a container may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What can go wrong while the pod runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The pod cannot be run here.
    #[error("pod: {0}")]
    Pod(#[from] PodError),
    /// A container cannot be started.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A container ended when it should not have, or the other way round.
    #[error("container {name} {what}; its last output:\n{output}")]
    Container {
        /// Its name.
        name: String,
        /// What it did.
        what: String,
        /// What it printed last.
        output: String,
    },
    /// The application does not answer as it should.
    #[error("the shop does not answer: {0}")]
    Shop(#[from] std::io::Error),
}

/// Where the images' files are on this machine.
#[derive(Debug, Clone)]
pub(super) struct Images {
    /// Name of the sidecar image in the injected pod.
    pub(super) sidecar: String,
    /// `picket-tracer`, static.
    pub(super) tracer: PathBuf,
    /// `picket-agent`, static.
    pub(super) agent: PathBuf,
    /// The demo's application.
    pub(super) shop: PathBuf,
}

impl Images {
    fn find(&self, name: &str) -> Image {
        if name == self.sidecar {
            return Image {
                files: vec![
                    (self.tracer.clone(), "/picket-tracer".into()),
                    (self.agent.clone(), "/picket-agent".into()),
                ],
                userland: false,
            };
        }
        Image {
            files: vec![(self.shop.clone(), "/app/shop".into())],
            userland: true,
        }
    }
}

/// Runs the pod to its end and returns every line that the agent wrote.
///
/// # Errors
/// Anything that keeps the pod from running as a kubelet would run it.
pub(super) fn pod(
    pod: &Value,
    state: &Path,
    images: &Images,
    shop: SocketAddr,
    visit: impl FnOnce(SocketAddr) -> std::io::Result<()>,
) -> Result<Vec<Value>, RunError> {
    let containers = kubelet::containers(pod, state, |name| images.find(name))?;
    let mut sidecars = Vec::new();
    for (container, sidecar) in containers.init {
        let running = Running::start(container)?;
        if sidecar {
            sidecars.push(running);
        } else {
            running.finish(PATIENCE)?.expect_success()?;
        }
    }
    let mut applications = Vec::new();
    for container in containers.main {
        applications.push(Running::start(container)?);
    }
    visitor::wait_until_open(shop)?;
    visit(shop)?;
    // The order in which a kubelet ends a pod: applications, then sidecars in reverse. The
    // agent reads what tracers still send before it closes, so nothing depends on waiting.
    for application in applications {
        application.stop()?;
    }
    let mut lines = Vec::new();
    for sidecar in sidecars.into_iter().rev() {
        lines.extend(sidecar.stop()?.output);
    }
    Ok(lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// A container that runs, and what it has printed.
struct Running {
    container: Container,
    sandbox: Sandbox,
    lines: Receiver<String>,
}

struct Finished {
    name: String,
    status: ExitStatus,
    output: Vec<String>,
}

impl Running {
    fn start(container: Container) -> Result<Self, RunError> {
        let mut sandbox = Sandbox::start(&container)?;
        let (sender, lines) = channel();
        if let Some(output) = sandbox.process.stdout.take() {
            collect(output, sender.clone());
        }
        if let Some(errors) = sandbox.process.stderr.take() {
            collect(errors, sender);
        }
        Ok(Self {
            container,
            sandbox,
            lines,
        })
    }

    fn stop(self) -> Result<Finished, RunError> {
        self.sandbox.terminate();
        self.finish(PATIENCE)
    }

    fn finish(mut self, patience: Duration) -> Result<Finished, RunError> {
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.sandbox.process.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                self.sandbox.process.kill()?;
                let output: Vec<String> = self.lines.try_iter().collect();
                return Err(RunError::Container {
                    name: self.container.name,
                    what: format!("did not end within {} s", patience.as_secs()),
                    output: tail(&output),
                });
            }
            thread::sleep(Duration::from_millis(5));
        };
        // Ends when both pipes are closed.
        let output = self.lines.iter().collect();
        Ok(Finished {
            name: self.container.name,
            status,
            output,
        })
    }
}

impl Finished {
    fn expect_success(self) -> Result<Self, RunError> {
        if self.status.success() {
            return Ok(self);
        }
        let what = format!("ended with {}", self.status);
        Err(RunError::Container {
            name: self.name,
            what,
            output: tail(&self.output),
        })
    }
}

fn collect(pipe: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // The receiver is gone only when the demo has given up.
            let _ = sender.send(line);
        }
    });
}

fn tail(output: &[String]) -> String {
    output[output.len().saturating_sub(20)..].join("\n")
}
