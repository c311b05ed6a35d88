//! The whole line, with no part pretended: a real kube-apiserver calls our
//! webhook, the pod comes back injected, that very pod runs in real containers
//! on a real kernel, an attack in it becomes a finding.

use std::collections::BTreeMap;

use picket_tests::containers::{Engine, RunningPod, Surroundings};
use picket_tests::kube::exec_endpoint::{Asked, ExecEndpoint};
use picket_tests::kube::{ControlPlane, Kubectl, Operator, Options, eventually, objects};
use picket_tests::shop::{self, AGENT, Attack, SETUP, SIDECAR_IMAGE, WEB};
use serde_json::{Value, json};

const POLICY: &str = "protect-shop";

/// A cluster with the operator, and a namespace that admits only what the
/// `restricted` standard allows, with a policy that protects the shop.
fn protected_namespace(control_plane: &'static ControlPlane) -> (Operator, String) {
    let operator = Operator::install(
        control_plane,
        &Options {
            sidecar_image: SIDECAR_IMAGE.to_owned(),
            ..Options::default()
        },
    );
    let namespace = operator.namespace(
        "shop",
        &[("pod-security.kubernetes.io/enforce", "restricted")],
    );
    let policy = json!({
        "mode": "Monitor",
        "podSelector": {"matchLabels": {"app": "shop"}},
        "computeType": "Any"
    });
    operator.protect(&namespace, POLICY, policy);
    (operator, namespace)
}

/// Creates the pod through `kubectl apply` and gives it as the API server
/// stored it.
fn created(kubectl: &Kubectl, namespace: &str, mut pod: Value) -> Value {
    pod["metadata"]["namespace"] = json!(namespace);
    kubectl.apply(&pod, false);
    eventually("the pod is stored", || {
        kubectl.get("pod", namespace, "shop")
    })
}

/// What the namespace has for the pod: a genuine token, and the authority that
/// a controller would have put there.
fn surroundings(kubectl: &Kubectl, namespace: &str) -> Surroundings {
    let token = kubectl
        .run(&["create", "token", "default", "-n", namespace], "")
        .expect_success();
    let config = kubectl
        .run(&["config", "view", "--raw", "-o", "json"], "")
        .expect_success()
        .json();
    let authority = config["clusters"][0]["cluster"]["certificate-authority"]
        .as_str()
        .map(|file| std::fs::read_to_string(file).expect("the authority's certificate"))
        .expect("a file with the authority's certificate");
    Surroundings {
        service_account_token: token.stdout.trim().to_owned(),
        config_maps: BTreeMap::from([(
            "kube-root-ca.crt".to_owned(),
            BTreeMap::from([("ca.crt".to_owned(), authority)]),
        )]),
        ..Surroundings::default()
    }
}

#[test]
fn an_attack_in_a_pod_of_a_real_api_server_becomes_a_finding() {
    let control_plane = ControlPlane::shared();
    let (_operator, namespace) = protected_namespace(control_plane);
    let kubectl = control_plane.kubectl();

    let stored = created(&kubectl, &namespace, shop::pod());
    assert_eq!(objects::names(&stored, "initContainers"), [SETUP, AGENT]);
    assert_eq!(objects::names(&stored, "containers"), [WEB]);
    assert!(
        stored["spec"].to_string().contains("serviceAccountToken"),
        "no service-account token: {stored:#}"
    );

    let engine = Engine::open().expect("container engine");
    let pod = RunningPod::run(&engine, &stored, &surroundings(&kubectl, &namespace))
        .expect("the injected pod runs");
    shop::wait_until_open(&pod).expect("the shop opens");
    for attack in Attack::ALL {
        attack.launch(&pod).expect("the attack works");
        let finding = shop::wait_for_finding(&pod, attack.rule()).expect("the finding");
        assert_eq!(finding["container"]["name"], WEB, "{finding:#}");
        assert_eq!(finding["pod"]["namespace"], namespace, "{finding:#}");
        assert_eq!(finding["pod"]["name"], "shop", "{finding:#}");
        assert_eq!(
            finding["pod"]["uid"], stored["metadata"]["uid"],
            "{finding:#}"
        );
        assert_eq!(
            finding["agent"]["protection_policy"],
            format!("{namespace}/{POLICY}"),
            "{finding:#}"
        );
    }
    shop::wait_until_open(&pod).expect("the shop is still open");
}

/// Runs kubectl exec as alice until the operator knows the pod, and gives the command that would
/// reach kubelet.
fn admitted(kubectl: &Kubectl, endpoint: &ExecEndpoint, namespace: &str, command: &str) -> Asked {
    eventually("the command is traced", || {
        let before = endpoint.asked_about(namespace, "shop").len();
        let alice = [
            "--as=alice",
            "--as-group=developers",
            "--as-group=system:masters",
        ];
        let shop = ["exec", "shop", "-n", namespace];
        let command = ["--", "sh", "-c", command];
        kubectl.run(&[&shop[..], &alice, &command].concat(), "");
        let asked = endpoint
            .asked_about(namespace, "shop")
            .get(before)
            .cloned()?;
        (asked.command[0] == "/picket/picket-tracer").then_some(asked)
    })
}

#[test]
fn who_runs_kubectl_exec_is_in_the_finding() {
    let control_plane = ControlPlane::shared();
    let (operator, namespace) = protected_namespace(control_plane);
    let policy = json!({"computeType": "Any", "coverage": {"exec": true}, "priority": 9});
    operator.protect(&namespace, "sessions", policy);
    let kubectl = control_plane.kubectl();
    let endpoint = ExecEndpoint::start(control_plane);
    let mut pod = shop::pod();
    pod["spec"]["nodeName"] = json!(endpoint.node);
    let stored = created(&kubectl, &namespace, pod);

    let engine = Engine::open().expect("container engine");
    let pod = RunningPod::run(&engine, &stored, &surroundings(&kubectl, &namespace))
        .expect("the injected pod runs");
    shop::wait_until_open(&pod).expect("the shop opens");

    // What kubelet would have run, run by the container engine.
    let script = "cat /var/run/secrets/kubernetes.io/serviceaccount/token; exit 5";
    let asked = admitted(&kubectl, &endpoint, &namespace, script);
    let words: Vec<&str> = asked.command.iter().map(String::as_str).collect();
    let executed = pod.exec(WEB, &words).expect("the command runs");
    assert_eq!(executed.code, 5, "{executed:?}");
    assert!(executed.logs.stdout.contains('.'), "no token: {executed:?}");
    let finding = shop::wait_for_finding(&pod, Attack::Token.rule()).expect("the finding");
    let session = &finding["process"]["user_session"];
    assert_eq!(session["k8s_username"], "alice", "{finding:#}");
    assert_eq!(session["unidentified"], Value::Null, "{finding:#}");
    let groups = session["k8s_groups"].as_array().expect("groups");
    assert!(groups.contains(&json!("developers")), "{groups:?}");
    assert_eq!(finding["container"]["name"], WEB);
    assert_eq!(finding["pod"]["uid"], stored["metadata"]["uid"]);

    // The same words once more: traced, and nobody vouches for it.
    let again = pod.exec(WEB, &words).expect("the command runs");
    assert_eq!(again.code, 5, "{again:?}");
    let told = shop::wait_for_finding(&pod, "unidentified_session").expect("the finding");
    assert_eq!(
        told["unidentified_session"]["reason"], "TokenReused",
        "{told:#}"
    );

    // What the shop itself does is no session.
    Attack::Token.launch(&pod).expect("the attack works");
    eventually("the shop's own finding", || {
        let findings = shop::findings(&pod).expect("the agent's log");
        findings.into_iter().find(|finding| {
            finding["agent"]["rule_id"] == Attack::Token.rule()
                && finding["process"]["user_session"].is_null()
        })
    });
}

#[test]
fn a_broken_agent_does_not_stop_a_pod_of_a_real_api_server() {
    let control_plane = ControlPlane::shared();
    let (_operator, namespace) = protected_namespace(control_plane);
    let kubectl = control_plane.kubectl();
    let command = ["sh", "-c", "/bin/true; echo served; exit 6"];

    let mut stored = created(&kubectl, &namespace, shop::pod_running(&command));
    // A sidecar that ends at once, again and again.
    let agent = &mut stored["spec"]["initContainers"][1];
    assert_eq!(agent["name"], AGENT);
    agent["command"] = json!(["/picket-agent", "no-such-command"]);

    let engine = Engine::open().expect("container engine");
    let pod = RunningPod::run(&engine, &stored, &surroundings(&kubectl, &namespace))
        .expect("the injected pod runs");
    let agent = pod.wait(AGENT, shop::PATIENCE).expect("the agent ends");
    assert_ne!(agent, 0);
    let code = pod.wait(WEB, shop::PATIENCE).expect("the shop ends");
    assert_eq!(code, 6);
    assert_eq!(pod.logs(WEB).expect("log").stdout, "served\n");
}
