//! Sessions by `kubectl exec`: rules and findings know who opened them.

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_agent::finding::Finding;
use picket_agent::identity::Mode;
use picket_agent::pipeline::Pipeline;
use picket_agent::sessions::Sessions;
use picket_events::session::Claims;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use support::*;

const RULES: &str = r#"
version: 1.0.0
rules:
  - id: alice
    expression: exec.user_session.k8s_username == "alice" && "developers" in exec.user_session.k8s_groups
    tags: {finding: "Execution:Test/Alice", severity: low}
  - id: session
    expression: open.file.path == "/etc/shadow" && process.user_session.session_type == 1
  - id: elsewhere
    expression: open.file.path == "/etc/shadow" && process.user_session.id == ""
"#;

fn operator() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key")
}

fn pipeline() -> Pipeline {
    let key = STANDARD.encode(operator().public_key());
    Pipeline::new(load(RULES), identity(Mode::Monitor))
        .with_sessions(Sessions::with_keys(&key).expect("a key"))
}

/// What a session of alice's does, with the token that the operator signed for this pod.
fn session(pod_uid: &str) -> Script {
    let now = START / SECOND;
    let claims = Claims {
        pod_uid: pod_uid.to_owned(),
        container: "web".to_owned(),
        nonce: [0xcd; 16],
        username: "alice".to_owned(),
        uid: "u-1".to_owned(),
        groups: vec!["developers".to_owned(), "system:authenticated".to_owned()],
        groups_truncated: false,
        issued_at: now,
        expires_at: now + 120,
    };
    let signed = claims.to_signed().expect("claims");
    let signature = operator().sign(&signed.message());
    let mut hello = hello(&format!("web:{}", claims.session_name()), 9);
    hello.session_token = Some(signed.with_signature(signature.as_ref()).to_string());
    Script::new(hello)
        .process(70, 0, "/picket/picket-tracer", &["picket-tracer"])
        .fork(71, 70, "/picket/picket-tracer")
        .exec(71, "/bin/sh", &["sh"])
        .fork(72, 71, "/bin/sh")
        .exec(72, "/bin/cat", &["cat", "/etc/shadow"])
        .open(72, "/etc/shadow")
        .goodbye()
}

fn line(findings: &[Finding], name: &str) -> Value {
    let found = findings
        .iter()
        .find(|finding| finding.agent.rule_id == name);
    let finding = found.unwrap_or_else(|| panic!("no {name} in {:?}", names(findings)));
    serde_json::from_str(&finding.to_line()).expect("JSON")
}

#[test]
fn every_process_of_a_session_has_the_caller_s_name() {
    let pod = identity(Mode::Monitor).pod.uid;
    let findings = play(&mut pipeline(), &session(&pod), START).findings;
    let alice: Vec<_> = findings
        .iter()
        .filter(|one| one.agent.rule_id == "alice")
        .collect();
    assert_eq!(alice.len(), 2, "the shell and what it started");
    for name in ["alice", "session"] {
        let finding = line(&findings, name);
        let expected = json!({
            "id": "cd".repeat(16),
            "session_type": "k8s",
            "k8s_username": "alice",
            "k8s_uid": "u-1",
            "k8s_groups": ["developers", "system:authenticated"],
        });
        assert_eq!(finding["process"]["user_session"], expected);
        assert_eq!(finding["container"]["name"], "web");
    }
    let connected = line(&findings, "container_connected");
    assert_eq!(
        connected["container_connected"]["user_session"]["k8s_username"], "alice",
        "{connected:#}"
    );
    assert!(!names(&findings).contains(&"unidentified_session"));
}

#[test]
fn a_session_that_nobody_vouches_for_is_traced_and_reported() {
    let findings = play(&mut pipeline(), &session("of another pod"), START).findings;
    assert!(!names(&findings).contains(&"alice"));
    let session = line(&findings, "session");
    let shown = &session["process"]["user_session"];
    assert_eq!(shown["unidentified"], "TokenForeign");
    assert_eq!(shown["k8s_username"], Value::Null);
    let told = line(&findings, "unidentified_session");
    assert_eq!(
        told["unidentified_session"]["reason"], "TokenForeign",
        "{told:#}"
    );
    assert_eq!(told["finding"]["severity"], "medium");
    assert_eq!(told["container"]["name"], "web");
}

#[test]
fn what_is_copied_from_a_session_speaks_for_nobody() {
    let pod = identity(Mode::Monitor).pod.uid;
    let mut pipeline = pipeline();
    let first = play(&mut pipeline, &session(&pod), START).findings;
    assert!(names(&first).contains(&"alice"));
    // The same token and name, another tracer.
    let mut copied = session(&pod);
    if let picket_events::wire::ToAgent::Hello(hello) = &mut copied.messages[0] {
        hello.session_key = [8; 32];
    }
    let second = play(&mut pipeline, &copied, START + SECOND).findings;
    assert!(!names(&second).contains(&"alice"), "{:?}", names(&second));
    let told = line(&second, "unidentified_session");
    assert_eq!(told["unidentified_session"]["reason"], "TokenReused");
}

#[test]
fn the_container_s_own_processes_belong_to_no_session() {
    let script = Script::web().open(1, "/etc/shadow");
    let findings = play(&mut pipeline(), &script, START).findings;
    let finding = line(&findings, "elsewhere");
    assert_eq!(finding["process"]["user_session"], Value::Null);
}
