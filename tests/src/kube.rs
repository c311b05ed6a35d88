//! A real control plane for tests: etcd and kube-apiserver on free ports, with
//! kubectl, and `picket-operator` beside them.
//!
//! Whatever is started ends with the test process, however that ends, and its
//! files are removed.

mod authority;
mod client;
pub mod coverage;
pub mod exec_endpoint;
pub mod helm;
mod https;
pub mod kubelet;
mod load;
mod metrics;
pub mod objects;
mod operator;
mod other_webhook;
pub mod port_forward;
pub mod relay;
pub mod release;
mod served;
mod service;
mod supervised;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use authority::Authority;
pub use client::{Kubectl, Output};
pub use https::Response;
pub use kubelet::Kubelet;
pub use load::{Load, Outcome};
pub use metrics::MetricsApi;
pub use operator::{ADMISSION_TIMEOUT_SECONDS, Operator, Options};
pub use other_webhook::OtherWebhook;
pub use service::ServicePort;
pub use supervised::Supervised;

/// How long anything awaited may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often something awaited is looked for.
const INTERVAL: Duration = Duration::from_millis(100);

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// A binary is missing.
    #[error("{} is not there: run `make test-tools`, or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kube-controller-manager and kubectl", .0.display())]
    Missing(PathBuf),
    /// Files or processes could not be made.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A key could not be generated.
    #[error("cannot generate a key: {0}")]
    Key(#[from] rcgen::Error),
    /// It does not become ready.
    #[error("{what} is not ready after {} s; end of its log:\n{log}", PATIENCE.as_secs())]
    NotReady {
        /// What was awaited.
        what: String,
        /// The end of its log.
        log: String,
    },
}

/// etcd and kube-apiserver, with ServiceAccount and PodSecurity admission and
/// RBAC on, as in a cluster. There is no controller manager unless it is asked for
/// ([`ControlPlane::with_controllers`]): a namespace's default service account is made by
/// [`ControlPlane::namespace`].
pub struct ControlPlane {
    folder: PathBuf,
    assets: PathBuf,
    port: u16,
    // In the order in which they are to end.
    api_server: Mutex<Supervised>,
    api_server_arguments: Vec<String>,
    controllers: Option<Supervised>,
    etcd: Supervised,
}

impl ControlPlane {
    /// The control plane that all tests of this process share.
    ///
    /// # Panics
    /// When it cannot be started; the message says why.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<ControlPlane, KubeError>> = OnceLock::new();
        match SHARED.get_or_init(Self::start) {
            Ok(control_plane) => control_plane,
            Err(error) => panic!("no control plane: {error}"),
        }
    }

    /// A second one, with kube-controller-manager, that all tests of this process share:
    /// Deployments make ReplicaSets and those make pods, and whatever lacks its owner is
    /// collected, so a test's owner references must be true here. Pods stay pending: see
    /// [`Kubelet`].
    ///
    /// # Panics
    /// When it cannot be started; the message says why.
    #[must_use]
    pub fn with_controllers() -> &'static Self {
        static SHARED: OnceLock<Result<ControlPlane, KubeError>> = OnceLock::new();
        let started = SHARED.get_or_init(|| {
            let mut control_plane = Self::start()?;
            control_plane.start_controllers()?;
            Ok(control_plane)
        });
        match started {
            Ok(control_plane) => control_plane,
            Err(error) => panic!("no control plane with controllers: {error}"),
        }
    }

    /// Starts a control plane of its own.
    ///
    /// # Errors
    /// [`KubeError`].
    pub fn start() -> Result<Self, KubeError> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS")
            .filter(|folder| !folder.is_empty())
            .map_or_else(|| crate::cache().join("kube"), PathBuf::from);
        for binary in [
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kubectl",
        ] {
            let path = assets.join(binary);
            if !path.is_file() {
                return Err(KubeError::Missing(path));
            }
        }
        let folder = tempfile::Builder::new()
            .prefix("picket-kube-")
            .tempdir()
            .map_err(io("cannot make a temporary folder"))?
            // The supervisor of etcd removes it, also when we are killed.
            .keep();
        let (client_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);

        let etcd_url = format!("http://127.0.0.1:{client_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let etcd = Supervised::start(
            &folder,
            "etcd",
            &assets.join("etcd"),
            &[
                &format!("--data-dir={}", folder.join("etcd").display()),
                &format!("--listen-client-urls={etcd_url}"),
                &format!("--advertise-client-urls={etcd_url}"),
                &format!("--listen-peer-urls={peer_url}"),
                &format!("--initial-advertise-peer-urls={peer_url}"),
                &format!("--initial-cluster=default={peer_url}"),
                "--unsafe-no-fsync",
            ],
            &[],
            Some(&folder),
        )?;

        let key = rcgen::KeyPair::generate()?;
        write(&folder.join("sa.key"), &key.serialize_pem())?;
        write(&folder.join("sa.pub"), &key.public_key_pem())?;
        write(
            &folder.join("tokens.csv"),
            &format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n"),
        )?;
        let in_folder =
            |flag: &str, name: &str| format!("--{flag}={}", folder.join(name).display());
        let mut arguments = vec![
            format!("--etcd-servers={etcd_url}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            in_folder("cert-dir", "certificates"),
            "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--api-audiences=https://kubernetes.default.svc".to_owned(),
            in_folder("service-account-key-file", "sa.pub"),
            in_folder("service-account-signing-key-file", "sa.key"),
            "--authorization-mode=RBAC".to_owned(),
            in_folder("token-auth-file", "tokens.csv"),
            "--allow-privileged=true".to_owned(),
            "--enable-admission-plugins=ServiceAccount,PodSecurity".to_owned(),
            // Webhooks behind a Service are reached at its endpoints: there is no kube-proxy.
            "--enable-aggregator-routing=true".to_owned(),
        ];
        if let Some(logs) = std::env::var_os("PICKET_AUDIT") {
            let name = folder.file_name().unwrap_or_default();
            let log = Path::new(&logs).join(name).with_extension("log");
            let policy = folder.join("audit.json");
            write(&policy, &audit_policy().to_string())?;
            arguments.push(format!("--audit-policy-file={}", policy.display()));
            arguments.push(format!("--audit-log-path={}", log.display()));
        }
        let api_server = start_api_server(&folder, &assets, &arguments)?;

        let control_plane = Self {
            port,
            folder,
            assets,
            api_server: Mutex::new(api_server),
            api_server_arguments: arguments,
            controllers: None,
            etcd,
        };
        control_plane.write_kubeconfig("admin", ADMIN_TOKEN)?;
        control_plane.wait_until_ready()?;
        Ok(control_plane)
    }

    /// Starts kube-controller-manager and waits until it works.
    ///
    /// # Errors
    /// [`KubeError`].
    pub fn start_controllers(&mut self) -> Result<(), KubeError> {
        let in_folder =
            |flag: &str, name: &str| format!("--{flag}={}", self.folder.join(name).display());
        let arguments = [
            in_folder("kubeconfig", "admin.kubeconfig"),
            in_folder("root-ca-file", AUTHORITY),
            in_folder("service-account-private-key-file", "sa.key"),
            format!("--controllers={}", CONTROLLERS.join(",")),
            "--leader-elect=false".to_owned(),
            // Each controller has a name and rights of its own, as in a cluster.
            "--use-service-account-credentials=true".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
            "--horizontal-pod-autoscaler-sync-period=1s".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let name = "kube-controller-manager";
        let binary = self.assets.join(name);
        let started = Supervised::start(&self.folder, name, &binary, &arguments, &[], None)?;
        let deadline = Instant::now() + PATIENCE;
        let account = ["get", "serviceaccount", "default", "-n", "default"];
        while !self.kubectl().run(&account, "").success {
            if Instant::now() >= deadline || !started.is_running() {
                return Err(KubeError::NotReady {
                    what: name.to_owned(),
                    log: started.log_end(),
                });
            }
            std::thread::sleep(INTERVAL);
        }
        self.controllers = Some(started);
        Ok(())
    }

    /// Kills the API server, starts it again and waits until it is ready; what
    /// is stored stays.
    ///
    /// # Errors
    /// [`KubeError`].
    pub fn restart_api_server(&self) -> Result<(), KubeError> {
        let mut api_server = self.api_server();
        api_server.end();
        *api_server = start_api_server(&self.folder, &self.assets, &self.api_server_arguments)?;
        drop(api_server);
        self.wait_until_ready()
    }

    fn api_server(&self) -> MutexGuard<'_, Supervised> {
        self.api_server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_ready(&self) -> Result<(), KubeError> {
        let deadline = Instant::now() + PATIENCE;
        let kubectl = self.kubectl();
        while Instant::now() < deadline {
            let ready = kubectl.run(&["get", "--raw", "/readyz"], "");
            // The roles of RBAC and the namespaces are made after readiness.
            if ready.success && kubectl.run(&["get", "namespace", "default"], "").success {
                return Ok(());
            }
            std::thread::sleep(INTERVAL);
        }
        let mut log = self.etcd.log_end();
        log.push_str(&self.api_server().log_end());
        Err(KubeError::NotReady {
            what: "kube-apiserver".to_owned(),
            log,
        })
    }

    /// Where the API server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Certificate of the authority that API servers' clients are to trust, in PEM.
    ///
    /// # Panics
    /// When the API server has not written it.
    #[must_use]
    pub fn authority(&self) -> String {
        std::fs::read_to_string(self.folder.join(AUTHORITY)).expect("its certificate")
    }

    /// kubectl as a cluster administrator.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.assets.join("kubectl"), self.kubeconfig("admin"))
    }

    /// A folder for files of this control plane; removed with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a namespace with a name of its own that begins with `prefix`, its
    /// default service account, and these labels.
    ///
    /// # Panics
    /// When the API server refuses.
    #[must_use]
    pub fn namespace(&self, prefix: &str, labels: &[(&str, &str)]) -> String {
        let labels: serde_json::Map<String, Value> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"generateName": format!("{prefix}-"), "labels": labels},
        });
        let made = self
            .kubectl()
            .run(&["create", "-f", "-", "-o", "json"], &namespace.to_string())
            .expect_success()
            .json();
        let name = made["metadata"]["name"].as_str().expect("name").to_owned();
        let made = self
            .kubectl()
            .run(&["create", "serviceaccount", "default", "-n", &name], "");
        // With controllers it may be there already.
        if !made.stderr.contains("already exists") {
            made.expect_success();
        }
        name
    }

    /// A kubeconfig file for a bearer token.
    /// # Errors
    /// [`KubeError::Io`].
    pub fn write_kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf, KubeError> {
        let path = self.kubeconfig(name);
        let authority = self.folder.join(AUTHORITY);
        let server = format!("https://{}", self.address());
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": authority}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        });
        write(&path, &text.to_string())?;
        Ok(path)
    }

    /// The kubeconfig of an administrator (`admin`), or one that [`Self::write_kubeconfig`]
    /// wrote.
    #[must_use]
    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.kubeconfig"))
    }
}

/// The controllers that tests are about. Others would act on nodes, of which there are none.
const CONTROLLERS: [&str; 11] = [
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "serviceaccount-controller",
    "statefulset-controller",
];

/// Where the API server writes the certificate that it makes for itself.
const AUTHORITY: &str = "certificates/apiserver.crt";

const ADMIN_TOKEN: &str = "admin-of-a-control-plane-for-tests";

/// What service accounts do, those of Kubernetes' own controllers apart: which rights were used.
fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    })
}

fn start_api_server(
    folder: &Path,
    assets: &Path,
    arguments: &[String],
) -> Result<Supervised, KubeError> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let binary = assets.join("kube-apiserver");
    Supervised::start(folder, "kube-apiserver", &binary, &arguments, &[], None)
}

/// Waits until `look` gives something.
///
/// # Panics
/// When it has not after [`PATIENCE`]; the message says what was awaited.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(INTERVAL);
    }
}

/// A port that nobody listens at, and that this process was not given before: whoever gets one does not
/// listen there yet.
pub(crate) fn free_port() -> Result<u16, KubeError> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Held, so that the kernel does not choose them once more.
    let mut others = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("no free port"))?;
        let address = listener.local_addr().map_err(io("no free port"))?;
        if given.insert(address.port()) {
            return Ok(address.port());
        }
        others.push(listener);
    }
}

fn write(path: &Path, text: &str) -> Result<(), KubeError> {
    std::fs::write(path, text).map_err(io(&format!("cannot write {}", path.display())))
}

fn io(what: &str) -> impl FnOnce(std::io::Error) -> KubeError + use<> {
    let what = what.to_owned();
    move |source| KubeError::Io { what, source }
}
