//! An operator with a relay, and agents that report to it as processes of this machine.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{ControlPlane, Kubectl, Operator, Options, Response, Supervised, free_port, https};

/// The service account of the pods.
const ACCOUNT: &str = "default";

/// An installation of the operator with a relay.
pub struct Relay {
    /// The operator.
    pub operator: Operator,
    options: Options,
    control_plane: &'static ControlPlane,
    port: u16,
}

/// A pod of the API server; nothing runs it.
pub struct Identity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Relay {
    /// Installs an operator whose relay is on this machine.
    ///
    /// # Panics
    /// As [`Operator::install`].
    #[must_use]
    pub fn install(control_plane: &'static ControlPlane) -> Self {
        let port = free_port().expect("port");
        let options = Options {
            arguments: vec![
                format!("--relay-address=127.0.0.1:{port}"),
                format!("--relay-port={port}"),
            ],
            ..Options::default()
        };
        Self {
            operator: Operator::install(control_plane, &options),
            options,
            control_plane,
            port,
        }
    }

    /// Kills the operator and starts it anew.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn restart(&mut self) {
        self.operator.restart(&self.options);
    }

    fn kubectl(&self) -> Kubectl {
        self.operator.kubectl()
    }

    /// Makes a pod of the namespace.
    ///
    /// # Panics
    /// When the API server refuses.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Identity {
        let kubectl = self.kubectl();
        kubectl.apply(&super::objects::pod(namespace, name), false);
        let pod = kubectl.get("pod", namespace, name).expect("the pod");
        let uid = pod["metadata"]["uid"].as_str().expect("uid").to_owned();
        Identity {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid,
        }
    }

    /// A token as kubelet gets one for a pod.
    ///
    /// # Panics
    /// When the API server refuses.
    #[must_use]
    pub fn token(&self, pod: &Identity, audience: &str) -> String {
        let output = self.kubectl().run(
            &[
                "create",
                "token",
                ACCOUNT,
                "-n",
                &pod.namespace,
                "--audience",
                audience,
                "--bound-object-kind=Pod",
                "--bound-object-name",
                &pod.name,
                "--bound-object-uid",
                &pod.uid,
                "--duration=1h",
            ],
            "",
        );
        output.expect_success().stdout.trim().to_owned()
    }

    /// A token of a service account, for no pod.
    ///
    /// # Panics
    /// When the API server refuses.
    #[must_use]
    pub fn account_token(&self, namespace: &str, account: &str, audience: &str) -> String {
        let arguments = [
            "create",
            "token",
            account,
            "-n",
            namespace,
            "--audience",
            audience,
        ];
        let output = self.kubectl().run(&arguments, "");
        output.expect_success().stdout.trim().to_owned()
    }

    /// Asks the relay; `None` when it does not answer.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Option<Response> {
        let head = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let trust = self.operator.trust()?;
        https::ask(self.port, (method, path), &head, body, &trust)
    }

    /// Starts an agent that speaks for this pod, with its own folder.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn agent(&self, pod: &Identity) -> Agent {
        let folder = self
            .control_plane
            .folder()
            .join(format!("agent-{}-{}", pod.namespace, pod.name));
        std::fs::create_dir_all(&folder).expect("folder");
        let token = folder.join("token");
        std::fs::write(&token, self.token(pod, "picket")).expect("token");
        let process = self.start_agent(pod, &folder);
        Agent {
            process,
            folder,
            token,
        }
    }

    /// Starts the agent once more, as kubelet does.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn restart_agent(&self, pod: &Identity, agent: &mut Agent) {
        agent.process = self.start_agent(pod, &agent.folder);
    }

    fn start_agent(&self, pod: &Identity, folder: &std::path::Path) -> Supervised {
        let trust = self.operator.trust().expect("published");
        let trust = String::from_utf8(trust).expect("PEM");
        let socket = folder.join("agent.sock");
        Supervised::start(
            self.control_plane.folder(),
            &format!("agent-{}-{}", pod.namespace, pod.name),
            &crate::product("picket-agent"),
            &["run", "--socket", &socket.to_string_lossy()],
            &[
                ("PICKET_POD_NAME", &pod.name),
                ("PICKET_POD_NAMESPACE", &pod.namespace),
                ("PICKET_POD_UID", &pod.uid),
                ("PICKET_RELAY_ADDRESS", &format!("127.0.0.1:{}", self.port)),
                ("PICKET_RELAY_CA", &trust),
                (
                    "PICKET_RELAY_TOKEN",
                    &folder.join("token").to_string_lossy(),
                ),
            ],
            None,
        )
        .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The value of a counter with these labels, as `what="heartbeat",result="Answered"`; 0 where
    /// there is none yet.
    #[must_use]
    pub fn counter(&self, name: &str, labels: &str) -> u64 {
        let start = format!("{name}_total{{{labels}}} ");
        let replicas = self.operator.replicas.iter();
        let pages = replicas.filter_map(|replica| replica.get("/metrics"));
        pages
            .flat_map(|page| {
                let lines = page.body.lines();
                let numbers = lines.filter_map(|line| line.strip_prefix(&start)?.parse().ok());
                numbers.collect::<Vec<u64>>()
            })
            .sum()
    }

    /// Applies a RuleSet of one policy.
    ///
    /// # Panics
    /// When the API server refuses.
    pub fn rule_set(&self, name: &str, policy: &str) {
        self.kubectl().apply(
            &json!({
                "apiVersion": "picket.dev/v1alpha1",
                "kind": "RuleSet",
                "metadata": {"name": name},
                "spec": {"policies": [{"name": "main.policy", "text": policy}]},
            }),
            false,
        );
    }

    /// A RuleSet.
    #[must_use]
    pub fn get_rule_set(&self, name: &str) -> Option<Value> {
        self.kubectl().get("ruleset", "default", name)
    }
}

/// An agent that reports to a relay.
pub struct Agent {
    /// Its process.
    pub process: Supervised,
    folder: PathBuf,
    /// The file with its token.
    pub token: PathBuf,
}

impl Agent {
    /// The lines of JSON that it wrote, of both its outputs.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let log = self.process.log();
        let lines = log.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// What tracers of containers that start later are told.
    #[must_use]
    pub fn interest(&self) -> String {
        std::fs::read_to_string(self.folder.join("interest")).unwrap_or_default()
    }
}
