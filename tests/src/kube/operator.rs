//! `picket-operator`, installed as the chart installs it, running as a process
//! of this machine.
//!
//! Its rights are the chart's own roles, bound to a service account whose token
//! it uses, so a right that the chart forgets fails a test. Only two things
//! differ from a cluster: the webhook configuration has a URL instead of a
//! Service, and looks at no namespace but those labelled for this operator, so
//! that several can run on one control plane.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{
    ControlPlane, INTERVAL, Kubectl, PATIENCE, Response, Supervised, eventually, free_port, https,
    objects,
};

/// The webhook's time limit in tests: generous, for a busy machine, because an
/// API server that gives up admits the pod bare.
pub const ADMISSION_TIMEOUT_SECONDS: u32 = 30;

/// The label by which a namespace belongs to an operator.
const BELONGS_TO: &str = "test.picket.dev/operator";

/// How an operator is installed.
#[derive(Clone, Debug)]
pub struct Options {
    /// The image that is put into pods.
    pub sidecar_image: String,
    /// Number of processes (replicas).
    pub replicas: usize,
    /// Further arguments of each process.
    pub arguments: Vec<String>,
    /// Further arguments of single processes, by their number.
    pub own_arguments: Vec<Vec<String>>,
    /// A Secret with a certificate that somebody else keeps: it is there before the operator,
    /// which may only read it.
    pub given_certificate: Option<Value>,
    /// A Secret with a certificate of its own that the operator finds when it starts.
    pub stored_certificate: Option<Value>,
    /// Files of the chart with further rules for the whole cluster, which its values turn on.
    pub further_rules: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sidecar_image: "registry.example/picket-sidecar@sha256:0000000000000000000000000000000000000000000000000000000000000000".to_owned(),
            replicas: 1,
            arguments: Vec::new(),
            own_arguments: Vec::new(),
            given_certificate: None,
            stored_certificate: None,
            further_rules: Vec::new(),
        }
    }
}

/// An installation of the operator.
pub struct Operator {
    /// The namespace in which it is installed.
    pub namespace: String,
    /// Name of its MutatingWebhookConfiguration.
    pub configuration: String,
    /// Its processes.
    pub replicas: Vec<Replica>,
    control_plane: &'static ControlPlane,
}

/// A process of an operator.
pub struct Replica {
    process: Supervised,
    webhook_port: u16,
    health_port: u16,
}

impl Operator {
    /// The operator of the shared control plane, for tests that do not harm it.
    ///
    /// # Panics
    /// As [`Operator::install`].
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Operator> = OnceLock::new();
        SHARED.get_or_init(|| Self::install(ControlPlane::shared(), &Options::default()))
    }

    /// kubectl as an administrator of its cluster.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        self.control_plane.kubectl()
    }

    /// Installs CRDs, roles, webhook configuration and processes, and waits
    /// until all of them are ready.
    ///
    /// # Panics
    /// When anything of it fails; the message shows the operator's log.
    #[must_use]
    pub fn install(control_plane: &'static ControlPlane, options: &Options) -> Self {
        let kubectl = control_plane.kubectl();
        let crds = repository().join("crds/yaml");
        kubectl
            .run(
                &["apply", "--server-side", "-f", &crds.to_string_lossy()],
                "",
            )
            .expect_success();
        kubectl
            .run(
                &[
                    "wait",
                    "--for=condition=Established",
                    "--timeout=60s",
                    "crd/protectionpolicies.picket.dev",
                ],
                "",
            )
            .expect_success();

        let namespace = control_plane.namespace("picket-system", &[]);
        // Both are of the cluster, so the namespace's unique name is theirs too.
        let configuration = format!("zz-{namespace}");
        let account = grant(control_plane, &namespace, &configuration, options);
        let secrets = [&options.given_certificate, &options.stored_certificate];
        for secret in secrets.into_iter().flatten() {
            let mut secret = secret.clone();
            secret["metadata"]["namespace"] = json!(namespace);
            kubectl.apply(&secret, false);
        }

        let ports: Vec<(u16, u16)> = (0..options.replicas)
            .map(|_| (free_port().expect("port"), free_port().expect("port")))
            .collect();
        let entry_port = ports.first().expect("at least one replica").0;
        kubectl.apply(
            &webhook_configuration(&configuration, &namespace, entry_port),
            false,
        );

        let replicas = ports
            .into_iter()
            .enumerate()
            .map(|(index, (webhook_port, health_port))| Replica {
                process: start(
                    control_plane,
                    &account,
                    &namespace,
                    &configuration,
                    index,
                    (webhook_port, health_port),
                    options,
                ),
                webhook_port,
                health_port,
            })
            .collect();
        let operator = Self {
            namespace,
            configuration,
            replicas,
            control_plane,
        };
        for replica in &operator.replicas {
            replica.wait_until_ready();
        }
        operator
    }

    /// Ends all processes and starts as many anew, perhaps with other options, and waits until
    /// they are ready. What is installed in the cluster stays as it is.
    ///
    /// # Panics
    /// When they do not become ready.
    pub fn restart(&mut self, options: &Options) {
        let kubeconfig = self.control_plane.kubeconfig(&self.namespace);
        for (index, replica) in self.replicas.iter_mut().enumerate() {
            replica.process.end();
            replica.process = start(
                self.control_plane,
                &kubeconfig,
                &self.namespace,
                &self.configuration,
                index,
                (replica.webhook_port, replica.health_port),
                options,
            );
        }
        for replica in &self.replicas {
            replica.wait_until_ready();
        }
    }

    /// A namespace whose pods this operator's webhook is asked about.
    #[must_use]
    pub fn namespace(&self, prefix: &str, labels: &[(&str, &str)]) -> String {
        let mut labels = labels.to_vec();
        labels.push((BELONGS_TO, &self.namespace));
        self.control_plane.namespace(prefix, &labels)
    }

    /// Makes a namespace of this operator's with one policy for all pods, in
    /// use.
    ///
    /// # Panics
    /// When the API server refuses, or the operator does not take it up.
    #[must_use]
    pub fn protected(&self, prefix: &str, labels: &[(&str, &str)]) -> String {
        let namespace = self.namespace(prefix, labels);
        let _ = self.protect(&namespace, "all", json!({"computeType": "Any"}));
        namespace
    }

    /// Applies a policy and waits until this operator uses it; returns it with
    /// its status.
    ///
    /// # Panics
    /// When the API server refuses, or the operator does not take it up.
    pub fn protect(&self, namespace: &str, name: &str, spec: Value) -> Value {
        self.kubectl()
            .apply(&objects::policy(namespace, name, spec), false);
        self.accepted(namespace, name)
    }

    /// Waits until this operator uses a policy's present generation; returns
    /// the policy.
    ///
    /// # Panics
    /// When it does not.
    pub fn accepted(&self, namespace: &str, name: &str) -> Value {
        let policy = self.assessed(namespace, name);
        let condition = objects::condition(&policy, "Accepted");
        assert_eq!(condition["status"], "True", "{condition:#}");
        policy
    }

    /// Waits until a policy's present generation is assessed and this operator's own webhook
    /// knows it; returns the policy. Other operators of the same control plane write its status
    /// too, so the status alone does not tell that this one is ready for a pod.
    ///
    /// # Panics
    /// When it does not.
    pub fn assessed(&self, namespace: &str, name: &str) -> Value {
        let policy = eventually(&format!("{namespace}/{name} is assessed"), || {
            let policy = self.kubectl().get("protectionpolicy", namespace, name)?;
            let observed = &policy["status"]["observedGeneration"];
            (*observed == policy["metadata"]["generation"]).then_some(policy)
        });
        let kinds = "protectionpolicies,clusterprotectionpolicies";
        let list = ["get", kinds, "-A", "-o", "name"];
        let listed = self.kubectl().run(&list, "").expect_success().stdout;
        let living = self
            .replicas
            .iter()
            .filter(|replica| replica.process.is_running());
        for replica in living {
            eventually("a replica knows as many policies as there are", || {
                let known = replica.gauge("picket_operator_policies")?
                    + replica.gauge("picket_operator_invalid_policies")?;
                (known >= listed.lines().count()).then_some(())
            });
        }
        policy
    }

    /// What API servers are told to trust, in PEM; nothing while an entry has
    /// no bundle.
    #[must_use]
    pub fn trust(&self) -> Option<Vec<u8>> {
        let configuration = self.control_plane.kubectl().get(
            "mutatingwebhookconfiguration",
            &self.namespace,
            &self.configuration,
        )?;
        let entries = configuration["webhooks"].as_array()?;
        let bundles: Option<Vec<&str>> = entries
            .iter()
            .map(|entry| entry["clientConfig"]["caBundle"].as_str())
            .collect();
        let bundles = bundles?;
        let first = bundles.first()?;
        assert!(bundles.iter().all(|bundle| bundle == first), "{bundles:?}");
        let bytes: k8s_openapi::ByteString = serde_json::from_value(json!(first)).ok()?;
        Some(bytes.0)
    }
}

impl Replica {
    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not; the message shows its log.
    pub fn wait_until_ready(&self) {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.get("/readyz");
            if answer.as_ref().is_some_and(|answer| answer.status == 200) {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline && self.process.is_running(),
                "picket-operator is not ready: {answer:?}\n{}",
                self.process.log_end()
            );
            std::thread::sleep(INTERVAL);
        }
    }

    /// Asks the port for health and metrics.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Response> {
        https::get(self.health_port, path)
    }

    /// The value of a gauge without labels, if it serves one.
    fn gauge(&self, name: &str) -> Option<usize> {
        let metrics = self.get("/metrics")?.body;
        let line = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        metrics.lines().find_map(line)
    }

    /// Posts JSON to the webhook, trusting only `trust` (PEM).
    #[must_use]
    pub fn post(&self, path: &str, body: &str, trust: &[u8]) -> Option<Response> {
        https::post(self.webhook_port, path, body, trust)
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Supervised {
        &self.process
    }
}

/// Makes the service account with the chart's roles and returns a kubeconfig
/// with its token.
fn grant(
    control_plane: &ControlPlane,
    namespace: &str,
    configuration: &str,
    options: &Options,
) -> PathBuf {
    let kubectl = control_plane.kubectl();
    let account = "picket-operator";
    kubectl
        .run(&["create", "serviceaccount", account, "-n", namespace], "")
        .expect_success();
    let name = format!("picket-operator-{namespace}");
    for (kind, binding, namespaced) in [
        ("ClusterRole", "ClusterRoleBinding", false),
        ("Role", "RoleBinding", true),
    ] {
        let file = repository().join(format!("charts/picket/files/{}.yaml", kind.to_lowercase()));
        let text = std::fs::read_to_string(&file).expect("rules of the chart");
        // The chart's only name that tests have to change.
        let text = text.replace("zz-picket", configuration);
        let text = text.replace("[picket-operator]", &format!("[picket-operator, {name}]"));
        let mut rules: Vec<Value> = serde_saphyr::from_str(&text).expect("YAML");
        match (&options.given_certificate, namespaced) {
            (Some(secret), true) => rules.push(json!({
                "apiGroups": [""], "resources": ["secrets"],
                "resourceNames": [secret["metadata"]["name"]], "verbs": ["list", "watch"],
            })),
            (None, true) => {
                let file = repository().join("charts/picket/files/certificate-self-managed.yaml");
                let text = std::fs::read_to_string(&file).expect("rules of the chart");
                rules.extend(serde_saphyr::from_str::<Vec<Value>>(&text).expect("YAML"));
            }
            (_, false) => {}
        }
        for further in options.further_rules.iter().filter(|_| !namespaced) {
            let file = repository().join("charts/picket/files").join(further);
            let text = std::fs::read_to_string(&file).expect("rules of the chart");
            rules.extend(serde_saphyr::from_str::<Vec<Value>>(&text).expect("YAML"));
        }
        let mut metadata = json!({"name": name});
        if namespaced {
            metadata["namespace"] = json!(namespace);
        }
        kubectl.apply(
            &json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": kind,
                "metadata": metadata,
                "rules": rules,
            }),
            false,
        );
        kubectl.apply(
            &json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": binding,
                "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
            }),
            false,
        );
    }
    let token = kubectl
        .run(&["create", "token", account, "-n", namespace], "")
        .expect_success();
    control_plane
        .write_kubeconfig(namespace, token.stdout.trim())
        .expect("kubeconfig")
}

/// The chart's webhook entries, with a URL.
fn webhook_configuration(name: &str, namespace: &str, port: u16) -> Value {
    let file = repository().join("charts/picket/files/webhooks.yaml");
    let text = std::fs::read_to_string(file).expect("entries of the chart");
    let mut entries: Vec<Value> = serde_saphyr::from_str(&text).expect("YAML");
    for entry in &mut entries {
        let path = entry["clientConfig"]["service"]["path"]
            .as_str()
            .expect("path");
        entry["clientConfig"] = json!({"url": format!("https://127.0.0.1:{port}{path}")});
        entry["timeoutSeconds"] = json!(ADMISSION_TIMEOUT_SECONDS);
        let expressions = entry["namespaceSelector"]["matchExpressions"]
            .as_array_mut()
            .expect("selector");
        expressions.push(json!({"key": BELONGS_TO, "operator": "In", "values": [namespace]}));
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": entries,
    })
}

fn start(
    control_plane: &ControlPlane,
    kubeconfig: &Path,
    namespace: &str,
    configuration: &str,
    index: usize,
    (webhook_port, health_port): (u16, u16),
    options: &Options,
) -> Supervised {
    let binary = crate::product("picket-operator");
    let identity = format!("{namespace}-{index}");
    let mut arguments = vec![
        format!("--namespace={namespace}"),
        format!("--identity={identity}"),
        format!("--webhook-configuration={configuration}"),
        format!("--role-binding=picket-operator-{namespace}"),
        format!("--sidecar-image={}", options.sidecar_image),
        "--certificate-name=127.0.0.1".to_owned(),
        "--listen-address=127.0.0.1".to_owned(),
        format!("--webhook-port={webhook_port}"),
        format!("--health-port={health_port}"),
        "--drain-delay-seconds=0".to_owned(),
    ];
    let own = options.own_arguments.get(index).into_iter().flatten();
    arguments.extend(options.arguments.iter().chain(own).cloned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Supervised::start(
        control_plane.folder(),
        &identity,
        &binary,
        &arguments,
        &[("KUBECONFIG", &kubeconfig.to_string_lossy())],
        None,
    )
    .unwrap_or_else(|error| panic!("{error}"))
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
