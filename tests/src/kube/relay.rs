//! An operator with a relay, and agents that report to it as processes of this machine.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::{
    ControlPlane, Kubectl, Operator, Options, Response, ServicePort, Supervised, free_port, https,
};

/// The service account of the pods.
const ACCOUNT: &str = "default";
/// The relay's Service.
const SERVICE: &str = "picket-relay";

/// An installation of the operator with a relay.
pub struct Relay {
    /// The operator.
    pub operator: Operator,
    options: Options,
    control_plane: &'static ControlPlane,
    /// Where the replicas listen.
    ports: Vec<u16>,
    /// Where agents connect to.
    front: u16,
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
        Self::with(control_plane, Options::default())
    }

    /// Installs an operator with these options and a relay of each replica on this machine.
    /// Agents connect to the first.
    ///
    /// # Panics
    /// As [`Operator::install`].
    #[must_use]
    pub fn with(control_plane: &'static ControlPlane, mut options: Options) -> Self {
        let ports: Vec<u16> = (0..options.replicas)
            .map(|_| free_port().expect("port"))
            .collect();
        let front = *ports.first().expect("at least one replica");
        let address = format!("--relay-address=127.0.0.1:{front}");
        options.arguments.push(address);
        // Loopback addresses are refused in EndpointSlices.
        options.own_arguments = ports
            .iter()
            .enumerate()
            .map(|(index, port)| {
                let pod_ip = format!("--pod-ip=10.255.0.{}", index + 1);
                vec![format!("--relay-port={port}"), pod_ip]
            })
            .collect();
        let operator = Operator::install(control_plane, &options);
        operator.kubectl().apply(
            &json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": SERVICE, "namespace": operator.namespace},
                "spec": {"ports": [{"name": "relay", "port": 8444}]},
            }),
            false,
        );
        Self {
            operator,
            options,
            control_plane,
            ports,
            front,
        }
    }

    /// From now on agents connect to the Service, and so to the replica that leads.
    pub fn by_service(&mut self) {
        let namespace = &self.operator.namespace;
        self.front = ServicePort::start(self.control_plane, namespace, SERVICE).port;
    }

    /// The port of a replica's relay.
    #[must_use]
    pub fn port(&self, replica: usize) -> u16 {
        self.ports[replica]
    }

    /// Where the relay of a replica listens.
    #[must_use]
    pub fn address(&self, replica: usize) -> String {
        format!("127.0.0.1:{}", self.ports[replica])
    }

    /// The number of the replica that leads.
    ///
    /// # Panics
    /// When none does for long.
    #[must_use]
    pub fn leader(&self) -> usize {
        let namespace = &self.operator.namespace;
        super::eventually("a replica leads", || {
            let lease = self.kubectl().get("lease", namespace, "picket-operator")?;
            let holder = lease["spec"]["holderIdentity"].as_str()?;
            let number = holder.strip_prefix(&format!("{namespace}-"))?;
            let number: Option<usize> = number.parse().ok();
            number.filter(|number| self.operator.replicas[*number].process().is_running())
        })
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

    /// The same token as it would have been a day ago, signed by the cluster's own key: API servers
    /// make none that end sooner than in ten minutes.
    ///
    /// # Panics
    /// When the token is not one of this control plane's.
    #[must_use]
    pub fn expired(&self, token: &str) -> String {
        const DAY: i64 = 24 * 60 * 60;
        let mut parts = token.split('.');
        let (head, claims) = (parts.next().expect("a head"), parts.next().expect("claims"));
        let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
        let mut claims: Value = serde_json::from_slice(&claims).expect("JSON");
        for time in ["exp", "iat", "nbf"] {
            let before = claims[time].as_i64().expect("a time") - DAY;
            claims[time] = json!(before);
        }
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let signed = format!("{head}.{claims}");
        let key = std::fs::read(self.control_plane.folder().join("sa.key")).expect("the key");
        let key = PrivatePkcs8KeyDer::from_pem_slice(&key).expect("PEM");
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.secret_pkcs8_der(), &random);
        let signature = key.expect("a key").sign(&random, signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.expect("a signature").as_ref());
        format!("{signed}.{signature}")
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
        let trust = self.operator.trust()?;
        https::ask(self.ports[0], (method, path), &bearer(token), body, &trust)
    }

    /// Posts one body after the other on one connection; gives the status of each answer if the
    /// relay then closes it, and nothing if it leaves it open.
    #[must_use]
    pub fn until_closed(&self, path: &str, token: &str, bodies: &[&str]) -> Option<Vec<u16>> {
        let trust = self.operator.trust()?;
        https::until_closed(self.ports[0], path, &bearer(token), bodies, &trust)
    }

    /// Posts a body so often on one connection, or until it is refused: the status of each answer.
    #[must_use]
    pub fn until_refused(
        &self,
        path: &str,
        token: &str,
        body: &str,
        most: usize,
    ) -> Option<Vec<u16>> {
        let trust = self.operator.trust()?;
        let port = self.ports[0];
        https::until_refused(port, path, &bearer(token), (body, most), &trust)
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
                ("PICKET_RELAY_ADDRESS", &format!("127.0.0.1:{}", self.front)),
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

    /// Starts a program under a real tracer with the flags that the webhook wrote into the pod's
    /// manifest for this container, connected to the pod's agent. It is a script for bash, which
    /// goes on while the file `$ALIVE` exists.
    ///
    /// # Panics
    /// When the container is not traced, or the tracer cannot be started.
    #[must_use]
    pub fn traced(&self, pod: &Identity, agent: &Agent, container: &str, script: &str) -> Traced {
        let manifest = self.kubectl().get("pod", &pod.namespace, &pod.name);
        let manifest = manifest.expect("the pod");
        let mut containers = manifest["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten();
        let command = containers
            .find(|one| one["name"] == container)
            .and_then(|one| one["command"].as_array())
            .expect("a command");
        let words: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
        let ["/picket/picket-tracer", "trace", flags @ .., "--"] = words.as_slice() else {
            panic!("{container} is not traced: {words:?}");
        };
        let alive = agent.folder.join(format!("{container}.alive"));
        std::fs::write(&alive, "").expect("a file");
        let socket = agent.socket();
        let socket = socket.to_string_lossy();
        let mut arguments = vec!["trace", "--socket", &socket];
        arguments.extend(flags);
        arguments.extend(["--", "bash", "-c", script]);
        let process = Supervised::start(
            &agent.folder,
            container,
            &crate::product("picket-tracer"),
            &arguments,
            &[("ALIVE", &alive.to_string_lossy())],
            None,
        );
        Traced {
            process: process.unwrap_or_else(|error| panic!("{error}")),
            alive,
        }
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

/// A program under a real tracer.
pub struct Traced {
    /// The tracer's process.
    pub process: Supervised,
    alive: PathBuf,
}

impl Traced {
    /// Has the script end, and waits for it.
    pub fn finish(&mut self) {
        let _ = std::fs::remove_file(&self.alive);
        super::eventually("the traced program ends", || {
            (!self.process.is_running()).then_some(())
        });
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Killed with its tracer alone, the script would go on without.
        let _ = std::fs::remove_file(&self.alive);
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

    /// Where tracers connect to.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// What tracers of containers that start later are told.
    #[must_use]
    pub fn interest(&self) -> String {
        std::fs::read_to_string(self.folder.join("interest")).unwrap_or_default()
    }
}

fn bearer(token: &str) -> String {
    match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    }
}
