//! Real agents and strangers at a real relay, with the API server's own tokens.
#![allow(missing_docs)]

use picket_tests::kube::relay::{Agent, Identity, Relay};
use picket_tests::kube::{ControlPlane, eventually};
use serde_json::{Value, json};

const HEARTBEAT: &str = "/v1/heartbeat";
const FINDINGS: &str = "/v1/findings";
const ORDERS: &str = "/v1/orders";

fn relay() -> Relay {
    Relay::install(ControlPlane::shared())
}

fn namespace(prefix: &str) -> String {
    ControlPlane::shared().namespace(prefix, &[])
}

/// Asks until the relay knows of the pod, and leads.
fn known(relay: &Relay, token: &str) {
    eventually("the relay knows the pod", || {
        let answer = relay.ask("POST", HEARTBEAT, token, "{}")?;
        (answer.status == 204).then_some(())
    });
}

fn status(relay: &Relay, path: &str, token: &str, body: &str) -> u16 {
    let answer = relay.ask("POST", path, token, body);
    answer.expect("the relay answers").status
}

/// Waits until the agent has loaded rules among which are those with this id (or are not).
fn evaluates(agent: &Agent, rule: &str, wanted: bool) {
    eventually("the agent has the rules", || {
        let loaded = agent
            .lines()
            .into_iter()
            .rfind(|line| line["agent"]["rule_id"] == "ruleset_loaded")?;
        (loaded.to_string().contains(rule) == wanted).then_some(())
    });
}

fn policy_of(id: &str) -> String {
    format!("rules:\n- id: {id}\n  expression: mkdir.file.path == \"/{id}\"\n")
}

fn events_about(relay: &Relay, pod: &Identity) -> Vec<Value> {
    let list = ["get", "events", "-n", &pod.namespace, "-o", "json"];
    let output = relay.operator.kubectl().run(&list, "");
    let list: Value = serde_json::from_str(&output.expect_success().stdout).expect("JSON");
    let all = list["items"].as_array().cloned().unwrap_or_default();
    all.into_iter()
        .filter(|event| event["involvedObject"]["uid"] == pod.uid.as_str())
        .collect()
}

#[test]
fn strangers_are_refused_by_reason_and_a_pod_speaks_only_for_itself() {
    let relay = relay();
    let shop = namespace("relay");
    let pod = relay.pod(&shop, "web");
    let other = relay.pod(&shop, "other");
    let token = relay.token(&pod, "picket");
    known(&relay, &token);

    let strangers =
        |reason: &str| relay.counter("picket_relay_strangers", &format!("reason=\"{reason}\""));
    // Signed by the cluster, and changed afterwards.
    let mut forged = token.clone();
    let middle = forged.len() - 20;
    let letter = if forged.as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    forged.replace_range(middle..=middle, letter);
    for (token, reason) in [
        (String::new(), "NoToken"),
        (forged, "Forged"),
        (relay.expired(&token), "Expired"),
        (relay.token(&pod, "somebody-else"), "Foreign"),
        (relay.account_token(&shop, "default", "picket"), "Foreign"),
    ] {
        let before = strangers(reason);
        assert_eq!(status(&relay, HEARTBEAT, &token, "{}"), 401, "{reason}");
        assert!(strangers(reason) > before, "{reason}");
    }
    // The API server takes its own token with any audience for what its own audience is.
    let reading = relay.ask("GET", "/v1/recent-findings", &token, "");
    assert_eq!(reading.expect("answer").status, 401);

    let claim = json!({"podUid": other.uid}).to_string();
    assert_eq!(status(&relay, HEARTBEAT, &token, &claim), 403);
    for (path, body) in [
        (HEARTBEAT, "no JSON".to_owned()),
        (
            HEARTBEAT,
            json!({"containers": vec![json!({}); 65]}).to_string(),
        ),
        (
            FINDINGS,
            json!({"findings": vec![json!({}); 257]}).to_string(),
        ),
    ] {
        assert_eq!(status(&relay, path, &token, &body), 400, "{body:.60}");
    }
    let large = format!("{{\"podUid\":\"{}\"}}", "x".repeat(70 * 1024));
    assert_eq!(status(&relay, HEARTBEAT, &token, &large), 413);
    // A connection lasts as long as what comes on it is well-formed.
    let told = relay.until_closed(HEARTBEAT, &token, &["{}", "{}", "no JSON"]);
    assert_eq!(told, Some(vec![204, 204, 400]));
    let told = relay.until_closed(HEARTBEAT, &token, &["{}", &large]);
    assert!(told.is_some_and(|told| told[0] == 204));

    // A pod that is gone has nothing to say, however good its token was.
    let kubectl = relay.operator.kubectl();
    let delete = ["delete", "pod", &pod.name, "-n", &shop, "--force"];
    kubectl.run(&delete, "").expect_success();
    eventually("the pod is not heard any more", || {
        (status(&relay, HEARTBEAT, &token, "{}") == 401).then_some(())
    });
}

#[test]
fn who_asks_too_often_waits_and_others_do_not() {
    let relay = relay();
    let shop = namespace("relay");
    let (pod, other) = (relay.pod(&shop, "web"), relay.pod(&shop, "other"));
    let (token, others) = (relay.token(&pod, "picket"), relay.token(&other, "picket"));
    known(&relay, &token);
    known(&relay, &others);
    // On one connection, for a busy machine takes longer over a handshake than the limit asks for.
    let told = relay.until_refused(HEARTBEAT, &token, "{}", 200);
    let told = told.expect("answers");
    assert_eq!((told.first(), told.last()), (Some(&204), Some(&429)));
    assert_eq!(status(&relay, HEARTBEAT, &others, "{}"), 204);
}

#[test]
fn a_rule_set_reaches_an_agent_and_a_faulty_one_is_told_where_it_is() {
    let relay = relay();
    let shop = relay.operator.protected("relay", &[]);
    let pod = relay.pod(&shop, "web");
    let agent = relay.agent(&pod);
    evaluates(&agent, "picket_network_service_listens", true);
    assert!(!agent.interest().contains("mkdir"));

    let own = format!("own-{shop}");
    relay.rule_set(&own, &policy_of("first"));
    let spec = json!({"computeType": "Any", "ruleSets": ["default", own]});
    let _ = relay.operator.protect(&shop, "all", spec);
    evaluates(&agent, "\"first\"", true);
    eventually("tracers that start later show it", || {
        agent.interest().contains("mkdir").then_some(())
    });
    relay.rule_set(&own, &policy_of("second"));
    evaluates(&agent, "\"second\"", true);
    evaluates(&agent, "\"first\"", false);
    // New pods' filters are built for it.
    let mut number = 0;
    eventually("the webhook knows of the interest", || {
        number += 1;
        let name = format!("new-{number}");
        let _ = relay.pod(&shop, &name);
        let pod = relay.operator.kubectl().get("pod", &shop, &name)?;
        let text = pod.to_string();
        (text.contains("mkdir") && text.contains("PICKET_RELAY_CA")).then_some(())
    });

    let faulty = format!(
        "{}- id: third\n  expression: mkdir.file.pth == \"/x\"\n",
        policy_of("second")
    );
    relay.rule_set(&own, &faulty);
    let set = eventually("the fault is told", || {
        let set = relay.get_rule_set(&own)?;
        (set["status"]["refused"] == 1).then_some(set)
    });
    let error = &set["status"]["errors"][0];
    assert_eq!(error["rule"], "third", "{set:#}");
    assert_eq!(error["line"], 5, "{set:#}");
    assert_eq!(set["status"]["conditions"][0]["reason"], "PartlyAccepted");
    eventually("the policy says so", || {
        let policy = relay
            .operator
            .kubectl()
            .get("protectionpolicy", &shop, "all")?;
        let conditions = policy["status"]["conditions"].as_array()?.clone();
        conditions
            .iter()
            .any(|condition| condition["reason"] == "RuleSetFaulty")
            .then_some(())
    });
    // Nothing of it can be used: the agent keeps what it has.
    relay.rule_set(&own, "rules:\n- id: wrong\n  expression: mkdir.\n");
    eventually("the agent says why not", || {
        let log = agent.process.log();
        log.contains("rules from the relay cannot be used")
            .then_some(())
    });
    evaluates(&agent, "\"second\"", true);

    let shown = eventually("the built-in rules are shown", || {
        relay.get_rule_set("default")
    });
    assert!(
        shown["spec"]["policies"]
            .as_array()
            .is_some_and(|all| all.len() > 3)
    );
}

#[test]
fn rules_of_a_config_map_reach_an_agent_and_follow_it() {
    let relay = relay();
    let shop = relay.operator.protected("mapped", &[]);
    let pod = relay.pod(&shop, "web");
    let agent = relay.agent(&pod);
    let (name, namespace) = (format!("mapped-{shop}"), &relay.operator.namespace);
    let kubectl = relay.operator.kubectl();
    let put = |policy: &str, list: &str| {
        kubectl.apply(
            &json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace},
                "data": {"own.policy": policy, "bad.domains": list},
            }),
            false,
        );
    };
    put(&policy_of("mapped_first"), "evil.example\n");
    kubectl.apply(
        &json!({
            "apiVersion": "picket.dev/v1alpha1", "kind": "RuleSet",
            "metadata": {"name": name}, "spec": {"configMap": name},
        }),
        false,
    );
    let spec = json!({"computeType": "Any", "ruleSets": ["default", name]});
    let _ = relay.operator.protect(&shop, "all", spec);
    evaluates(&agent, "\"mapped_first\"", true);
    put(&policy_of("mapped_second"), "evil.example\nworse.example\n");
    evaluates(&agent, "\"mapped_second\"", true);
    evaluates(&agent, "\"mapped_first\"", false);
    // What the set's status says is not looked at: other operators of this control plane, which
    // have no such ConfigMap, write it too.
}

#[test]
fn findings_are_told_on_the_pod_on_standard_output_and_to_who_may_read() {
    let relay = relay();
    let shop = namespace("relay");
    let pod = relay.pod(&shop, "web");
    let token = relay.token(&pod, "picket");
    known(&relay, &token);
    let account = ["create", "serviceaccount", "picket-findings-reader", "-n"];
    let kubectl = relay.operator.kubectl();
    kubectl
        .run(&[&account[..], &[&relay.operator.namespace]].concat(), "")
        .expect_success();

    let finding = json!({
        "title": "a shell\u{1b}[31m talks",
        "finding": {"type": "Execution:Runtime/ReverseShell", "severity": "high"},
        "pod": {"namespace": "kube-system", "name": "dns", "uid": "1"},
    });
    let batch = json!({"findings": [finding, "no finding"]}).to_string();
    assert_eq!(status(&relay, FINDINGS, &token, &batch), 204);

    let events = eventually("the finding is an Event on the pod", || {
        let events = events_about(&relay, &pod);
        (!events.is_empty()).then_some(events)
    });
    assert_eq!(events[0]["reason"], "ReverseShell");
    assert_eq!(events[0]["type"], "Warning");
    let message = events[0]["message"].as_str().expect("message");
    assert!(
        message.contains("[high]") && !message.contains('\u{1b}'),
        "{message}"
    );

    let ours = |lines: &str| {
        let all = lines.lines();
        let mut all = all.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        all.find(|line| line["finding"]["type"] == "Execution:Runtime/ReverseShell")
    };
    let line = eventually("the finding is on standard output", || {
        ours(&relay.operator.replicas[0].process().log())
    });
    assert_eq!(line["pod"]["uid"], pod.uid.as_str());
    assert_eq!(line["pod"]["namespace"], shop.as_str());

    let reader = relay.account_token(
        &relay.operator.namespace,
        "picket-findings-reader",
        "picket-cli",
    );
    let answer = relay.ask("GET", "/v1/recent-findings", &reader, "");
    let answer = answer.expect("answer");
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("Execution:Runtime/ReverseShell"));
    assert_eq!(
        relay.counter("picket_relay_findings", "result=\"malformed\""),
        1
    );
}

#[test]
fn agent_and_operator_come_back_to_each_other_after_kill_9() {
    let mut relay = relay();
    let shop = namespace("relay");
    let pod = relay.pod(&shop, "web");
    let mut agent = relay.agent(&pod);
    let answered = |relay: &Relay| {
        relay.counter(
            "picket_relay_requests",
            "what=\"heartbeat\",result=\"Answered\"",
        )
    };
    eventually("the agent is heard", || {
        (answered(&relay) > 0).then_some(())
    });

    agent.process.signal("KILL");
    agent.process.end();
    let before = answered(&relay);
    relay.restart_agent(&pod, &mut agent);
    eventually("the new agent is heard", || {
        (answered(&relay) > before).then_some(())
    });

    relay.restart();
    eventually("the agent finds the new operator", || {
        (answered(&relay) > 0).then_some(())
    });
    // It knows what it is to do as before.
    let token = relay.token(&pod, "picket");
    let orders = eventually("orders", || {
        relay
            .ask("GET", ORDERS, &token, "")
            .filter(|answer| answer.status == 200)
    });
    let orders: Value = serde_json::from_str(orders.body.trim()).expect("JSON");
    assert_eq!(orders["bundle"], "");
    assert!(
        orders["trust"]
            .as_str()
            .is_some_and(|trust| trust.contains("CERTIFICATE"))
    );
}
