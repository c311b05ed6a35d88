//! The shape of findings, held against files that people read in review.

mod support;

use picket_agent::identity::Mode;
use picket_agent::pipeline::{Output, Pipeline};
use picket_events::{Address, EventKind, Outcome, Protocol};
use serde_json::{Value, json};
use support::*;

/// Findings as JSON, without what differs between machines and versions.
fn shown(findings: Vec<picket_agent::finding::Finding>) -> Vec<Value> {
    let lines = findings.iter().map(picket_agent::finding::Finding::to_line);
    lines
        .map(|line| {
            let mut value: Value = serde_json::from_str(&line).expect("a finding is JSON");
            value["agent"]["version"] = json!("VERSION");
            value["agent"]["arch"] = json!("ARCH");
            value
        })
        .collect()
}

fn findings(script: &Script, rule: &str) -> Vec<Value> {
    let mut pipeline = Pipeline::new(rules(), identity(Mode::Monitor));
    let played = play(&mut pipeline, script, START);
    let wanted = played
        .findings
        .into_iter()
        .filter(|finding| finding.agent.rule_id == rule);
    shown(wanted.collect())
}

#[test]
fn exec() {
    let script = Script::web().fork(2, 1, "/usr/sbin/nginx").exec(
        2,
        "/bin/sh",
        &["sh", "-c", "curl --token abc https://u:p@host/"],
    );
    insta::assert_json_snapshot!(findings(&script, "web_shell"));
}

#[test]
fn open() {
    let kind = EventKind::Open {
        file: file("/etc/shadow"),
        flags: 0o2000000,
        mode: 0,
    };
    let script = Script::web().event_with(1, Outcome::Returned(-13), kind);
    insta::assert_json_snapshot!(findings(&script, "secret_read"));
}

#[test]
fn connect() {
    let address = Address::UnixPath("/run/docker.sock".to_owned());
    let script = Script::web().event(
        1,
        EventKind::Connect {
            address,
            protocol: Protocol::UNKNOWN,
        },
    );
    insta::assert_json_snapshot!(findings(&script, "docker_socket"));
}

#[test]
fn ruleset_loaded() {
    let bad = format!("{RULES}  - id: broken\n    expression: open.file.path === 3\n");
    let mut outputs: Vec<Output> = Vec::new();
    let mut pipeline = Pipeline::new(load(&bad), identity(Mode::Monitor));
    pipeline.start(START, &mut outputs);
    let mut lines = shown(sort(outputs).findings);
    lines[0]["ruleset_loaded"]["hash"] = json!("HASH");
    insta::assert_json_snapshot!(lines);
}

#[test]
fn heartbeat() {
    let mut outputs: Vec<Output> = Vec::new();
    let mut pipeline = Pipeline::new(rules(), identity(Mode::Monitor));
    play(
        &mut pipeline,
        &Script::web().open(1, "/etc/shadow").gap(3).goodbye(),
        START,
    );
    pipeline.heartbeat(START + 60 * SECOND, &mut outputs);
    let mut lines = shown(sort(outputs).findings);
    lines[0]["heartbeat"]["ruleset_hash"] = json!("HASH");
    insta::assert_json_snapshot!(lines);
}

#[test]
fn every_finding_is_one_line_and_bounded() {
    let long = "x".repeat(20_000);
    let argv: Vec<&str> = std::iter::repeat_n(long.as_str(), 5).collect();
    let mut script = Script::web();
    for pid in 2..100 {
        script = script
            .fork(pid, pid - 1, "/usr/sbin/nginx")
            .exec(pid, "/bin/sh", &argv);
    }
    let mut pipeline = Pipeline::new(rules(), identity(Mode::Monitor));
    let played = play(&mut pipeline, &script, START);
    let longest = played
        .findings
        .iter()
        .map(|finding| finding.to_line())
        .max_by_key(String::len);
    let longest = longest.unwrap();
    assert!(
        !longest.contains('\n') && longest.len() < 64 * 1024,
        "{} bytes",
        longest.len()
    );
    assert!(longest.contains(r#""truncated_ancestors":true"#));
    assert!(longest.contains(r#""args_truncated":true"#));
}
