//! Real tracers and agents at a real operator: what is seen of them, and what they are told.
//! Deployments, ReplicaSets and pods are real objects with real controllers; that the pods'
//! containers run says a mock of kubelet, and what runs in their place are processes of this
//! machine with the flags of the pods' manifests.
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::OnceLock;

use picket_tests::kube::coverage::{has_gap, row};
use picket_tests::kube::objects::deployment;
use picket_tests::kube::relay::{Identity, Relay};
use picket_tests::kube::{ControlPlane, Kubectl, Kubelet, Options, eventually};
use serde_json::{Value, json};

/// A program that does nothing for as long as it is let.
const IDLE: &str = "while [ -e $ALIVE ]; do sleep 0.1; done";

fn install(control_plane: &'static ControlPlane) -> Relay {
    let options = Options {
        arguments: vec!["--quarantine=true".to_owned()],
        further_rules: vec!["quarantine.yaml"],
        ..Options::default()
    };
    Relay::with(control_plane, options)
}

fn relay() -> &'static Relay {
    static SHARED: OnceLock<Relay> = OnceLock::new();
    SHARED.get_or_init(|| install(ControlPlane::with_controllers()))
}

fn trace_of<'a>(row: &'a Value, container: &str) -> &'a str {
    let mut containers = row["containers"].as_array().into_iter().flatten();
    let found = containers.find(|one| one["name"] == container);
    found.map_or("", |one| one["state"].as_str().unwrap_or_default())
}

/// The one pod of an app that is not one of these.
fn pod_of(kubectl: &Kubectl, namespace: &str, but: Option<&Identity>) -> Identity {
    eventually("a pod runs", || {
        let list = [
            "get", "pods", "-n", namespace, "-l", "app=web", "-o", "json",
        ];
        let pods = kubectl.run(&list, "").expect_success().json();
        let mut pods = pods["items"].as_array()?.iter().filter(|pod| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        });
        let found = pods.find(|pod| but.is_none_or(|but| pod["metadata"]["uid"] != but.uid))?;
        Some(Identity {
            namespace: namespace.to_owned(),
            name: found["metadata"]["name"].as_str()?.to_owned(),
            uid: found["metadata"]["uid"].as_str()?.to_owned(),
        })
    })
}

#[test]
fn what_agents_say_is_in_coverage_until_they_fall_silent_and_after_a_restart_again() {
    let relay = relay();
    let kubectl = relay.operator.kubectl();
    let namespace = relay.operator.protected("live", &[]);
    let _kubelet = Kubelet::start(ControlPlane::with_controllers(), &namespace);
    kubectl.apply(&deployment(&namespace, "web", 1), false);
    let first = pod_of(&kubectl, &namespace, None);
    let mut agent = relay.agent(&first);
    let mut program = relay.traced(&first, &agent, "web", IDLE);
    let web = (namespace.as_str(), "Deployment", "web");
    let traced = row(&kubectl, web, |row| trace_of(row, "web") == "Traced");
    assert_eq!(traced["pods"]["reporting"], 1, "{traced:#}");
    assert_eq!(traced["rules"][0]["pods"], 1, "{traced:#}");
    let hash = traced["rules"][0]["hash"].as_str().expect("a hash");
    assert!(!hash.is_empty());

    // Rules that need an event for which the running filter was not made.
    let own = format!("own-{namespace}");
    let policy = "rules:\n- id: made\n  expression: mkdir.file.path == \"/made\"\n";
    relay.rule_set(&own, policy);
    let spec = json!({"computeType": "Any", "ruleSets": ["default", own]});
    let _ = relay.operator.protect(&namespace, "all", spec);
    let behind = row(&kubectl, web, |row| has_gap(row, "RulesNeedRestart"));
    assert_ne!(behind["rules"][0]["hash"], hash, "{behind:#}");

    // Its agent dies, and 75 seconds later that is said.
    agent.process.signal("KILL");
    agent.process.end();
    let silent = row(&kubectl, web, |row| has_gap(row, "NoHeartbeat"));
    assert_eq!(silent["state"], "Unhealthy", "{silent:#}");
    assert_eq!(silent["pods"]["reporting"], 0, "{silent:#}");
    relay.restart_agent(&first, &mut agent);
    let heard = row(&kubectl, web, |row| {
        !has_gap(row, "NoHeartbeat") && trace_of(row, "web") == "Traced"
    });
    assert_eq!(heard["pods"]["reporting"], 1, "{heard:#}");

    // The application ends, its container as kubelet sees it does not: that is no tracing.
    program.finish();
    row(&kubectl, web, |row| trace_of(row, "web") != "Traced");
    // New pods' filters are made for the rules of now.
    let restart = ["rollout", "restart", "deployment/web", "-n", &namespace];
    kubectl.run(&restart, "").expect_success();
    let second = pod_of(&kubectl, &namespace, Some(&first));
    let agent = relay.agent(&second);
    let _program = relay.traced(&second, &agent, "web", IDLE);
    let new = row(&kubectl, web, |row| {
        row["pods"]["total"] == 1 && trace_of(row, "web") == "Traced"
    });
    assert!(!has_gap(&new, "RulesNeedRestart"), "{new:#}");
    row(&kubectl, web, |row| row["state"] == "Healthy");
}

#[test]
fn the_report_is_true_again_after_the_operator_was_killed() {
    // Two operators of one cluster would write the same reports.
    let mut relay = install(ControlPlane::shared());
    let kubectl = relay.operator.kubectl();
    let namespace = relay.operator.protected("killed", &[]);
    let _kubelet = Kubelet::start(ControlPlane::shared(), &namespace);
    let web = relay.pod(&namespace, "web");
    let agent = relay.agent(&web);
    let mut program = relay.traced(&web, &agent, "web", IDLE);
    let at = (namespace.as_str(), "Pod", "web");
    row(&kubectl, at, |row| trace_of(row, "web") == "Traced");
    relay.operator.replicas[0].process().signal("KILL");
    // While nobody writes, the truth changes.
    program.finish();
    relay.restart();
    let after = row(&kubectl, at, |row| trace_of(row, "web") != "Traced");
    assert_eq!(after["pods"]["reporting"], 1, "{after:#}");
}

/// What the traced program does: it keeps one connection and asks on it again and again, and tries
/// a new one and a datagram each time. What became of them goes to its output.
const TALKER: &str = r#"
exec 3<>/dev/tcp/127.0.0.1/PORT
while [ -e $ALIVE ]; do
    (exec 4<>/dev/tcp/127.0.0.1/PORT) && echo connected
    echo again >&3 && read -r -t 10 answer <&3 && echo "kept: $answer"
    sleep 0.2
done
"#;

/// Answers every line on every connection.
fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().expect("a stream"));
                let mut stream = stream;
                let mut line = String::new();
                while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
                    if stream.write_all(line.as_bytes()).is_err() {
                        return;
                    }
                    line.clear();
                }
            });
        }
    });
    port
}

fn count(text: &str, word: &str) -> usize {
    text.lines().filter(|line| line.contains(word)).count()
}

#[test]
fn a_pod_in_quarantine_keeps_its_connections_makes_no_new_ones_and_is_let_go() {
    let relay = relay();
    let kubectl = relay.operator.kubectl();
    let namespace = relay.operator.protected("cut-off", &[]);
    let _kubelet = Kubelet::start(ControlPlane::with_controllers(), &namespace);
    let web = relay.pod(&namespace, "web");
    let manifest = kubectl.get("pod", &namespace, "web").expect("the pod");
    let command = manifest["spec"]["containers"][0]["command"].to_string();
    assert!(command.contains("quarantine"), "{command}");
    let agent = relay.agent(&web);
    let port = echo();
    let script = TALKER.replace("PORT", &port.to_string());
    let program = relay.traced(&web, &agent, "web", &script);
    let log = || program.process.log();
    // More happens of this than had by now.
    let again = |word: &str| {
        let before = count(&log(), word);
        eventually(word, || (count(&log(), word) > before + 1).then_some(()));
    };
    again("connected");
    again("kept: again");
    let at = (namespace.as_str(), "Pod", "web");
    row(&kubectl, at, |row| trace_of(row, "web") == "Traced");

    let annotate = |value: &str| {
        let annotation = format!("picket.dev/quarantine{value}");
        let command = ["annotate", "pod", "web", "-n", &namespace, &annotation];
        kubectl.run(&command, "").expect_success();
    };
    annotate("=true");
    again("Operation not permitted");
    let connected = count(&log(), "connected");
    again("kept: again");
    again("Operation not permitted");
    assert_eq!(count(&log(), "connected"), connected, "{}", log());
    row(&kubectl, at, |row| row["quarantined"] == json!(["web"]));
    // What stays open is told where people look, and in full in the agent's own words.
    let told = eventually("an event tells of what stays open", || {
        let list = ["get", "events", "-n", &namespace, "-o", "json"];
        let events = kubectl.run(&list, "").expect_success().json();
        let mut events = events["items"].as_array()?.clone().into_iter();
        events.find(|event| event["reason"] == "OpenConnections")
    });
    let message = told["message"].as_str().expect("a message");
    assert!(
        message.contains("stay open") && message.contains(" to "),
        "{message}"
    );
    let lines = agent.lines();
    let listed = lines
        .iter()
        .find(|line| line["evt"]["name"] == "open_connections");
    let listed = &listed.expect("the list")["open_connections"];
    let other_end = format!("127.0.0.1:{port}");
    let mut connections = listed["connections"].as_array().into_iter().flatten();
    // This machine's other programs are in the same network, and may have more than fit.
    let is_full = listed["omitted"]
        .as_u64()
        .is_some_and(|omitted| omitted > 0);
    assert!(
        is_full || connections.any(|one| one["remote"] == other_end.as_str()),
        "{listed:#}"
    );

    annotate("-");
    again("connected");
}

#[test]
fn no_datagram_leaves_a_pod_in_quarantine_however_large() {
    let relay = relay();
    let kubectl = relay.operator.kubectl();
    let namespace = relay.operator.protected("datagrams", &[]);
    let _kubelet = Kubelet::start(ControlPlane::with_controllers(), &namespace);
    let web = relay.pod(&namespace, "web");
    let agent = relay.agent(&web);
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = receiver.local_addr().expect("address").port();
    // A connected socket is refused where it connects; here the address is given with each.
    let script = format!(
        "import os, socket, time\n\
         large = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         while os.path.exists(os.environ['ALIVE']):\n\
         \x20   try:\n\
         \x20       large.sendto(b'x' * 1400, ('127.0.0.1', {port}))\n\
         \x20       print('sent', flush=True)\n\
         \x20   except PermissionError:\n\
         \x20       print('refused', flush=True)\n\
         \x20   time.sleep(0.1)\n"
    );
    let folder = agent.socket().with_file_name("sender.py");
    std::fs::write(&folder, script).expect("a script");
    let command = format!("exec /usr/bin/python3 {}", folder.display());
    let program = relay.traced(&web, &agent, "web", &command);
    let again = |word: &str| {
        let before = count(&program.process.log(), word);
        eventually(word, || {
            (count(&program.process.log(), word) > before + 1).then_some(())
        });
    };
    again("sent");
    let on = [
        "annotate",
        "pod",
        "web",
        "-n",
        &namespace,
        "picket.dev/quarantine=true",
    ];
    kubectl.run(&on, "").expect_success();
    again("refused");
    let sent = count(&program.process.log(), "sent");
    again("refused");
    assert_eq!(count(&program.process.log(), "sent"), sent);
}
