//! List files: what is read, what is refused, how policies take them in.

use std::fmt::Write;
use std::sync::Arc;

use picket_rules::lists::{MAX_ENTRIES, MAX_LIST};
use picket_rules::tools::event::WrittenEvent;
use picket_rules::{
    Catalogue, Evaluator, ListReport, ListSource, LoadOptions, LoadReport, PolicySource, RuleSet,
    Status,
};
use serde_json::{Value, json};

fn list(name: &str, text: &str) -> ListSource {
    ListSource {
        name: name.to_owned(),
        text: text.to_owned(),
        origin: format!("/lists/{name}"),
    }
}

fn load(policy: &str, lists: Vec<ListSource>) -> (Arc<RuleSet>, LoadReport) {
    let source = PolicySource {
        name: "p".to_owned(),
        text: policy.to_owned(),
        origin: String::new(),
    };
    let options = LoadOptions {
        lists,
        ..LoadOptions::default()
    };
    let (rules, report) = RuleSet::load(&Catalogue::standard(), &[source], &options);
    (Arc::new(rules), report)
}

fn matches(rules: &Arc<RuleSet>, event: Value) -> bool {
    let event = WrittenEvent::read(&Catalogue::standard(), &event).unwrap();
    let mut matches = Vec::new();
    Evaluator::new(Arc::clone(rules)).evaluate(event.event_type().unwrap(), &event, &mut matches);
    !matches.is_empty()
}

fn report(name: &str, text: &str) -> ListReport {
    load("rules: []", vec![list(name, text)]).1.lists.remove(0)
}

fn errors(report: &ListReport) -> Vec<String> {
    report.errors.iter().map(ToString::to_string).collect()
}

#[test]
fn comments_blank_lines_and_line_ends_mean_nothing() {
    let text = "\u{feff}# a comment\r\n\r\n  192.0.2.1  # why\r\n192.0.2.0/25\r\n::ffff:10.0.0.1\n";
    let report = report("a.ips", text);
    assert_eq!(
        (report.status, report.entries, errors(&report)),
        (Status::Loaded, 3, vec![])
    );
}

#[test]
fn a_wrong_line_is_left_out_with_its_place() {
    for (name, line, words) in [
        ("a.ips", "192.0.2.256", "is not an IP address or network"),
        ("a.ips", "0.0.0.0/0", "would match every address"),
        ("a.ips", "example.com", "is not an IP address or network"),
        ("a.domains", "com", "whole registry"),
        ("a.domains", "a..b", "is not a domain"),
        ("a.domains", "0.0.0.0 ads.example", "is not a domain"),
        ("a.domains", "192.0.2.1", "is an address"),
        ("a.domains", "bücher.example", "xn--"),
        ("a.domains", "http://x.example", "is not a domain"),
        ("a.hashes", "xyz", "hexadecimal"),
        ("a.hashes", "d41d8cd98f00b204e9800998ecf8427e", "MD5"),
        ("a.hashes", "abcd", "no SHA-256 or SHA-1 sum"),
        (
            "a.hashes",
            "sha256:da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "length of sha1",
        ),
        ("a.names", "/usr/bin/nmap", "is a path"),
        ("a.names", "nm*", "patterns are for policies"),
    ] {
        let report = report(name, &format!("# first\n  {line}\n"));
        assert_eq!(
            (report.status, report.entries),
            (Status::Error, 0),
            "{line}"
        );
        let errors = errors(&report);
        assert!(
            errors[0].starts_with("2:3: ") && errors[0].contains(words),
            "{line}: {errors:?}"
        );
    }
    let name = report("a.txt", "x\n");
    assert!(errors(&name)[0].contains("ends in .ips, .domains, .hashes or .names"));
    assert!(errors(&report(".ips", "192.0.2.1\n"))[0].contains("ends in"));
}

#[test]
fn the_right_lines_of_a_list_count_and_wrong_ones_are_not_told_without_end() {
    let mut text = "192.0.2.1\n".to_owned();
    for number in 0..1000 {
        let _ = writeln!(text, "wrong-{number}");
    }
    let report = report("a.ips", &text);
    assert_eq!(
        (report.status, report.entries),
        (Status::PartiallyLoaded, 1)
    );
    let errors = errors(&report);
    assert_eq!(errors.len(), 21);
    assert_eq!(errors[20], "980 more lines are wrong");
}

#[test]
fn a_list_is_bounded_and_large_ones_are_small_in_memory_and_fast() {
    let large = " ".repeat(MAX_LIST + 1);
    assert!(errors(&report("a.ips", &large))[0].contains("larger than 16 MiB"));
    let mut text = String::new();
    for number in 0..MAX_ENTRIES + 5 {
        let _ = writeln!(text, "host-{number}.example");
    }
    let policy = "macros: [{id: L, list: a.domains}]\n\
                  rules: [{id: r, expression: dns.question.name in L}]";
    let (rules, report) = load(policy, vec![list("a.domains", &text)]);
    let list = &report.lists[0];
    assert_eq!(
        (list.status, list.entries),
        (Status::PartiallyLoaded, MAX_ENTRIES)
    );
    assert!(errors(list)[0].starts_with("500001:1: more than 500000 entries"));
    let asked = |name: &str| json!({"type": "dns", "dns.question.name": name});
    assert!(matches(&rules, asked("a.host-499999.example")));
    assert!(!matches(&rules, asked("a.host-500000.example")));
}

#[test]
fn files_of_one_name_add_up_and_so_do_values_and_merged_macros() {
    let policy = r#"
macros:
  - {id: TOOLS, list: tools.names, values: [written]}
  - {id: TOOLS, list: more.names, values: [merged], combine: merge}
  - {id: BAD, list: bad.ips}
rules:
  - {id: r, expression: 'exec.file.name in TOOLS || exec.file.name in [ "here", TOOLS ]'}
  - {id: n, expression: connect.addr.ip not in BAD}
"#;
    let lists = vec![
        list("tools.names", "first\n"),
        list("tools.names", "second\n"),
        list("more.names", "third\n"),
    ];
    let (rules, report) = load(policy, lists);
    assert!(report.is_ok(), "{report:?}");
    for name in ["written", "merged", "first", "second", "third", "here"] {
        assert!(
            matches(&rules, json!({"type": "exec", "exec.file.name": name})),
            "{name}"
        );
    }
    assert!(!matches(
        &rules,
        json!({"type": "exec", "exec.file.name": "other"})
    ));
    // Nothing is in a list that nobody brought.
    assert!(matches(
        &rules,
        json!({"type": "connect", "connect.addr.ip": "192.0.2.1"})
    ));
    let used: Vec<(&str, usize, usize)> = rules
        .lists()
        .iter()
        .map(|list| (list.name.as_str(), list.entries, list.values))
        .collect();
    assert_eq!(
        used,
        [
            ("bad.ips", 0, 0),
            ("more.names", 1, 2),
            ("tools.names", 2, 2)
        ]
    );
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (macros, expression, words) in [
        (
            "{id: L, list: a.txt}",
            "exec.file.name in L",
            "the name of a list ends in",
        ),
        (
            "{id: L, list: a.ips, values: [x]}",
            "exec.file.name in L",
            "addresses and texts cannot be in one macro",
        ),
        (
            "{id: L, list: a.ips, expression: 'true'}",
            "exec.file.name in L",
            "either an expression",
        ),
        (
            "{id: L, list: a.ips}",
            "exec.file.name in L",
            "a list of addresses",
        ),
    ] {
        let policy =
            format!("macros: [{macros}]\nrules: [{{id: r, expression: '{expression}'}}]\n");
        let (_, report) = load(&policy, vec![list("a.ips", "192.0.2.1\n")]);
        let errors: Vec<String> = report
            .errors()
            .map(|(_, error)| error.to_string())
            .collect();
        assert!(
            errors.iter().any(|error| error.contains(words)),
            "{macros} {expression}: {errors:?}"
        );
    }
}

#[test]
fn all_of_a_single_address_is_that_address() {
    let policy =
        "macros: [{id: L, list: a.ips}]\nrules: [{id: r, expression: 'connect.addr.ip allin L'}]\n";
    let (_, report) = load(policy, vec![list("a.ips", "192.0.2.1\n")]);
    let errors: Vec<String> = report
        .errors()
        .map(|(_, error)| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn the_hash_of_a_rule_set_changes_with_its_lists() {
    let hash = |text: &str| load("rules: []", vec![list("a.ips", text)]).0.hash();
    assert_ne!(hash("192.0.2.1\n"), hash("192.0.2.2\n"));
    assert_eq!(hash("192.0.2.1\n"), hash("192.0.2.1\n"));
}
