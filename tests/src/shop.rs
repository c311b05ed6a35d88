//! The application that the tests protect: the demo's shop, a web application
//! with a hole, run as a pod that the `restricted` Pod Security Standard admits; and what visitors,
//! honest and other, do to it.
//!
//! Its image is `tests/images/app`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::containers::{ContainersError, RunningPod};

/// The application's container.
pub const WEB: &str = "web";
/// The agent's container in an injected pod.
pub const AGENT: &str = "picket-agent";
/// The container that puts the tracer in place in an injected pod.
pub const SETUP: &str = "picket-setup";
/// The image that `make images` builds for protected pods.
pub const SIDECAR_IMAGE: &str = "localhost/picket-sidecar:dev";

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What an attacker does, and the id of the rule that has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// A shell started by the application.
    Shell,
    /// A program that came after the container's start, made executable and run.
    Download,
    /// A read of the service-account token by a program that has no business with it.
    Token,
}

impl Attack {
    /// All of them, in the order in which an attacker would go on.
    pub const ALL: [Self; 3] = [Self::Shell, Self::Download, Self::Token];

    /// Id of the default rule that finds it.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Shell => "picket_shell_from_network_service",
            Self::Download => "picket_new_binary_executed",
            Self::Token => "picket_service_account_token_read",
        }
    }

    /// What the attacker sends to the hole, and a word of the answer that shows
    /// that it worked.
    fn script(self) -> (&'static str, &'static str) {
        match self {
            Self::Shell => ("id", "uid=1000"),
            // Nothing outside the pod can be reached from here, so the program
            // comes with the attack instead of by a download.
            Self::Download => (
                "cat /bin/busybox >/tmp/uname && chmod +x /tmp/uname && /tmp/uname",
                "Linux",
            ),
            Self::Token => (
                "cat /var/run/secrets/kubernetes.io/serviceaccount/token",
                ".",
            ),
        }
    }

    /// Attacks the running application.
    ///
    /// # Errors
    /// When the container does not run, or the attack had no success: then it
    /// would prove nothing.
    pub fn launch(self, pod: &RunningPod) -> Result<(), ContainersError> {
        let (script, sign) = self.script();
        let query = encoded(&format!("; {script}"));
        let url = format!("http://127.0.0.1:8080/diagnostics?host={query}");
        let sent = pod.exec(WEB, &["wget", "-q", "-O-", &url])?;
        if sent.logs.stdout.contains(sign) {
            return Ok(());
        }
        Err(ContainersError::Engine {
            command: format!("{self:?}: {script}"),
            message: format!("the attack failed: {sent:?}"),
        })
    }
}

/// The application's pod, as people write it. Its namespace is its cluster's to
/// say.
#[must_use]
pub fn pod() -> Value {
    pod_running(&["/app/shop", "serve", "--listen", "127.0.0.1:8080"])
}

/// The same pod with another program in it.
#[must_use]
pub fn pod_running(command: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop", "labels": {"app": "shop"}},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"}
            },
            "containers": [{
                "name": WEB,
                "image": "localhost/picket-test-app:dev",
                "command": command,
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]}
                },
                "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}]
            }],
            "volumes": [{"name": "scratch", "emptyDir": {}}]
        }
    })
}

/// What an API server makes of the pod before any webhook is asked: a name, a
/// uid, and the service account's token.
#[must_use]
pub fn admitted(mut pod: Value) -> Value {
    pod["metadata"]["namespace"] = json!("shop");
    pod["metadata"]["uid"] = json!("4f6b0a52-8a52-4b1c-9c3e-3f1c6a0b7d21");
    let volume = json!({"name": "kube-api-access-x2x7k", "projected": {"sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}
    ]}});
    let mount = json!({
        "name": "kube-api-access-x2x7k", "mountPath": SERVICE_ACCOUNT, "readOnly": true
    });
    if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
        volumes.push(volume);
    }
    if let Some(mounts) = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut() {
        mounts.push(mount);
    }
    pod
}

/// Waits until the application serves its page.
///
/// # Errors
/// When it does not in time.
pub fn wait_until_open(pod: &RunningPod) -> Result<(), ContainersError> {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_open(pod)? {
        if std::time::Instant::now() >= deadline {
            return Err(ContainersError::TimedOut {
                what: "the shop's page".to_owned(),
                limit: PATIENCE,
                so_far: format!("{:?}", pod.logs(WEB)?),
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Whether the application serves its page, as an honest visitor finds out.
///
/// # Errors
/// When its container does not run.
pub fn is_open(pod: &RunningPod) -> Result<bool, ContainersError> {
    let page = pod.exec(WEB, &["wget", "-q", "-O-", "http://127.0.0.1:8080/"])?;
    Ok(page.code == 0 && page.logs.stdout.contains("Welcome."))
}

/// Waits for the finding of a rule in the agent's log.
///
/// # Errors
/// When it does not come in time; with the log.
pub fn wait_for_finding(pod: &RunningPod, rule: &str) -> Result<Value, ContainersError> {
    let line = pod.wait_for_line(AGENT, &format!("a finding of {rule}"), PATIENCE, |line| {
        rule_id(line).as_deref() == Some(rule)
    })?;
    Ok(serde_json::from_str(&line)?)
}

/// Ids of the rules that have reported a finding so far, in their order;
/// events of the agent about itself are not findings.
///
/// # Errors
/// When the agent's container does not exist, or wrote something else than JSON.
pub fn findings(pod: &RunningPod) -> Result<Vec<Value>, ContainersError> {
    let mut findings = Vec::new();
    for line in pod.logs(AGENT)?.stdout.lines() {
        let line: Value = serde_json::from_str(line)?;
        if line["finding"].is_object() {
            findings.push(line);
        }
    }
    Ok(findings)
}

/// Every byte percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn rule_id(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["agent"]["rule_id"].as_str().map(str::to_owned)
}
