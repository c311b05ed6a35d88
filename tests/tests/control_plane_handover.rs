//! Agents find whoever leads, and go on trusting it when its authority changes.
#![allow(missing_docs)]

use std::time::Duration;

use picket_tests::kube::relay::Relay;
use picket_tests::kube::{Authority, ControlPlane, Options, eventually};
use serde_json::Value;

const SECRET: &str = "picket-webhook-certificate";
const NAMES: [&str; 2] = ["127.0.0.1", "picket-webhook.picket-system.svc"];
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How many heartbeats a replica has answered; 0 while it does not run.
fn heard(relay: &Relay, replica: usize) -> u64 {
    let start = "picket_relay_requests_total{what=\"heartbeat\",result=\"Answered\"} ";
    let page = relay.operator.replicas[replica].get("/metrics");
    let page = page.map(|page| page.body).unwrap_or_default();
    let mut numbers = page
        .lines()
        .filter_map(|line| line.strip_prefix(start)?.parse().ok());
    numbers.next().unwrap_or(0)
}

fn pod_ip(replica: usize) -> String {
    format!("10.255.0.{}", replica + 1)
}

#[test]
fn agents_follow_the_lead_to_another_replica() {
    let options = Options {
        replicas: 2,
        ..Options::default()
    };
    let mut relay = Relay::with(ControlPlane::shared(), options);
    relay.by_service();
    let namespace = ControlPlane::shared().namespace("handover", &[]);
    let pod = relay.pod(&namespace, "web");
    let leader = relay.leader();
    let other = 1 - leader;
    let kubectl = relay.operator.kubectl();
    let points_at = |replica: usize| {
        let slice = kubectl.get("endpointslice", &relay.operator.namespace, "picket-relay")?;
        let address = &slice["endpoints"][0]["addresses"][0];
        (*address == pod_ip(replica)).then_some(slice)
    };
    let slice = eventually("the Service leads to the leader", || points_at(leader));
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    let _agent = relay.agent(&pod);
    eventually("the leader hears the agent", || {
        (heard(&relay, leader) > 0).then_some(())
    });
    assert_eq!(heard(&relay, other), 0, "the other one does not lead");

    relay.operator.replicas[leader].process().signal("KILL");
    eventually("the Service leads to the other one", || points_at(other));
    eventually("the other one hears the agent", || {
        (heard(&relay, other) > 0).then_some(())
    });
}

#[test]
fn a_new_authority_reaches_agents_before_they_need_it() {
    let (old, new) = (Authority::new(), Authority::new());
    let options = Options {
        arguments: vec![
            "--certificates=External".to_owned(),
            "--certificate-grace-seconds=5".to_owned(),
        ],
        given_certificate: Some(old.secret("", SECRET, &NAMES, MONTH)),
        ..Options::default()
    };
    let mut relay = Relay::with(ControlPlane::shared(), options);
    let namespace = ControlPlane::shared().namespace("authorities", &[]);
    let pod = relay.pod(&namespace, "web");
    let agent = relay.agent(&pod);
    eventually("the agent is heard", || {
        (heard(&relay, 0) > 0).then_some(())
    });

    let secret = new.secret(&relay.operator.namespace, SECRET, &NAMES, 2 * MONTH);
    relay.operator.kubectl().apply(&secret, false);
    let kept = agent.socket().with_file_name("relay-trust.pem");
    eventually("the agent keeps both authorities", || {
        let kept = std::fs::read_to_string(&kept).ok()?;
        let both =
            kept.contains(new.certificate().trim()) && kept.contains(old.certificate().trim());
        both.then_some(())
    });
    // The operator starts anew with the new certificate alone, and the agent comes back.
    relay.restart();
    let trust = new.certificate().as_bytes();
    let replica = &relay.operator.replicas[0];
    eventually("the new certificate is served", || {
        replica.post("/mutate", "{}", trust)
    });
    eventually("the agent is heard again", || {
        (heard(&relay, 0) > 0).then_some(())
    });
    let complaints: Vec<Value> = agent.lines();
    let untrusted = |line: &Value| line.to_string().contains("UnknownIssuer");
    assert!(
        !complaints.iter().any(untrusted),
        "{}",
        agent.process.log_end()
    );
}
