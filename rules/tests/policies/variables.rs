//! Variables that rules set and read.

use picket_rules::Evaluator;
use serde_json::json;

use crate::{evaluate, event, load, load_one, matched};

#[test]
fn variables_are_set_appended_inherited_and_forgotten() {
    let rules = load_one(
        r#"
rules:
  - id: remember
    expression: open.file.name == "r"
    silent: true
    actions:
      - set: {name: seen, field: open.file.path, scope: process, append: true, size: 2, ttl: 10s, inherited: true}
      - set: {name: count, expression: "${count} + 1", default_value: 0}
      - set: {name: flag, value: true, scope: container}
        filter: process.uid == 0
  - id: reads
    expression: unlink.file.path in ${process.seen}
  - id: counted
    expression: rmdir.file.path != "" && ${count} == 3
  - id: flagged
    expression: mkdir.file.path != "" && ${container.flag}
"#,
    );
    let mut evaluator = Evaluator::new(rules);
    let open = |path: &str, uid: i64| {
        event(
            json!({"type": "open", "open.file.name": "r", "open.file.path": path, "process.uid": uid}),
        )
    };
    let unlink = |evaluator: &mut Evaluator, path: &str, now: i64, process: u64| {
        let mut event = event(json!({"type": "unlink", "unlink.file.path": path}));
        (event.now, event.process, event.ancestors) = (now, process, vec![99, 1]);
        !matched(evaluator, &event).is_empty()
    };
    for path in ["/a", "/b", "/c"] {
        let matches = evaluate(&mut evaluator, &open(path, 7));
        assert!(!matches[0].report);
    }
    assert!(!unlink(&mut evaluator, "/a", 0, 1), "only two are kept");
    assert!(unlink(&mut evaluator, "/b", 0, 1) && unlink(&mut evaluator, "/c", 0, 1));
    assert!(unlink(&mut evaluator, "/c", 0, 5), "a descendant inherits");
    assert!(
        !unlink(&mut evaluator, "/c", 11_000_000_000, 1),
        "it has expired"
    );
    let rmdir = event(json!({"type": "rmdir", "rmdir.file.path": "/d"}));
    assert_eq!(matched(&mut evaluator, &rmdir), ["counted"]);
    let mkdir = event(json!({"type": "mkdir", "mkdir.file.path": "/d"}));
    assert!(
        matched(&mut evaluator, &mkdir).is_empty(),
        "the action's filter did not hold"
    );
    evaluate(&mut evaluator, &open("/e", 0));
    assert_eq!(matched(&mut evaluator, &mkdir), ["flagged"]);
    assert_eq!(evaluator.variables(&mkdir)["count"], json!(4));
    evaluator.release(picket_rules::Scope::Container, 1);
    assert!(matched(&mut evaluator, &mkdir).is_empty());
}

#[test]
fn a_rule_sees_what_an_earlier_one_set_for_the_same_event() {
    let rules = load_one(
        r#"
rules:
  - {id: late, expression: 'open.file.name == "x" && ${early}'}
  - id: early
    expression: open.file.name == "x"
    priority: 5
    actions: [{set: {name: early, value: true}}]
"#,
    );
    let mut evaluator = Evaluator::new(rules);
    let open = event(json!({"type": "open", "open.file.name": "x"}));
    assert_eq!(matched(&mut evaluator, &open), ["early", "late"]);
}

#[test]
fn variables_need_one_type_and_a_known_scope() {
    let (_, report) = load(&[(
        "a.policy",
        r#"
rules:
  - {id: a, expression: open.file.name == "x", actions: [{set: {name: v, value: 1}}]}
  - {id: b, expression: open.file.name == "x", actions: [{set: {name: v, value: text}}]}
  - {id: c, expression: open.file.name == "x", actions: [{set: {name: w, value: 1, scope: planet}}]}
  - {id: d, expression: open.file.name == "x", actions: [{set: {name: e, expression: "1 + 1"}}]}
  - {id: e, expression: 'open.file.name == "x" && ${nope} == 1'}
  - {id: f, expression: open.file.name == "x", actions: [{set: {name: g, field: exec.file.path}}]}
"#,
    )]);
    let messages: Vec<String> = report
        .errors()
        .map(|(_, error)| error.message.clone())
        .collect();
    let expected = [
        "int",
        "planet",
        "default_value",
        "unknown variable ${nope}",
        "exec fields cannot",
    ];
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.contains(expected), "{message}: {expected}");
    }
}
