//! What names stand for, and names for which nothing ever happens.

use picket_rules::Evaluator;
use serde_json::json;

use crate::{event, ids, load, load_one, matched};

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
fn a_rule_that_hangs_on_a_field_that_stays_empty_is_told() {
    let cases = [
        // Always false: the field is empty, and the rule asks for more.
        (r#"exec.file.name == "x" && process.netns == 5"#, true),
        (r#"exec.file.package.name in ["curl", ~"wget*"]"#, true),
        (
            "exec.file.name != \"\" && process.caps_used & CAP_SYS_ADMIN > 0",
            true,
        ),
        (
            "bpf.cmd == BPF_PROG_LOAD && bpf.prog.type in [ 1, 2 ]",
            true,
        ),
        (
            r#"exec.file.package.name =~ "lib*" && process.uid == 0"#,
            true,
        ),
        // It can come true all the same.
        (
            r#"exec.file.package.name == "" && exec.file.name == "x""#,
            false,
        ),
        (
            r#"exec.file.name == "x" || exec.file.package.name == "curl""#,
            false,
        ),
        (r#"exec.file.package.name not in ["curl"]"#, false),
    ];
    for (expression, never) in cases {
        let text = format!("rules:\n  - id: one\n    expression: >-\n      {expression}\n");
        let (rules, report) = load(&[("one.policy", &text)]);
        let row = &report.policies[0].rules[0];
        assert!(report.is_ok(), "{expression}: {report:#?}");
        assert!(
            row.warnings[0].contains(" is always empty here: "),
            "{expression}: {row:#?}"
        );
        assert_eq!(rules.rules()[0].never.is_some(), never, "{expression}");
        // What cannot match costs the tracer nothing.
        let watched = rules.interest().to_string();
        assert!(!watched.contains("bpf"), "{expression}: {watched}");
    }
}

#[test]
fn a_rule_that_waits_for_calls_that_fail_is_told_when_it_sees_them() {
    let cases = [
        ("open.file.name == \"x\" && open.retval < 0", true),
        ("connect.addr.port == 22 && connect.retval == EACCES", true),
        ("mount.retval in [ EPERM, EACCES ]", true),
        ("socket.retval > 2", true),
        // What succeeds is told with 0, as is what is not known.
        ("open.file.name == \"x\" && open.retval >= 0", false),
        ("chmod.retval == 0 || chmod.retval == EPERM", false),
        ("open.file.name == \"x\" || open.retval == EACCES", false),
        ("open.file.name == \"x\"", false),
    ];
    for (expression, is_warned) in cases {
        let text = format!("rules:\n  - id: one\n    expression: >-\n      {expression}\n");
        let (rules, report) = load(&[("one.policy", &text)]);
        assert!(report.is_ok(), "{expression}: {report:#?}");
        let row = &report.policies[0].rules[0];
        let warned = |warning: &String| warning.starts_with("it waits for another ");
        assert_eq!(row.warnings.iter().any(warned), is_warned, "{row:#?}");
        // Under ptrace, or where Picket refuses, it can fire.
        assert!(rules.rules()[0].never.is_none(), "{expression}");
    }
}

#[test]
fn what_is_mounted_is_named_as_it_was_passed() {
    let text = r#"
rules:
  - id: one
    expression: mount.source.path in [ "cgroup", "none", ~"//server/*" ]
"#;
    let mut evaluator = Evaluator::new(load_one(text));
    for (source, expected) in [("cgroup", 1), ("//server/share", 1), ("/dev/sda1", 0)] {
        let mounted = event(serde_json::json!({"type": "mount", "mount.source.path": source}));
        assert_eq!(
            matched(&mut evaluator, &mounted).len(),
            expected,
            "{source}"
        );
    }
}
