//! The tools behind `picket rules …`.

use std::sync::Arc;

use picket_rules::tools::{bench, check, describe, eval, testing};
use picket_rules::{Catalogue, LoadOptions, PolicySource, RuleSet, defaults};

/// Nanoseconds.
const MINUTE: i64 = 60_000_000_000;

fn source(text: &str) -> PolicySource {
    PolicySource {
        name: "a.policy".to_owned(),
        text: text.to_owned(),
        origin: "a.policy".to_owned(),
    }
}

fn load(text: &str) -> Arc<RuleSet> {
    let options = LoadOptions::default();
    let (rules, report) = RuleSet::load(&Catalogue::standard(), &[source(text)], &options);
    assert!(report.is_ok(), "{report:#?}");
    Arc::new(rules)
}

#[test]
fn a_mistake_in_a_line_without_end_is_shown_with_what_is_around_it() {
    let list = vec!["\"/etc/passwd\""; 200].join(", ");
    let text = format!(
        "rules: [{{id: long, expression: 'open.file.path in [{list}] && open.file.nam == \"é\" && open.file.path in [{list}]'}}]"
    );
    let source = PolicySource {
        name: "one".to_owned(),
        text,
        origin: "test".to_owned(),
    };
    let sources = [source];
    let found = check::check(&Catalogue::standard(), &sources, &LoadOptions::default());
    let shown = found.render(&sources, &[]);
    let mut lines = shown.lines().skip_while(|line| !line.contains('|'));
    let (line, caret) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(line.chars().count() < 200 && line.ends_with('…'), "{line}");
    let place = caret.chars().take_while(|c| *c != '^').count();
    let marked: String = line.chars().skip(place).collect();
    assert!(marked.starts_with("open.file.nam "), "{shown}");
}

#[test]
fn check_marks_the_place_of_a_mistake() {
    let sources = [source(
        "rules:\n  - id: good\n    expression: exec.file.name == \"x\"\n  - id: bad\n    expression: exec.file.nam == \"x\"\n  - id: never\n    expression: packet.size > 5\n",
    )];
    let check = check::check(&Catalogue::standard(), &sources, &LoadOptions::default());
    assert!(!check.is_ok());
    assert_eq!((check.events["exec"], check.never.len()), (1, 1));
    let text = check.render(&sources, &[]);
    let expected = "\
a.policy (a.policy)
  ok good
  !! a.policy:5:17: bad: unknown field, macro or constant \"exec.file.nam\"
     |     expression: exec.file.nam == \"x\"
     |                 ^
     = did you mean exec.file.name?
  ok never
     warning: packet events never happen here: packets are not system calls
rules by event type: exec 1, packet 1
never fires here: never (packet): packets are not system calls
the tracer watches: exec,fork,exit
";
    assert_eq!(text, expected);
}

#[test]
fn eval_answers_each_line_with_a_result_or_an_error() {
    let catalogue = Catalogue::standard();
    let cases = [
        (
            r#"{"expr": "open.file.path == \"/etc/shadow\" && process.uid == 0", "event": {"type": "open", "open.file.path": "/etc/shadow"}}"#,
            r#"{"result":true}"#,
        ),
        (
            r#"{"expr": "process.ancestors.file.name == \"sh\"", "event": {"type": "exec", "process.ancestors": [{"file.name": "sh"}]}}"#,
            r#"{"result":true}"#,
        ),
        (
            r#"{"expr": "open.flags & O_CREAT > 0"}"#,
            r#"{"result":false}"#,
        ),
        (
            r#"{"expr": "fim.write.file.path == \"/x\"", "event": {"type": "unlink", "unlink.file.path": "/x"}}"#,
            r#"{"result":true}"#,
        ),
        (
            r#"{"expr": "open.file.path == 5"}"#,
            r#"{"error":"== cannot compare a text with a number","column":19}"#,
        ),
        (
            r#"{"expr": "true", "event": {"type": "opne"}}"#,
            r#"{"error":"unknown event type \"opne\"; did you mean open?"}"#,
        ),
        (
            r#"["true"]"#,
            r#"{"error":"not a request: expected an object such as {\"expr\": \"true\"}"}"#,
        ),
        (
            r#"{"expr": "true", "event": null, "note": "keys that mean nothing are passed over"}"#,
            r#"{"result":true}"#,
        ),
        // Of two macros that cannot be read, the first one is named.
        (
            r#"{"expr": "true", "macros": {"b": "((", "a": "))"}}"#,
            r#"{"error":"macro b: expected a value, found the end"}"#,
        ),
        // A minute after the call, unless the event says that its time is another.
        (
            r#"{"expr": "process.created_at > 59s && process.created_at < 61s"}"#,
            r#"{"result":true}"#,
        ),
        (
            r#"{"expr": "process.created_at > 61s", "event": {"process.created_at": 5000000000, "now": 67000000000}}"#,
            r#"{"result":true}"#,
        ),
        (
            r#"{"expr": "process.created_at < 2s", "event": {"process.created_at": 5000000000, "event.timestamp": 6000000000}}"#,
            r#"{"result":true}"#,
        ),
    ];
    for (line, expected) in cases {
        let answer = serde_json::to_string(&eval::answer(&catalogue, line, MINUTE)).unwrap();
        assert_eq!(answer, expected, "{line}");
    }
    assert!(eval::answer(&catalogue, "{", 0).error.is_some());
}

#[test]
fn a_rule_test_fails_for_what_is_missing_and_for_what_is_too_much() {
    let rules = load(
        "rules:\n  - {id: a, expression: open.file.name == \"a\"}\n  - {id: any, expression: open.file.name != \"\"}\n",
    );
    let outcomes = testing::run(
        &rules,
        r#"
tests:
  - name: right
    steps: [{event: {type: open, open.file.path: /x/a}, reports: [a, any]}]
  - name: missing
    steps: [{event: {type: open, open.file.path: /x/b}, reports: [a, any]}]
  - name: too much
    steps: [{event: {type: open, open.file.path: /x/b}}]
  - name: not
    steps: [{event: {type: open, open.file.path: /x/a}, reports: [a], not: [other]}]
  - name: unknown field
    steps: [{event: {type: open, open.file.pth: /x/a}}]
"#,
    )
    .unwrap();
    let failures: Vec<String> = outcomes.iter().map(|one| one.failures.join("|")).collect();
    assert_eq!(failures[0], "");
    assert_eq!(failures[1], "step 1: a should have reported");
    assert_eq!(failures[2], "step 1: any should not have reported");
    assert_eq!(failures[3], "step 1: there is no rule other");
    assert!(
        failures[4].contains("did you mean open.file.path?"),
        "{}",
        failures[4]
    );
    assert_eq!(outcomes[0].covered, ["a", "any"]);
    assert!(testing::run(&rules, "tests: 5").is_err());
}

#[test]
fn rules_and_fields_are_listed_and_explained() {
    let catalogue = Catalogue::standard();
    let (rules, _) = RuleSet::load(&catalogue, &defaults::sources(), &LoadOptions::default());
    let list = describe::list(&rules);
    assert_eq!(list.len(), rules.rules().len());
    let explained = describe::explain(&rules, "picket_reverse_shell");
    assert_eq!(explained[0].rule.severity, "high");
    assert_eq!(explained[0].actions, ["set", "set"]);
    assert!(explained[0].fields.contains(&"exec.comm".to_owned()));
    assert!(describe::explain(&rules, "nothing").is_empty());
    let fields = describe::fields(&catalogue, Some("open")).unwrap();
    let path = fields
        .iter()
        .find(|field| field.name == "open.file.path")
        .unwrap();
    assert_eq!((path.value_type, path.matching), ("string", Some("path")));
    assert!(describe::fields(&catalogue, Some("opne")).is_none());
    let common = describe::fields(&catalogue, None).unwrap();
    assert!(
        common
            .iter()
            .any(|field| field.iterator.as_deref() == Some("process.ancestors"))
    );
    assert_eq!(describe::complete(&catalogue, "open.fi"), ["open.file."]);
    assert!(describe::complete(&catalogue, "open.file.").contains(&"open.file.path".to_owned()));
    assert!(
        describe::events(&catalogue)
            .iter()
            .any(|event| event.name == "exec")
    );
}

#[test]
fn bench_counts_rules_and_events() {
    let rules = load(
        "rules:\n  - {id: a, expression: open.file.name == \"a\"}\n  - {id: b, expression: open.flags > 5}\n",
    );
    let ticks = std::cell::Cell::new(0);
    let clock = || {
        ticks.set(ticks.get() + 1);
        std::time::Duration::from_secs(ticks.get())
    };
    let measured = bench::measure(&rules, "open", 1000, clock).unwrap();
    assert_eq!((measured.rules, measured.unindexed), (2, 1));
    assert_eq!(measured.events_per_second, 1000.0);
    assert!(bench::measure(&rules, "opne", 1, || std::time::Duration::ZERO).is_none());
}

#[test]
fn every_field_says_what_it_is() {
    let catalogue = Catalogue::standard();
    let silent: Vec<String> = describe::all_fields(&catalogue)
        .into_iter()
        .filter(|field| field.about.is_empty())
        .map(|field| field.name)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}
