//! What a match leads to: actions and reports.

use picket_rules::tools::event::WrittenEvent;
use picket_rules::{
    ActionRequest, Catalogue, Evaluator, KillScope, LoadOptions, PolicySource, RuleSet,
};
use serde_json::json;

use crate::{evaluate, event, ids, load, load_one};

#[test]
fn kill_hash_and_log_are_handed_out() {
    let (rules, report) = load(&[(
        "a.policy",
        r#"
rules:
  - id: act
    expression: open.file.path == "/x"
    actions:
      - kill: {signal: SIGKILL, scope: container}
      - hash: {field: open.file}
      - hash: {field: process.file, max_file_size: 10}
      - log: {level: warn, message: "%{process.comm} opened ${process.pid}"}
      - coredump: {process: true}
  - {id: bad_signal, expression: open.file.path == "/x", actions: [{kill: {signal: SIGNOT}}]}
  - {id: bad_kind, expression: open.file.path == "/x", actions: [{dance: {}}]}
  - {id: bad_hash, expression: open.file.path == "/x", actions: [{hash: {field: exec.file}}]}
"#,
    )]);
    assert_eq!(ids(&rules), ["act"]);
    assert!(report.policies[0].rules[0].warnings[0].contains("coredump"));
    assert_eq!(report.errors().count(), 3);
    let catalogue = Catalogue::standard();
    let mut evaluator = Evaluator::new(rules);
    let open =
        json!({"type": "open", "open.file.path": "/x", "process.comm": "cat", "process.pid": 7});
    let matches = evaluate(&mut evaluator, &event(open));
    assert!(matches[0].report);
    let field = |name| catalogue.field(name).unwrap();
    assert_eq!(
        matches[0].actions,
        [
            ActionRequest::Kill {
                signal: 9,
                scope: KillScope::Container
            },
            ActionRequest::Hash {
                field: field("open.file.path"),
                max_size: 5 << 20
            },
            ActionRequest::Hash {
                field: field("process.file.path"),
                max_size: 10
            },
            ActionRequest::Log {
                level: "warn".to_owned(),
                message: "cat opened 7".to_owned()
            },
        ]
    );
}

#[test]
fn a_quarantine_is_handed_out_and_asks_for_what_it_refuses() {
    let text = r#"
version: 1.0.0
rules:
  - id: cut_off
    expression: unlink.file.path == "/x"
    actions: [{quarantine: {}}]
"#;
    let source = PolicySource {
        name: "quarantine.policy".to_owned(),
        text: text.to_owned(),
        origin: String::new(),
    };
    let options = LoadOptions::default();
    let (rules, report) = RuleSet::load(&Catalogue::standard(), &[source], &options);
    assert!(report.is_ok());
    assert!(rules.rules()[0].quarantines());
    assert_eq!(
        rules.interest().to_string(),
        "exec,fork,exit,unlink,quarantine"
    );
}

/// How many of so many equal events are reported.
fn reported(evaluator: &mut Evaluator, event: &WrittenEvent, times: usize) -> usize {
    (0..times)
        .filter(|_| evaluate(evaluator, event)[0].report)
        .count()
}

#[test]
fn reports_are_limited_matches_are_not() {
    let rules = load_one(
        r#"
rules:
  - {id: plain, expression: open.file.name == "p"}
  - {id: rare, expression: open.file.name == "r", every: 10s, limiter_token: [open.file.path]}
"#,
    );
    let mut evaluator = Evaluator::new(rules);
    let mut reports = |name: &str, path: &str, now: i64, times: usize| {
        let mut event =
            event(json!({"type": "open", "open.file.name": name, "open.file.path": path}));
        event.now = now;
        reported(&mut evaluator, &event, times)
    };
    assert_eq!(reports("p", "/a", 0, 100), 40);
    assert_eq!((reports("r", "/a", 0, 5), reports("r", "/b", 0, 5)), (1, 1));
    assert_eq!(
        (
            reports("r", "/a", 9_999_999_999, 1),
            reports("r", "/a", 10_000_000_000, 1)
        ),
        (0, 1)
    );
}

#[test]
fn reports_are_limited_for_each_session_of_its_own() {
    let rules = load_one(
        r#"
rules:
  - {id: plain, expression: open.file.name == "p"}
  - {id: rare, expression: open.file.name == "r", every: 1m, limiter_token: [open.file.name]}
"#,
    );
    let mut evaluator = Evaluator::new(rules);
    let mut reports = |name: &str, session: &str, times: usize| {
        let event = event(json!({
            "type": "open", "open.file.name": name, "process.user_session.id": session,
        }));
        reported(&mut evaluator, &event, times)
    };
    for session in ["", "alice's", "mallory's"] {
        assert_eq!(
            (reports("r", session, 3), reports("p", session, 100)),
            (1, 40),
            "{session}"
        );
    }
}
