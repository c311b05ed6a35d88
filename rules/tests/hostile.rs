//! Input made to hurt: it is refused or bounded. These tests end, which is their point.

use std::fmt::Write;
use std::sync::Arc;

use picket_rules::tools::event::WrittenEvent;
use picket_rules::{Catalogue, Evaluator, LoadOptions, LoadReport, PolicySource, RuleSet};
use serde_json::json;

fn load(text: &str) -> (Arc<RuleSet>, LoadReport) {
    let source = PolicySource {
        name: "p".to_owned(),
        text: text.to_owned(),
        origin: String::new(),
    };
    let (rules, report) = RuleSet::load(&Catalogue::standard(), &[source], &LoadOptions::default());
    (Arc::new(rules), report)
}

fn one(expression: &str) -> String {
    format!("rules:\n- id: r\n  expression: |-\n    {expression}\n")
}

fn matches(rules: &Arc<RuleSet>, path: &str, name: &str) -> usize {
    let event = json!({"type": "open", "open.file.path": path, "open.file.name": name});
    let event = WrittenEvent::read(&Catalogue::standard(), &event).unwrap();
    let mut matches = Vec::new();
    Evaluator::new(Arc::clone(rules)).evaluate(event.event_type().unwrap(), &event, &mut matches);
    matches.len()
}

#[test]
fn patterns_full_of_stars_take_linear_time() {
    let (rules, report) = load(&one(&format!(
        "open.file.name =~ \"{}b\" || open.file.path =~ \"/{}b\"",
        "a*".repeat(2000),
        "a*".repeat(120)
    )));
    assert!(report.is_ok(), "{report:?}");
    let name = "a".repeat(4000);
    assert_eq!(matches(&rules, &format!("/{name}"), &name), 0);
    assert_eq!(matches(&rules, "/x", &format!("{name}b")), 1);
}

#[test]
fn a_long_piece_between_stars_costs_no_more_than_a_short_one() {
    let piece = format!("{}b", "a".repeat(60_000));
    let (rules, report) = load(&one(&format!("open.file.name =~ \"x*{piece}*\"")));
    assert!(report.is_ok(), "{report:?}");
    let name = format!("x{}", "a".repeat(1_000_000));
    assert_eq!(matches(&rules, "/x", &name), 0);
    assert_eq!(matches(&rules, "/x", &format!("{name}b")), 1);
}

#[test]
fn regular_expressions_cannot_explode() {
    let (_, report) = load(&one(
        r#"open.file.name =~ r"((a{1,1000}){1,1000}){1,1000}""#,
    ));
    assert!(
        report
            .errors()
            .any(|(_, error)| error.message.contains("regular expression"))
    );
    let (rules, report) = load(&one(r#"open.file.name =~ r"^(a+)+$""#));
    assert!(report.is_ok());
    assert_eq!(
        matches(&rules, "/x", &format!("{}b", "a".repeat(10_000))),
        0
    );
}

#[test]
fn a_long_list_is_fine_and_a_longer_one_refused() {
    let mut text = "macros:\n- id: M\n  values: [".to_owned();
    for number in 0..20_000 {
        let _ = write!(text, "v{number}, ");
    }
    text.push_str("last]\nrules:\n- {id: r, expression: 'open.file.name in M'}\n");
    let (rules, report) = load(&text);
    assert!(report.is_ok());
    assert_eq!(
        (
            matches(&rules, "/x", "v19999"),
            matches(&rules, "/x", "v20000")
        ),
        (1, 0)
    );
    let longer = format!("open.file.name in [ {}M ]", "M, ".repeat(10));
    let (rules, report) = load(&text.replace("open.file.name in M", &longer));
    assert!(rules.rules().is_empty() && !report.is_ok());
}

#[test]
fn many_rules_over_one_long_list_are_bounded_together() {
    let mut text = "macros:\n- id: M\n  values: [".to_owned();
    for number in 0..5_000 {
        let _ = write!(text, "v{number}, ");
    }
    text.push_str("last]\nrules:\n");
    for number in 0..500 {
        let _ = writeln!(text, "- {{id: r{number}, expression: open.file.name in M}}");
    }
    let (rules, report) = load(&text);
    assert!(rules.rules().len() < 300 && !rules.rules().is_empty());
    assert!(
        report
            .errors()
            .all(|(_, error)| error.message.contains("too large"))
    );
}

#[test]
fn a_policy_full_of_unknown_names_is_refused_without_a_search_for_each() {
    let mut text = "rules:\n".to_owned();
    for number in 0..5_000 {
        let _ = writeln!(
            text,
            "- {{id: r{number}, expression: 'open.file.naem{number} == \"x\"'}}"
        );
    }
    let (_, report) = load(&text);
    assert_eq!(report.errors().count(), 5_000);
    let suggested = report
        .errors()
        .filter(|(_, error)| error.suggestion.is_some());
    assert!((1..=100).contains(&suggested.count()));
}

#[test]
fn yaml_cannot_nest_or_multiply_without_limit() {
    assert!(!load(&"[".repeat(100_000)).1.is_ok());
    let mut bomb = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let last = level - 1;
        let refs = vec![format!("*a{last}"); 10].join(", ");
        let _ = writeln!(bomb, "b{level}: &a{level} [{refs}]");
    }
    assert!(!load(&bomb).1.is_ok());
    assert!(!load(&"x".repeat(5 << 20)).1.is_ok());
}

#[test]
fn a_variable_that_doubles_itself_stays_small() {
    let text = r#"
rules:
- id: double
  expression: open.file.name == "x"
  actions: [{set: {name: v, expression: '"${v}${v}x"', default_value: "y"}}]
"#;
    let (rules, report) = load(text);
    assert!(report.is_ok(), "{report:?}");
    let event = json!({"type": "open", "open.file.name": "x"});
    let event = WrittenEvent::read(&Catalogue::standard(), &event).unwrap();
    let mut evaluator = Evaluator::new(rules);
    let mut matches = Vec::new();
    for _ in 0..100 {
        evaluator.evaluate(event.event_type().unwrap(), &event, &mut matches);
    }
    let length = evaluator.variables(&event)["v"].as_str().unwrap().len();
    assert!(length <= 4096, "{length}");
}
