//! The chart, installed by Helm, with the Deployment's pods as processes of this machine: they get
//! the environment and the rights that the chart gives them, and API servers reach them through the
//! chart's Service. Only what kubelet and the Deployment's controller do is done here.

use std::time::Instant;

use serde_json::{Value, json};

use super::helm::Helm;
use super::served::own_address;
use super::{ControlPlane, INTERVAL, PATIENCE, Supervised, eventually, free_port, https};

/// Where it is installed.
pub const NAMESPACE: &str = "picket-system";
const DEPLOYMENT: &str = "picket-operator";
const SERVICE: &str = "picket-webhook";

/// An installation of the chart.
pub struct Release {
    control_plane: &'static ControlPlane,
    helm: Helm,
    pods: Vec<RunningPod>,
    started: usize,
}

struct RunningPod {
    name: String,
    process: Supervised,
}

impl Release {
    /// Installs a chart with these values, and starts its pods.
    ///
    /// # Panics
    /// When anything of it fails.
    #[must_use]
    pub fn install(control_plane: &'static ControlPlane, chart: &str, values: &str) -> Self {
        let mut release = Self {
            control_plane,
            helm: Helm::of(control_plane),
            pods: Vec::new(),
            started: 0,
        };
        release.helm("install", chart, values);
        let crd = "crd/protectionpolicies.picket.dev";
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", crd];
        control_plane.kubectl().run(&wait, "").expect_success();
        for _ in 0..release.replicas() {
            release.start();
        }
        release
    }

    /// Upgrades to a chart with these values. The pods stay as they are until [`Self::roll`].
    ///
    /// # Panics
    /// When Helm fails.
    pub fn upgrade(&mut self, chart: &str, values: &str) {
        self.helm("upgrade", chart, values);
    }

    /// Replaces the pods as the Deployment wants it: one more is ready before one goes.
    ///
    /// # Panics
    /// When a pod does not become ready, or does not end.
    pub fn roll(&mut self) {
        for _ in 0..self.pods.len() {
            self.start();
            let old = self.pods.remove(0);
            // Both at once: API servers hear of it a moment after the process.
            old.process.signal("TERM");
            let slice = ["delete", "endpointslice", &old.name, "-n", NAMESPACE];
            let kubectl = self.control_plane.kubectl();
            kubectl.run(&slice, "").expect_success();
            eventually("the old pod ends", || {
                (!old.process.is_running()).then_some(())
            });
            let log = old.process.log();
            assert!(!log.contains("\"level\":\"ERROR\""), "{log}");
        }
    }

    fn helm(&self, verb: &str, chart: &str, values: &str) {
        let mut arguments = vec![verb, "picket", chart, "-n", NAMESPACE, "--set", values];
        // Hooks are Jobs: nobody runs them here.
        arguments.extend(["--no-hooks", "--wait=hookOnly"]);
        if verb == "install" {
            arguments.push("--create-namespace");
        }
        self.helm.run(&arguments).expect_success();
    }

    fn deployment(&self) -> Value {
        let kubectl = self.control_plane.kubectl();
        let found = kubectl.get("deployment", NAMESPACE, DEPLOYMENT);
        found.expect("the chart's Deployment")
    }

    fn replicas(&self) -> usize {
        let replicas = self.deployment()["spec"]["replicas"].as_u64();
        usize::try_from(replicas.expect("replicas")).expect("a few")
    }

    /// Starts a pod of the Deployment as it is now, and tells API servers of it when it is ready.
    fn start(&mut self) {
        let kubectl = self.control_plane.kubectl();
        let name = format!("{DEPLOYMENT}-{}", self.started);
        self.started += 1;
        let token = ["create", "token", DEPLOYMENT, "-n", NAMESPACE];
        let token = kubectl.run(&token, "").expect_success();
        let kubeconfig = self
            .control_plane
            .write_kubeconfig(&name, token.stdout.trim())
            .expect("kubeconfig");
        let address = own_address();
        let port = || free_port().expect("a port");
        let (webhook, health) = (port(), port());
        let mut environment: Vec<(String, String)> = Vec::new();
        let deployment = self.deployment();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        for variable in container["env"].as_array().expect("an environment") {
            let name = variable["name"].as_str().expect("a name").to_owned();
            let value = match (name.as_str(), variable["value"].as_str()) {
                ("PICKET_IDENTITY", _) => format!("{DEPLOYMENT}-{}", self.started - 1),
                ("PICKET_NAMESPACE", _) => NAMESPACE.to_owned(),
                ("PICKET_POD_IP", _) => address.clone(),
                // All pods share one machine here.
                ("PICKET_WEBHOOK_PORT", _) => webhook.to_string(),
                ("PICKET_HEALTH_PORT", _) => health.to_string(),
                ("PICKET_RELAY_PORT", _) => port().to_string(),
                (_, Some(value)) => value.to_owned(),
                (_, None) => panic!("nobody knows what {variable} is"),
            };
            environment.push((name, value));
        }
        let kubeconfig = kubeconfig.to_string_lossy().into_owned();
        environment.push(("KUBECONFIG".to_owned(), kubeconfig));
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let binary = crate::product("picket-operator");
        let folder = self.control_plane.folder();
        let process = Supervised::start(folder, &name, &binary, &[], &environment, None)
            .unwrap_or_else(|error| panic!("{error}"));
        let deadline = Instant::now() + PATIENCE;
        while https::get(health, "/readyz").is_none_or(|answer| answer.status != 200) {
            let log = process.log_end();
            assert!(Instant::now() < deadline && process.is_running(), "{log}");
            std::thread::sleep(INTERVAL);
        }
        let service = kubectl.get("service", NAMESPACE, SERVICE);
        let service = service.expect("the chart's Service")["metadata"]["uid"].clone();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": SERVICE},
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Service", "name": SERVICE, "uid": service,
                }],
            },
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": webhook, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        });
        kubectl.apply(&slice, false);
        self.pods.push(RunningPod { name, process });
    }
}
