//! Policy files: merging, overriding, filters, actions, limits, and what a mistake costs.

use std::sync::Arc;

use picket_rules::tools::event::WrittenEvent;
use picket_rules::{
    ActionRequest, Catalogue, Evaluator, KillScope, LoadOptions, LoadReport, Match, PolicySource,
    RuleSet, Status,
};
use serde_json::{Value, json};

fn source(name: &str, text: &str) -> PolicySource {
    PolicySource {
        name: name.to_owned(),
        text: text.to_owned(),
        origin: "test".to_owned(),
    }
}

fn load(texts: &[(&str, &str)]) -> (Arc<RuleSet>, LoadReport) {
    let sources: Vec<PolicySource> = texts
        .iter()
        .map(|(name, text)| source(name, text))
        .collect();
    let (rules, report) = RuleSet::load(&Catalogue::standard(), &sources, &LoadOptions::default());
    (Arc::new(rules), report)
}

fn load_one(text: &str) -> Arc<RuleSet> {
    let (rules, report) = load(&[("one.policy", text)]);
    assert!(report.is_ok(), "{report:#?}");
    rules
}

fn ids(rules: &RuleSet) -> Vec<&str> {
    rules.rules().iter().map(|rule| rule.id.as_str()).collect()
}

fn event(json: Value) -> WrittenEvent {
    WrittenEvent::read(&Catalogue::standard(), &json).unwrap()
}

fn evaluate(evaluator: &mut Evaluator, event: &WrittenEvent) -> Vec<Match> {
    let mut matches = Vec::new();
    evaluator.evaluate(event.event_type().unwrap(), event, &mut matches);
    matches
}

/// Ids of the rules that match, in order.
fn matched(evaluator: &mut Evaluator, event: &WrittenEvent) -> Vec<String> {
    let matches = evaluate(evaluator, event);
    let rules = Arc::clone(evaluator.rules());
    matches
        .iter()
        .map(|one| rules.rules()[one.rule].id.clone())
        .collect()
}

#[test]
fn one_bad_rule_takes_no_other_with_it() {
    let (rules, report) = load(&[(
        "bad.policy",
        r#"version: 1.2.3
rules:
  - id: good
    expression: open.file.path == "/a"
  - id: typo
    expression: >-
      open.file.path == "/a"
      && open.file.nam == "b"
  - id: two_events
    expression: open.file.path == "/a" && exec.file.path == "/b"
  - id: no_event
    expression: process.uid == 0
  - id: bad-id
    expression: open.file.path == "/a"
  - expression: open.file.path == "/a"
  - id: wrong_tags
    expression: open.file.path == "/a"
    tags: 5
  - 17
  - id: also_good
    expression: exec.file.name == "x"
"#,
    )]);
    assert_eq!(ids(&rules), ["good", "also_good"]);
    let policy = &report.policies[0];
    assert_eq!(
        (policy.version.as_str(), policy.status),
        ("1.2.3", Status::PartiallyLoaded)
    );
    let errors: Vec<String> = report
        .errors()
        .map(|(_, error)| error.to_string())
        .collect();
    let expected = [
        "8:10: typo: unknown field, macro or constant \"open.file.nam\"",
        "10:43: two_events: a rule belongs to one event type: open and exec",
        "12:17: no_event: no field says which event",
        "13:9: id \"bad-id\": only letters",
        "15:5: a rule needs an id",
        "18:11: wrong_tags: tags: expected a mapping, found a number",
        "19:5: expected a mapping, found a number",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(
            error.starts_with(expected),
            "{error}\nshould begin with\n{expected}"
        );
    }
    assert!(
        errors[0].ends_with("did you mean open.file.name?"),
        "{}",
        errors[0]
    );
}

#[test]
fn a_rule_knows_its_own_tags() {
    let rules = load_one(
        r#"
macros: [{id: LOUD, expression: '"severity:high" in event.rule.tags'}]
rules:
  - {id: high, expression: open.file.name == "a" && LOUD, tags: {severity: high, team: x}}
  - {id: low, expression: open.file.name == "a" && LOUD, tags: {severity: low}}
  - {id: none, expression: open.file.name == "a" && event.rule.tags.length == 0}
  - {id: team, expression: 'open.file.name == "a" && event.rule.tags == ~"team:*"', tags: {team: y}}
"#,
    );
    let mut evaluator = Evaluator::new(rules);
    let open = event(json!({"type": "open", "open.file.name": "a"}));
    assert_eq!(matched(&mut evaluator, &open), ["high", "none", "team"]);
    // They are nothing that a finding has to show as a variable.
    assert_eq!(evaluator.variables(&open).len(), 0);
}

#[test]
fn broken_yaml_costs_its_own_file_only() {
    let (rules, report) = load(&[
        ("broken.policy", "rules:\n  - id: x\n   expression: [\n"),
        (
            "good.policy",
            "rules:\n  - id: good\n    expression: open.file.path == \"/a\"\n",
        ),
    ]);
    assert_eq!(ids(&rules), ["good"]);
    assert_eq!(report.policies[0].status, Status::Error);
    assert!(report.policies[0].errors[0].message.starts_with("YAML:"));
    assert!(report.policies[0].errors[0].file.is_some());
}

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
fn the_same_id_twice_is_a_mistake_unless_conditions_tell_them_apart() {
    let (rules, report) = load(&[(
        "a.policy",
        r#"
rules:
  - {id: twin, expression: open.file.name == "new", agent_version: ">= 7.71"}
  - {id: twin, expression: open.file.name == "old", agent_version: "< 7.71"}
  - {id: twice, expression: open.file.name == "1"}
  - {id: twice, expression: open.file.name == "2"}
  - {id: windows, expression: open.file.name == "w", filters: ['os == "windows"']}
  - {id: wrong_filter, expression: open.file.name == "w", filters: ['os == 5']}
"#,
    )]);
    assert_eq!(ids(&rules), ["twin", "twice"]);
    let rows: Vec<Status> = report.policies[0]
        .rules
        .iter()
        .map(|rule| rule.status)
        .collect();
    use Status::{Error, Filtered, Loaded};
    assert_eq!(rows, [Loaded, Filtered, Loaded, Error, Filtered, Error]);
}

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
        (0..times)
            .filter(|_| evaluate(&mut evaluator, &event)[0].report)
            .count()
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
        (0..times)
            .filter(|_| evaluate(&mut evaluator, &event)[0].report)
            .count()
    };
    for session in ["", "alice's", "mallory's"] {
        assert_eq!(
            (reports("r", session, 3), reports("p", session, 100)),
            (1, 40),
            "{session}"
        );
    }
}

#[test]
fn a_pseudo_field_stands_for_a_rule_for_each_event_type() {
    let rules = load_one(
        "rules:\n  - {id: fim, expression: 'fim.write.file.path == \"/etc/passwd\" && process.uid == 0'}\n",
    );
    let names: Vec<&str> = rules
        .rules()
        .iter()
        .map(|rule| rules.catalogue().event_name(rule.event))
        .collect();
    assert_eq!(
        names,
        [
            "open", "chmod", "chown", "link", "rename", "rename", "unlink", "utimes"
        ]
    );
    assert!(
        rules.rules()[0]
            .compiled_expression()
            .contains("open.flags &")
    );
    assert!(rules.interest().to_string().ends_with("open:write"));
    let mut evaluator = Evaluator::new(rules);
    let read = event(json!({"type": "open", "open.file.path": "/etc/passwd"}));
    assert!(matched(&mut evaluator, &read).is_empty());
    let write = event(json!({"type": "open", "open.file.path": "/etc/passwd", "open.flags": 1}));
    assert_eq!(matched(&mut evaluator, &write), ["fim"]);
    let rename = json!({"type": "rename", "rename.file.destination.path": "/etc/passwd"});
    assert_eq!(matched(&mut evaluator, &event(rename)), ["fim"]);
}

#[test]
fn names_from_older_versions_are_understood() {
    let rules = load_one(
        r#"
rules:
  - {id: a, expression: open.filename == "/x" && open.basename == "x" && process.name == "cat"}
  - {id: b, expression: rename.old.path == "/x" && rename.new.basename == "y"}
  - {id: c, expression: chown.uid == 5 && process.container.id != "" || container.id == "" && chown.filename != ""}
  - {id: d, expression: process.ancestors.filename == "/x" && link.target.filename == "/l"}
"#,
    );
    assert_eq!(rules.rules().len(), 4);
}

#[test]
fn rules_on_events_that_never_happen_load_with_a_warning() {
    let (rules, report) = load(&[(
        "a.policy",
        "rules:\n  - {id: p, expression: packet.size > 5}\n",
    )]);
    assert_eq!(ids(&rules), ["p"]);
    assert!(report.policies[0].rules[0].warnings[0].contains("never happen here"));
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

#[test]
fn a_faulty_macro_is_reported_where_it_stands_and_where_it_is_used() {
    let (rules, report) = load(&[(
        "a.policy",
        "macros:\n  - {id: BAD, expression: 'open.file.nme == \"x\"'}\n  - {id: WORSE, expression: '(('}\nrules:\n  - {id: uses, expression: BAD}\n  - {id: uses_worse, expression: WORSE}\n  - {id: ok, expression: open.file.name == \"x\"}\n",
    )]);
    assert_eq!(ids(&rules), ["ok"]);
    assert_eq!(report.policies[0].errors.len(), 2);
    assert_eq!(
        report.policies[0].rules[0].error.as_ref().unwrap().message,
        "in macro BAD: unknown field, macro or constant \"open.file.nme\""
    );
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
