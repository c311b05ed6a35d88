//! `picket findings` at a real relay, through a real API server. That the operator's pod has a
//! port says a mock of kubelet: the operator is a process of this machine.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use picket_tests::kube::port_forward::PortForward;
use picket_tests::kube::relay::{Identity, Relay};
use picket_tests::kube::{ControlPlane, Supervised, eventually};
use picket_tests::product;
use serde_json::{Value, json};

const READER: &str = "picket-findings-reader";

/// An installation whose operator has a pod, and the service account that reads findings.
fn relay() -> &'static Relay {
    static SHARED: OnceLock<Relay> = OnceLock::new();
    SHARED.get_or_init(|| install(ControlPlane::shared()))
}

fn install(control_plane: &'static ControlPlane) -> Relay {
    let relay = Relay::install(control_plane);
    let kubectl = relay.operator.kubectl();
    let namespace = &relay.operator.namespace;
    let account = ["create", "serviceaccount", READER, "-n", namespace];
    kubectl.run(&account, "").expect_success();
    let account = ["create", "serviceaccount", "default", "-n", namespace];
    let made = kubectl.run(&account, "");
    assert!(made.success || made.stderr.contains("already exists"));
    let node = PortForward::start(control_plane, relay.port(0)).node;
    // Replicas are called after their pods.
    let name = format!("{namespace}-0");
    kubectl.apply(
        &json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "nodeName": node,
                "containers": [{"name": "operator", "image": "registry.example/picket:1"}],
            },
        }),
        false,
    );
    let running = json!({"status": {"phase": "Running"}}).to_string();
    let patch = [
        "patch",
        "pod",
        &name,
        "-n",
        namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        &running,
    ];
    kubectl.run(&patch, "").expect_success();
    relay
}

/// `picket findings` with these arguments, as the user of this kubeconfig.
fn command(relay: &Relay, kubeconfig: PathBuf, arguments: &[&str]) -> Command {
    let mut command = Command::new(product("picket"));
    command
        .args([
            "findings",
            "--operator-namespace",
            &relay.operator.namespace,
        ])
        .args(["--webhook-configuration", &relay.operator.configuration])
        .args(arguments)
        .env("KUBECONFIG", kubeconfig);
    command
}

fn run(relay: &Relay, arguments: &[&str]) -> Output {
    let admin = ControlPlane::shared().kubeconfig("admin");
    command(relay, admin, arguments)
        .output()
        .expect("picket starts")
}

#[track_caller]
fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn finding(title: &str, severity: &str, rule: &str) -> Value {
    json!({
        "title": title, "date": "2026-01-01T00:00:00.200Z",
        "finding": {"type": "Execution:Runtime/ReverseShell", "severity": severity},
        "agent": {"rule_id": rule}, "container": {"name": "web"},
    })
}

/// Sends findings as the pod's agent would; until the relay knows the pod.
fn send(relay: &Relay, pod: &Identity, findings: &[Value]) {
    let token = relay.token(pod, "picket");
    let body = json!({"findings": findings}).to_string();
    eventually("the relay takes findings", || {
        let answer = relay.ask("POST", "/v1/findings", &token, &body)?;
        (answer.status == 204).then_some(())
    });
}

#[test]
fn findings_of_all_pods_are_a_table_or_lines_of_json_and_can_be_chosen_from() {
    let relay = relay();
    let shop = ControlPlane::shared().namespace("findings", &[]);
    let pod = relay.pod(&shop, "web-1");
    let all = [
        finding("a shell\u{1b}[2J talks", "high", "reverse_shell"),
        finding("a package was installed", "low", "package_manager"),
    ];
    send(relay, &pod, &all);

    let ours = ["--namespace", &shop];
    let table = text(&run(relay, &ours));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("TIME"), "{table}");
    assert_eq!(lines.len(), 3, "{table}");
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(
        words[..6],
        [
            "2026-01-01T00:00:00Z",
            "high",
            &shop,
            "Pod/web-1",
            "web-1/web",
            "reverse_shell"
        ],
        "{table}"
    );
    assert!(lines[1].ends_with("a shell [2J talks"), "{table}");
    // The same without the API server's port forwarding.
    let directly = ["--namespace", &shop, "--relay", &relay.address(0)];
    assert_eq!(text(&run(relay, &directly)), table);

    let json = text(&run(
        relay,
        &["-n", &shop, "--severity", "medium", "-o", "json"],
    ));
    let line: Value = serde_json::from_str(json.trim()).expect("one line");
    assert_eq!(line["agent"]["rule_id"], "reverse_shell");
    assert_eq!(line["pod"]["uid"], pod.uid.as_str());
    let by_rule = text(&run(
        relay,
        &["-n", &shop, "--rule", "package_manager", "-o", "json"],
    ));
    assert_eq!(by_rule.lines().count(), 1, "{by_rule}");
    let none = text(&run(relay, &["-n", &shop, "--severity", "critical"]));
    assert_eq!(none, "No findings.\n");
}

#[test]
fn who_follows_sees_each_finding_once_whoever_leads() {
    // It is killed.
    let control_plane: &'static ControlPlane = ControlPlane::shared();
    let mut relay = install(control_plane);
    let shop = control_plane.namespace("follow", &[]);
    let pod = relay.pod(&shop, "web-1");
    send(&relay, &pod, &[finding("before", "low", "first")]);
    let mut arguments = vec![
        "findings",
        "-w",
        "-o",
        "json",
        "-n",
        &shop,
        "--operator-namespace",
    ];
    arguments.extend([relay.operator.namespace.as_str(), "--webhook-configuration"]);
    let configuration = relay.operator.configuration.clone();
    arguments.push(&configuration);
    let admin = control_plane.kubeconfig("admin");
    let follower = Supervised::start(
        control_plane.folder(),
        &format!("follow-{shop}"),
        &product("picket"),
        &arguments,
        &[("KUBECONFIG", &admin.to_string_lossy())],
        None,
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let shows = |title: &str| {
        eventually(&format!("{title} is shown"), || {
            follower
                .log()
                .contains(&format!("\"{title}\""))
                .then_some(())
        });
    };
    shows("before");
    send(&relay, &pod, &[finding("while connected", "low", "second")]);
    shows("while connected");
    relay.restart();
    send(&relay, &pod, &[finding("by the next one", "low", "third")]);
    shows("by the next one");
    let log = follower.log();
    let titles: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| line["title"].clone())
        .collect();
    assert_eq!(
        titles,
        ["before", "while connected", "by the next one"],
        "{log}"
    );
    assert!(log.contains("trying again"), "{log}");
}

#[test]
fn what_is_missing_has_a_name_and_what_to_do() {
    let relay = relay();
    let fails = |output: Output, words: &[&str]| {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{words:?}");
        for word in words {
            assert!(errors.contains(word), "{word}: {errors}");
        }
    };
    let elsewhere = ["--operator-namespace", "nowhere"];
    let admin = || ControlPlane::shared().kubeconfig("admin");
    let mut missing = Command::new(product("picket"));
    missing
        .arg("findings")
        .args(elsewhere)
        .env("KUBECONFIG", admin());
    fails(
        missing.output().expect("picket starts"),
        &["OperatorMissing", READER, "nowhere"],
    );
    // Somebody without rights.
    let kubectl = relay.operator.kubectl();
    let somewhere = ControlPlane::shared().namespace("nobody", &[]);
    let token = ["create", "token", "default", "-n", &somewhere];
    let token = kubectl.run(&token, "").expect_success().stdout;
    let nobody = ControlPlane::shared()
        .write_kubeconfig(&somewhere, token.trim())
        .expect("kubeconfig");
    fails(
        command(relay, nobody, &[]).output().expect("picket starts"),
        &["NotAllowed", "create on serviceaccounts/token"],
    );
    // Another authority than the one that signed the relay's certificate.
    let other = install_configuration_of_a_stranger(relay);
    let mut untrusting = Command::new(product("picket"));
    untrusting
        .args([
            "findings",
            "--operator-namespace",
            &relay.operator.namespace,
        ])
        .args(["--webhook-configuration", &other])
        .env("KUBECONFIG", admin());
    fails(
        untrusting.output().expect("picket starts"),
        &["RelayUntrusted"],
    );
}

/// A webhook configuration that looks at no namespace and names another authority.
fn install_configuration_of_a_stranger(relay: &Relay) -> String {
    let kubectl = relay.operator.kubectl();
    let name = format!("{}-stranger", relay.operator.configuration);
    let authority = picket_tests::kube::Authority::new();
    let bundle = k8s_openapi::ByteString(authority.certificate().as_bytes().to_vec());
    kubectl.apply(
        &json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "ignore.picket.dev", "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
                "clientConfig": {"url": "https://127.0.0.1:1/mutate", "caBundle": bundle},
                "namespaceSelector": {"matchLabels": {"nobody": "at-all"}},
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
                    "operations": ["CREATE"],
                }],
            }],
        }),
        false,
    );
    name
}

#[test]
fn without_a_leader_that_is_said_after_some_tries() {
    let control_plane: &'static ControlPlane = ControlPlane::shared();
    let relay = install(control_plane);
    relay.operator.replicas[0].process().signal("KILL");
    let lease = ["patch", "lease", "picket-operator", "-n"];
    let nobody = json!({"spec": {"holderIdentity": ""}}).to_string();
    let kubectl = relay.operator.kubectl();
    let namespace = relay.operator.namespace.clone();
    let patch = [&lease[..], &[&namespace, "--type=merge", "-p", &nobody]].concat();
    kubectl.run(&patch, "").expect_success();
    let output = run(&relay, &[]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{errors}");
    assert!(errors.contains("NoLeader"), "{errors}");
    assert!(errors.contains("picket doctor"), "{errors}");
}
