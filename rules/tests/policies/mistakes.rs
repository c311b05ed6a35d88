//! What a mistake costs: nothing but what it stands in.

use picket_rules::Status;

use crate::{ids, load};

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
fn a_key_that_resembles_another_is_told_and_one_of_another_version_is_not() {
    let (_, report) = load(&[(
        "keys.policy",
        r#"
rulez: []
macros:
  - {id: SHELLS, values: [sh], combin: override}
rules:
  - {id: quiet, expression: exec.file.name in SHELLS, silnet: true, blocking: true}
  - {id: empty, expresion: exec.file.name == "x"}
"#,
    )]);
    let policy = &report.policies[0];
    assert_eq!(
        policy.warnings,
        [
            r#"the key "rulez" is not read; did you mean rules?"#,
            r#"macro SHELLS: the key "combin" is not read; did you mean combine?"#,
        ]
    );
    let [quiet, empty] = &policy.rules[..] else {
        panic!("{report:#?}");
    };
    assert_eq!(
        quiet.warnings,
        [r#"the key "silnet" is not read; did you mean silent?"#]
    );
    let error = empty.error.as_ref().unwrap().to_string();
    assert!(
        error.ends_with("needs an expression; did you mean expression instead of expresion?"),
        "{error}"
    );
}

#[test]
fn a_file_without_rules_says_so() {
    let (_, report) = load(&[("empty.policy", ""), ("tests.yaml", "tests: []\n")]);
    assert!(report.is_ok());
    for policy in &report.policies {
        assert_eq!(policy.warnings, ["there is no rule in it"]);
    }
}
