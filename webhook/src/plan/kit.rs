//! What is put into a pod, by provider.
//!
//! Every field that the API server would fill in with a default is written out, so that a pod
//! which comes back on re-invocation is recognised as current.

use picket_crds::{
    AGENT_CONTAINER, Datadog, Engine, MOUNT_PATH, ProtectionPolicySpec, Provider,
    SESSION_KEYS_VARIABLE, SETUP_CONTAINER, Startup, TOKEN_FILE, TOKEN_PATH, TOKEN_VOLUME, VOLUME,
};
use serde_json::{Value, json};

use super::resources::{self, Sizes};
use super::wrapper;
use crate::report::Report;
use crate::settings::{RelayAccess, Settings};

/// Whom the agent's token is for.
const RELAY_AUDIENCE: &str = "picket";
/// How long it is valid; kubelet renews it after four fifths of that.
const TOKEN_SECONDS: u32 = 3600;

const SETUP_PROGRAM: &str = "/picket-tracer";
const AGENT_PROGRAM: &str = "/picket-agent";
const DATADOG_SETUP_PROGRAM: &str = "/cws-instrumentation";

/// Tracer and agent of a provider.
pub(super) struct Kit<'a> {
    settings: &'a Settings,
    /// What tracers have to see, in text form.
    interest: String,
    /// Whether the application waits for the agent.
    startup: Startup,
    /// By what means the tracer traces.
    engine: Engine,
    /// How Datadog's are set up, if they are what is put in.
    datadog: Option<&'a Datadog>,
    /// What the agent needs.
    pub(super) sizes: &'static Sizes,
    /// Limit of the shared volume: the tracer, a socket and a small file.
    pub(super) volume_size: &'static str,
    /// Pull secrets of the installation, for images that are ours.
    pub(super) pull_secrets: &'a [String],
    /// Whether containers of the pod see each other's processes.
    pub(super) shares_processes: bool,
}

impl<'a> Kit<'a> {
    /// What a policy wants, for a pod with these rule sets.
    pub(super) fn of(
        spec: &'a ProtectionPolicySpec,
        rule_sets: &[String],
        settings: &'a Settings,
    ) -> Self {
        let datadog = (spec.provider == Provider::Datadog).then_some(&spec.datadog);
        Self {
            settings,
            interest: settings.interest_of(rule_sets),
            startup: spec.agent.startup,
            engine: spec.tracer.engine,
            datadog,
            sizes: match spec.provider {
                Provider::Picket => &Sizes::PICKET,
                Provider::Datadog => &Sizes::DATADOG,
            },
            volume_size: datadog.map_or("32Mi", |_| "128Mi"),
            pull_secrets: datadog.map_or(&settings.image_pull_secrets, |_| &[]),
            shares_processes: datadog.is_some_and(|datadog| datadog.share_process_namespace),
        }
    }

    /// Uid and gid of what is put in. Datadog's images run as root.
    pub(super) fn uid(&self, pod: &Value, image_uids: &[u32]) -> u32 {
        match self.datadog {
            None => resources::unused_uid(pod, image_uids),
            Some(_) => 0,
        }
    }

    /// The `command` that runs the tracer; what it traces goes behind it.
    pub(super) fn traced_command(&self, container: &str) -> Vec<String> {
        match self.datadog {
            None => wrapper::traced_command(container, &self.interest, self.engine),
            // Without --async their tracer holds the application back until it has reached the
            // agent, with pauses that double each time.
            Some(_) => wrapper::datadog_command(self.startup == Startup::Optional),
        }
    }

    /// The container that copies the tracer, without its resources.
    pub(super) fn setup(&self, uid: u32) -> Value {
        match self.datadog {
            None => {
                let mut setup = container(
                    SETUP_CONTAINER,
                    &self.settings.sidecar_image,
                    restricted(uid),
                );
                setup["command"] = json!([SETUP_PROGRAM, "setup", "--dir", MOUNT_PATH]);
                setup
            }
            Some(datadog) => {
                let mut setup = container(SETUP_CONTAINER, &datadog.tracer_image, root());
                setup["command"] = json!([
                    DATADOG_SETUP_PROGRAM,
                    "setup",
                    "--cws-volume-mount",
                    MOUNT_PATH
                ]);
                setup
            }
        }
    }

    /// The container that evaluates rules, without its resources.
    pub(super) fn agent(&self, uid: u32, report: &Report) -> Value {
        match self.datadog {
            None => {
                let mut agent = container(
                    AGENT_CONTAINER,
                    &self.settings.sidecar_image,
                    restricted(uid),
                );
                agent["command"] = json!([AGENT_PROGRAM, "run"]);
                agent["env"] = environment(report, self.settings);
                if let Some(relay) = &self.settings.relay {
                    relay_access(&mut agent, relay);
                }
                agent["livenessProbe"] = probe(&[AGENT_PROGRAM, "health"], 30, 3);
                agent
            }
            Some(datadog) => {
                let mut agent = container(AGENT_CONTAINER, &datadog.agent_image, root());
                agent["env"] = datadog_environment(datadog);
                agent
            }
        }
    }

    /// The volume with the token that the agent shows to the relay. Kubelet makes its file
    /// readable for all where the containers of the pod run as different users and the pod has
    /// no `fsGroup`, for that group where it has one (`pkg/volume/projected`, `FsUserFrom` in
    /// `pkg/volume/util`): the agent, whose user is its own, can read it either way.
    pub(super) fn token_volume(&self) -> Option<Value> {
        let wanted = self.datadog.is_none() && self.settings.relay.is_some();
        let token = json!({
            "audience": RELAY_AUDIENCE,
            "expirationSeconds": TOKEN_SECONDS,
            "path": TOKEN_FILE,
        });
        wanted.then(|| {
            json!({
                "name": TOKEN_VOLUME,
                "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": token}]},
            })
        })
    }

    /// The probe that holds the application back until the agent is up.
    pub(super) fn startup_probe(&self) -> Value {
        match self.datadog {
            None => probe(&[AGENT_PROGRAM, "health"], 1, 60),
            Some(_) => probe(&["agent", "health"], 2, 60),
        }
    }
}

fn container(name: &str, image: &str, security_context: Value) -> Value {
    json!({
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": null,
        "securityContext": security_context,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT_PATH}],
    })
}

/// Passes the `restricted` Pod Security Standard whatever the pod says.
fn restricted(uid: u32) -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsGroup": uid,
        "runAsNonRoot": true,
        "runAsUser": uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// As Datadog's guide has it: root, and no capability beside the usual ones.
fn root() -> Value {
    json!({
        "privileged": false,
        "runAsGroup": 0,
        "runAsNonRoot": false,
        "runAsUser": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn probe(command: &[&str], period_seconds: u32, failure_threshold: u32) -> Value {
    json!({
        "exec": {"command": command},
        "failureThreshold": failure_threshold,
        "periodSeconds": period_seconds,
        "successThreshold": 1,
        "timeoutSeconds": 5,
    })
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

fn value(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

/// Who the agent speaks for. The order matters: kubelet expands `$(NAME)` of earlier ones.
fn environment(report: &Report, settings: &Settings) -> Value {
    let policy = report.policy.as_ref();
    let mut environment = json!([
        field("PICKET_POD_NAME", "metadata.name"),
        field("PICKET_POD_UID", "metadata.uid"),
        field("PICKET_POD_NAMESPACE", "metadata.namespace"),
        field("PICKET_NODE_NAME", "spec.nodeName"),
        value(
            "PICKET_WORKLOAD",
            report.workload.as_deref().unwrap_or_default()
        ),
        value("PICKET_POLICY", policy.map_or("", |policy| &policy.winner)),
        value(
            "PICKET_MODE",
            &policy.map_or_else(String::new, |policy| format!("{:?}", policy.mode))
        ),
        value("PICKET_REVISION", &settings.revision),
    ]);
    let keys = settings.session_keys.join(",");
    if let (Some(list), false) = (environment.as_array_mut(), keys.is_empty()) {
        list.push(value(SESSION_KEYS_VARIABLE, &keys));
    }
    environment
}

/// Lets the agent reach the relay. Kubelet renews the token in its volume.
fn relay_access(agent: &mut Value, relay: &RelayAccess) {
    let mount = json!({"name": TOKEN_VOLUME, "mountPath": TOKEN_PATH, "readOnly": true});
    for (list, entry) in [
        ("env", value("PICKET_RELAY_ADDRESS", &relay.address)),
        ("env", value("PICKET_RELAY_CA", &relay.trust)),
        ("volumeMounts", mount),
    ] {
        if let Some(entries) = agent[list].as_array_mut() {
            entries.push(entry);
        }
    }
}

/// What the agent needs on EKS Fargate. The API key stays in its Secret.
fn datadog_environment(datadog: &Datadog) -> Value {
    let key = &datadog.api_key;
    let mut environment = vec![
        json!({"name": "DD_API_KEY", "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}}}),
        value("DD_SITE", &datadog.site),
        value("DD_EKS_FARGATE", "true"),
        field("DD_KUBERNETES_KUBELET_NODENAME", "spec.nodeName"),
        value("DD_RUNTIME_SECURITY_CONFIG_ENABLED", "true"),
        value("DD_RUNTIME_SECURITY_CONFIG_EBPFLESS_ENABLED", "true"),
    ];
    if let Some(name) = &datadog.cluster_name {
        environment.push(value("DD_CLUSTER_NAME", name));
    }
    environment.into()
}
