//! Several files become one set of rules.

use picket_rules::Evaluator;
use serde_json::json;

use crate::{evaluate, event, ids, load, load_one, matched};

#[test]
fn the_default_policy_comes_first_and_others_change_it() {
    let (rules, report) = load(&[
        (
            "mine.policy",
            r#"
macros:
  - {id: NAMES, values: [c], combine: merge}
  - {id: WHO, expression: process.uid == 5, combine: override}
rules:
  - {id: first, expression: open.file.name in NAMES && WHO, combine: override}
  - {id: off, disabled: true}
  - id: tagged
    combine: override
    override_options: {fields: [tags]}
    expression: open.file.path == "/ignored"
    tags: {severity: high}
  - {id: first_again, expression: open.file.name == "z"}
"#,
        ),
        (
            "default.policy",
            r#"
macros:
  - {id: NAMES, values: [a, b]}
  - {id: WHO, expression: process.uid == 0}
rules:
  - {id: first, expression: open.file.name == "x", tags: {kept: "yes"}}
  - {id: off, expression: open.file.name == "o"}
  - {id: tagged, expression: open.file.name == "t"}
"#,
        ),
    ]);
    assert!(report.is_ok(), "{report:#?}");
    assert_eq!(report.policies[0].name, "default.policy");
    assert_eq!(ids(&rules), ["first", "tagged", "first_again"]);
    assert_eq!(rules.rules()[0].tags["kept"], "yes");
    assert_eq!(rules.rules()[1].expression, r#"open.file.name == "t""#);
    assert_eq!(rules.rules()[1].tags["severity"], "high");
    assert_eq!(report.policies[0].rules[0].modified_by, ["mine.policy"]);
    let mut evaluator = Evaluator::new(rules);
    let open =
        |name, uid| event(json!({"type": "open", "open.file.name": name, "process.uid": uid}));
    assert_eq!(matched(&mut evaluator, &open("c", 5)), ["first"]);
    assert_eq!(matched(&mut evaluator, &open("a", 5)), ["first"]);
    assert_eq!(matched(&mut evaluator, &open("c", 0)), [""; 0]);
    assert_eq!(matched(&mut evaluator, &open("t", 0)), ["tagged"]);
}

#[test]
fn replacing_a_rule_set_keeps_variables_that_both_define_alike() {
    let text = r#"
rules:
  - {id: set, expression: open.file.name == "s", actions: [{set: {name: v, value: true}}]}
  - {id: get, expression: 'open.file.name == "g" && ${v}'}
"#;
    let mut evaluator = Evaluator::new(load_one(text));
    evaluate(
        &mut evaluator,
        &event(json!({"type": "open", "open.file.name": "s"})),
    );
    let get = event(json!({"type": "open", "open.file.name": "g"}));
    evaluator.replace(load_one(&format!(
        "{text}  - {{id: more, expression: open.file.name == \"m\"}}\n"
    )));
    assert_eq!(matched(&mut evaluator, &get), ["get"]);
    evaluator.replace(load_one(
        &text.replace("value: true", "value: true, ttl: 5s"),
    ));
    assert!(matched(&mut evaluator, &get).is_empty());
}

#[test]
fn hashes_differ_when_policies_do() {
    let hash = |text| load(&[("a.policy", text)]).0.hash();
    assert_eq!(hash("rules: []"), hash("rules: []"));
    assert_ne!(hash("rules: []"), hash("rules:  []"));
}
