//! `kubectl exec` through a real API server, with the real operator answering its webhook. What
//! would reach kubelet is taken down by a mock of it.

use picket_events::session::{Claims, Token};
use picket_tests::kube::exec_endpoint::{Asked, ExecEndpoint};
use picket_tests::kube::objects::{assert_injected, pod};
use picket_tests::kube::{ControlPlane, Operator, eventually};
use serde_json::{Value, json};

/// Runs kubectl exec as alice and gives what arrived at kubelet.
fn exec(
    operator: &Operator,
    endpoint: &ExecEndpoint,
    namespace: &str,
    name: &str,
    arguments: &[&str],
) -> Asked {
    let before = endpoint.asked_about(namespace, name).len();
    let mut all = vec!["exec", name, "-n", namespace];
    // The second group is for the right to do it.
    all.extend([
        "--as=alice",
        "--as-group=developers",
        "--as-group=system:masters",
    ]);
    all.extend(arguments);
    let output = operator.kubectl().run(&all, "");
    let asked = endpoint.asked_about(namespace, name);
    let new = asked.get(before).cloned();
    new.unwrap_or_else(|| panic!("nothing arrived at kubelet: {output:?}"))
}

fn created(operator: &Operator, node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = json!(node);
    operator.kubectl().apply(&pod, false)
}

/// Runs the command until the operator's watch has told it of the pod.
fn traced(
    operator: &Operator,
    endpoint: &ExecEndpoint,
    (namespace, name): (&str, &str),
    arguments: &[&str],
) -> Asked {
    eventually("the command is traced", || {
        let asked = exec(operator, endpoint, namespace, name, arguments);
        (asked.command[0] == "/picket/picket-tracer").then_some(asked)
    })
}

/// Splits a traced command into the session's name, what the operator says of it, and the
/// command itself.
fn unwrapped(asked: &Asked) -> (String, Claims, Vec<String>) {
    let words: Vec<&str> = asked.command.iter().map(String::as_str).collect();
    let [
        _,
        "exec-session",
        "--container",
        name,
        "--interest",
        _,
        "--session",
        token,
        "--",
        own @ ..,
    ] = &words[..]
    else {
        panic!("{words:?}")
    };
    let token: Token = token.parse().expect("a token");
    let claims = token.signed.claims().expect("claims");
    let own = own.iter().map(|word| (*word).to_owned()).collect();
    ((*name).to_owned(), claims, own)
}

fn events(operator: &Operator, namespace: &str) -> Vec<Value> {
    let list = operator
        .kubectl()
        .run(&["get", "events", "-n", namespace, "-o", "json"], "")
        .expect_success()
        .json();
    let events = list["items"].as_array().cloned().unwrap_or_default();
    let untraced = events
        .into_iter()
        .filter(|event| event["reason"] == "ExecUntraced");
    untraced.collect()
}

#[test]
fn a_command_reaches_kubelet_behind_the_tracer_with_its_caller_s_name() {
    let operator = Operator::shared();
    let endpoint = ExecEndpoint::start(ControlPlane::shared());
    let labels: [&[(&str, &str)]; 2] = [&[], &[("picket.dev/enforce", "true")]];
    for labels in labels {
        let namespace = operator.namespace("exec", labels);
        let spec = json!({"computeType": "Any", "coverage": {"exec": true}});
        operator.protect(&namespace, "all", spec);
        let stored = created(operator, &endpoint.node, pod(&namespace, "web"));
        assert_injected(&stored);

        let command = ["-i", "--", "sh", "-c", "echo 'a b' && $HOME+%41 --"];
        let asked = traced(operator, &endpoint, (&namespace, "web"), &command);
        let (name, claims, own) = unwrapped(&asked);
        assert_eq!(own, command[2..]);
        assert_eq!(asked.target, format!("{namespace}/web/web"));
        assert_eq!(asked.options.get("input").map(String::as_str), Some("1"));
        assert_eq!(name, format!("web:{}", claims.session_name()));
        assert_eq!(claims.username, "alice");
        assert!(
            claims.groups.contains(&"developers".to_owned()),
            "{claims:?}"
        );
        assert_eq!(claims.container, "web");
        assert_eq!(stored["metadata"]["uid"], claims.pod_uid);

        // A second command is another session.
        let again = traced(operator, &endpoint, (&namespace, "web"), &["--", "id"]);
        assert_ne!(unwrapped(&again).1.nonce, claims.nonce);
        // Whoever writes our words himself gets the operator's instead.
        let forged: Vec<&str> = ["--"]
            .into_iter()
            .chain(asked.command.iter().map(|w| &**w))
            .collect();
        let (_, anew, own) = unwrapped(&traced(operator, &endpoint, (&namespace, "web"), &forged));
        assert_ne!(anew.nonce, claims.nonce);
        assert_eq!(own, command[2..]);
        assert_eq!(events(operator, &namespace), Vec::<Value>::new());
    }
}

#[test]
fn a_command_that_is_not_traced_arrives_as_it_was_and_is_told() {
    let operator = Operator::shared();
    let endpoint = ExecEndpoint::start(ControlPlane::shared());
    let namespace = operator.protected("exec-off", &[]);
    assert_injected(&created(operator, &endpoint.node, pod(&namespace, "web")));
    let event = eventually("the event", || {
        let asked = exec(operator, &endpoint, &namespace, "web", &["--", "id", "-u"]);
        assert_eq!(asked.command, ["id", "-u"]);
        events(operator, &namespace).pop()
    });
    let message = event["message"].as_str().expect("message");
    assert!(message.contains("alice ran a command"), "{message}");
    assert!(message.contains("ExecExcluded"), "{message}");
    assert!(
        !message.contains("id -u"),
        "the command itself is nobody's business: {message}"
    );
    assert_eq!(event["involvedObject"]["kind"], "Pod");
    assert_eq!(event["involvedObject"]["name"], "web");
}

#[test]
fn a_container_without_the_tracer_is_left_alone_and_told() {
    let operator = Operator::shared();
    let endpoint = ExecEndpoint::start(ControlPlane::shared());
    let namespace = operator.namespace("exec-part", &[]);
    let spec = json!({
        "computeType": "Any", "coverage": {"exec": true}, "containers": {"exclude": ["proxy"]},
    });
    operator.protect(&namespace, "all", spec);
    let mut two = pod(&namespace, "web");
    let mut proxy = two["spec"]["containers"][0].clone();
    proxy["name"] = json!("proxy");
    two["spec"]["containers"]
        .as_array_mut()
        .expect("list")
        .push(proxy);
    created(operator, &endpoint.node, two);
    let event = eventually("the event", || {
        let asked = exec(
            operator,
            &endpoint,
            &namespace,
            "web",
            &["-c", "proxy", "--", "id"],
        );
        assert_eq!(asked.command, ["id"]);
        events(operator, &namespace).pop()
    });
    let message = event["message"].as_str().expect("message");
    assert!(message.contains("ContainerNotTraced"), "{message}");
    let (name, ..) = unwrapped(&traced(
        operator,
        &endpoint,
        (&namespace, "web"),
        &["-c", "web", "--", "id"],
    ));
    assert!(name.starts_with("web:exec-"), "{name}");
}

#[test]
fn commands_in_pods_that_no_policy_is_for_are_nobody_s_business() {
    let operator = Operator::shared();
    let endpoint = ExecEndpoint::start(ControlPlane::shared());
    let namespace = operator.namespace("exec-free", &[]);
    created(operator, &endpoint.node, pod(&namespace, "web"));
    let decided = |reason: &str| {
        let metrics = operator.replicas[0].get("/metrics").expect("metrics").body;
        let line = metrics
            .lines()
            .find(|line| line.contains("picket_admission_decisions") && line.contains(reason))?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    let before = decided("NotSelected").unwrap_or(0);
    eventually("the operator knows the pod", || {
        let asked = exec(operator, &endpoint, &namespace, "web", &["--", "id"]);
        assert_eq!(asked.command, ["id"]);
        (decided("NotSelected").unwrap_or(0) > before).then_some(())
    });
    assert_eq!(events(operator, &namespace), Vec::<Value>::new());
}
