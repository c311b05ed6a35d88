//! Runs a pod, as an API server returned it, in real containers.
//!
//! podman is driven container by container, in kubelet's order: init
//! containers one after the other, each to its end; native sidecars started in
//! their place among them; then the containers. Unlike `podman kube play` this
//! knows native sidecars (as a container that is started and not waited for),
//! keeps the logs of init containers, and takes every security setting from the
//! manifest.
//!
//! What differs from a node: the pod's network is a loopback interface, or this machine's where
//! the pod is to reach an API server; nothing
//! is restarted by itself ([`RunningPod::start`] does it); of the probes only a
//! sidecar's `startupProbe` with `exec` is run; `sizeLimit` and memory-backed
//! volumes are plain folders; podman adds the user to `/etc/passwd`. A field that cannot be honoured is an error, not
//! ignored.

mod arguments;
mod engine;
mod environment;
mod error;
mod node;
mod volumes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe};
use serde_json::Value;

pub use engine::Engine;
pub use error::ContainersError;
pub use node::Node;
use volumes::Volumes;

/// How often something awaited is looked for.
const INTERVAL: Duration = Duration::from_millis(100);

/// What a pod gets from its cluster and node, beyond its own manifest.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Content of every projected service-account token.
    pub service_account_token: String,
    /// ConfigMaps of the pod's namespace: name → key → value.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// Secrets of the pod's namespace: name → key → value.
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
    /// What `RuntimeDefault` means here.
    pub node: Node,
    /// An API server of this machine that the containers are to reach and find as in a cluster, by
    /// the variables that kubelet gives them. Their network is the machine's then.
    pub api_server: Option<SocketAddr>,
    /// Containers to create and not start, as if their images were still being
    /// pulled; [`RunningPod::start`] starts them.
    pub held_back: Vec<String>,
}

impl Default for Surroundings {
    /// A cluster with nothing in it but what every namespace has.
    fn default() -> Self {
        let certificate = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
        Self {
            service_account_token: "header.claims.signature".to_owned(),
            config_maps: BTreeMap::from([(
                "kube-root-ca.crt".to_owned(),
                BTreeMap::from([("ca.crt".to_owned(), certificate.to_owned())]),
            )]),
            secrets: BTreeMap::new(),
            node: Node::Podman,
            api_server: None,
            held_back: Vec::new(),
        }
    }
}

/// What a container wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// How a command run in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Exit code.
    pub code: i32,
    /// What it wrote.
    pub logs: Logs,
}

/// A pod in containers; removed, volumes and all, when dropped.
#[derive(Debug)]
pub struct RunningPod {
    engine: Engine,
    /// Name of podman's pod, of its own in every run.
    name: String,
    volumes: Volumes,
    /// Removes the pod when this process ends without doing it.
    reaper: Child,
}

impl RunningPod {
    /// Creates the containers of the pod and starts them in kubelet's order.
    ///
    /// # Errors
    /// When the manifest asks for what this harness cannot give, an init
    /// container fails, or podman refuses.
    pub fn run(
        engine: &Engine,
        pod: &Value,
        surroundings: &Surroundings,
    ) -> Result<Self, ContainersError> {
        let pod: Pod = serde_json::from_value(pod.clone())?;
        let Some(spec) = &pod.spec else {
            return Err(ContainersError::Unsupported(
                "a pod without spec".to_owned(),
            ));
        };
        refuse_host_namespaces(spec)?;
        let volumes = Volumes::make(&pod, surroundings)?;
        let given = pod.metadata.name.as_deref().unwrap_or("pod");
        let unique = volumes.unique();
        let name = format!("{given}-{unique}");
        let running = Self {
            engine: engine.clone(),
            reaper: engine.remove_when_we_are_gone(&name, volumes.root())?,
            name,
            volumes,
        };
        let network = match surroundings.api_server {
            Some(_) => "host",
            None => "none",
        };
        running.create_pod(spec, given, network)?;
        for container in spec.init_containers.iter().flatten() {
            running.create(&pod, spec, container, surroundings)?;
            if surroundings.held_back.contains(&container.name) {
                continue;
            }
            running.start(&container.name)?;
            if container.restart_policy.as_deref() == Some("Always") {
                running.await_startup(container)?;
            } else {
                running.await_init(&container.name)?;
            }
        }
        for container in &spec.containers {
            running.create(&pod, spec, container, surroundings)?;
            if !surroundings.held_back.contains(&container.name) {
                running.start(&container.name)?;
            }
        }
        Ok(running)
    }

    /// Starts a container that was held back, or ended; at once, whatever the
    /// order in the manifest.
    ///
    /// # Errors
    /// When podman refuses.
    pub fn start(&self, container: &str) -> Result<(), ContainersError> {
        self.engine
            .run(&["start", &self.full_name(container)])
            .map(drop)
    }

    /// Waits until the container ends; gives its exit code (128 + signal where
    /// a signal ended it).
    ///
    /// # Errors
    /// When it is still running after `limit`.
    pub fn wait(&self, container: &str, limit: Duration) -> Result<i32, ContainersError> {
        let name = self.full_name(container);
        let mut waiting = self.engine.spawn(&["wait", &name])?;
        let deadline = Instant::now() + limit;
        let ended = ContainersError::io("waiting for podman");
        let ended = loop {
            match waiting.try_wait() {
                Err(error) => break Err(ended(error)),
                Ok(Some(_)) => break Ok(true),
                Ok(None) if Instant::now() >= deadline => break Ok(false),
                Ok(None) => std::thread::sleep(INTERVAL / 5),
            }
        };
        if ended? {
            let code = self
                .engine
                .run(&["inspect", "--format={{.State.ExitCode}}", &name])?;
            return code.parse().map_err(|_| ContainersError::Engine {
                command: "inspect".to_owned(),
                message: format!("not an exit code: {code}"),
            });
        }
        // It would go on waiting after us.
        waiting.kill().ok();
        waiting.wait().ok();
        Err(self.timed_out(&format!("the end of {container}"), limit, container))
    }

    /// What the container has written so far.
    ///
    /// # Errors
    /// When podman has no such container.
    pub fn logs(&self, container: &str) -> Result<Logs, ContainersError> {
        let name = self.full_name(container);
        let output = self.engine.output(&["logs", &name])?;
        if output.status.success() {
            Ok(text(&output))
        } else {
            Err(ContainersError::Engine {
                command: format!("logs {name}"),
                message: text(&output).stderr,
            })
        }
    }

    /// Waits for a line of the container's standard output, and gives it.
    ///
    /// # Errors
    /// When none has come after `limit`; with all that was written.
    pub fn wait_for_line(
        &self,
        container: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, ContainersError> {
        let deadline = Instant::now() + limit;
        loop {
            let logs = self.logs(container)?;
            if let Some(line) = logs.stdout.lines().find(|line| wanted(line)) {
                return Ok(line.to_owned());
            }
            if Instant::now() >= deadline {
                return Err(self.timed_out(what, limit, container));
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Runs a command in the container, as `kubectl exec` does.
    ///
    /// # Errors
    /// When the container does not run.
    pub fn exec(&self, container: &str, command: &[&str]) -> Result<Executed, ContainersError> {
        let name = self.full_name(container);
        let mut arguments = vec!["exec", &name];
        arguments.extend(command);
        let output = self.engine.output(&arguments)?;
        // podman's own failures have codes that commands have too.
        if !self.is_running(container)? {
            return Err(ContainersError::Engine {
                command: arguments.join(" "),
                message: text(&output).stderr,
            });
        }
        Ok(Executed {
            code: output.status.code().unwrap_or(-1),
            logs: text(&output),
        })
    }

    /// Sends a signal (`TERM`, `KILL`, `STOP` …) to the container's first process.
    ///
    /// # Errors
    /// When the container does not run.
    pub fn signal(&self, container: &str, signal: &str) -> Result<(), ContainersError> {
        self.engine
            .run(&["kill", "--signal", signal, &self.full_name(container)])
            .map(drop)
    }

    /// Freezes every process of the container: alive, and doing nothing.
    ///
    /// # Errors
    /// When the container does not run.
    pub fn freeze(&self, container: &str) -> Result<(), ContainersError> {
        self.engine
            .run(&["pause", &self.full_name(container)])
            .map(drop)
    }

    /// Lets a frozen container go on.
    ///
    /// # Errors
    /// When the container is not frozen.
    pub fn thaw(&self, container: &str) -> Result<(), ContainersError> {
        self.engine
            .run(&["unpause", &self.full_name(container)])
            .map(drop)
    }

    /// Whether the container runs now (a frozen one does not).
    ///
    /// # Errors
    /// When podman has no such container.
    pub fn is_running(&self, container: &str) -> Result<bool, ContainersError> {
        let name = self.full_name(container);
        self.engine
            .run(&["inspect", "--format={{.State.Status}}", &name])
            .map(|status| status == "running")
    }

    /// Process id, on this machine, of the container's first process.
    ///
    /// # Errors
    /// When podman has no such container.
    pub fn pid(&self, container: &str) -> Result<u32, ContainersError> {
        let name = self.full_name(container);
        let pid = self
            .engine
            .run(&["inspect", "--format={{.State.Pid}}", &name])?;
        pid.parse().map_err(|_| ContainersError::Engine {
            command: "inspect".to_owned(),
            message: format!("not a process id: {pid}"),
        })
    }

    /// Where a volume of the pod is on this machine.
    #[must_use]
    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes.folder(name)
    }

    fn create_pod(
        &self,
        spec: &PodSpec,
        hostname: &str,
        network: &str,
    ) -> Result<(), ContainersError> {
        let mut share = "net,ipc,uts".to_owned();
        if spec.share_process_namespace == Some(true) {
            share.push_str(",pid");
        }
        let hostname = spec.hostname.as_deref().unwrap_or(hostname);
        // As kubelet cuts it.
        let hostname: String = hostname.chars().take(63).collect();
        self.engine
            .run(&[
                "pod",
                "create",
                &format!("--network={network}"),
                &format!("--share={share}"),
                &format!("--hostname={hostname}"),
                &format!("--name={}", self.name),
            ])
            .map(drop)
    }

    fn create(
        &self,
        pod: &Pod,
        spec: &PodSpec,
        container: &Container,
        surroundings: &Surroundings,
    ) -> Result<(), ContainersError> {
        let image = container.image.as_deref().unwrap_or_default();
        let user = self
            .engine
            .run(&["image", "inspect", "--format={{.Config.User}}", image])?;
        let variables = environment::variables(pod, container, surroundings)?;
        let mut arguments = vec![
            "create".to_owned(),
            format!("--pod={}", self.name),
            format!("--name={}", self.full_name(&container.name)),
        ];
        arguments.extend(arguments::create(
            spec,
            container,
            &variables,
            &user,
            &self.volumes,
            surroundings,
        )?);
        self.engine.run(&arguments).map(drop)
    }

    fn await_init(&self, container: &str) -> Result<(), ContainersError> {
        match self.wait(container, Duration::from_secs(60))? {
            0 => Ok(()),
            code => Err(ContainersError::InitFailed {
                container: container.to_owned(),
                code,
                logs: self.everything(container),
            }),
        }
    }

    /// Holds the rest of the pod back until the sidecar's startup probe, if it
    /// has one, succeeds.
    fn await_startup(&self, container: &Container) -> Result<(), ContainersError> {
        let Some(probe) = &container.startup_probe else {
            return Ok(());
        };
        let unsupported = || {
            ContainersError::Unsupported(format!(
                "startupProbe of {} other than exec",
                container.name
            ))
        };
        let command = probe.exec.as_ref().ok_or_else(unsupported)?;
        let command: Vec<&str> = command
            .command
            .iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let limit = patience(probe);
        let deadline = Instant::now() + limit;
        while self.exec(&container.name, &command)?.code != 0 {
            if Instant::now() >= deadline {
                let what = format!("the startup probe of {}", container.name);
                return Err(self.timed_out(&what, limit, &container.name));
            }
            std::thread::sleep(INTERVAL);
        }
        Ok(())
    }

    fn full_name(&self, container: &str) -> String {
        format!("{}-{container}", self.name)
    }

    fn everything(&self, container: &str) -> String {
        match self.logs(container) {
            Ok(logs) => format!("{}{}", logs.stdout, logs.stderr),
            Err(error) => error.to_string(),
        }
    }

    fn timed_out(&self, what: &str, limit: Duration, container: &str) -> ContainersError {
        ContainersError::TimedOut {
            what: what.to_owned(),
            limit,
            so_far: self.everything(container),
        }
    }
}

impl Drop for RunningPod {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        if !self.reaper.wait().is_ok_and(|status| status.success()) {
            eprintln!("leaving pod {} behind", self.name);
        }
    }
}

/// How long kubelet lets a startup probe fail.
fn patience(probe: &Probe) -> Duration {
    let positive = |value: Option<i32>, default: u64| {
        value.map_or(default, |value| u64::try_from(value).unwrap_or(default))
    };
    let delay = positive(probe.initial_delay_seconds, 0);
    let period = positive(probe.period_seconds, 10);
    Duration::from_secs(delay + period * positive(probe.failure_threshold, 3))
}

fn refuse_host_namespaces(spec: &PodSpec) -> Result<(), ContainersError> {
    for (asked, what) in [
        (spec.host_network, "hostNetwork"),
        (spec.host_pid, "hostPID"),
        (spec.host_ipc, "hostIPC"),
    ] {
        if asked == Some(true) {
            return Err(ContainersError::Unsupported(what.to_owned()));
        }
    }
    Ok(())
}

fn text(output: &std::process::Output) -> Logs {
    Logs {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
