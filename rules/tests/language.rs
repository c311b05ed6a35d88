//! The language, one oddity after the other, against a small catalogue of our own.

use std::sync::Arc;

use picket_rules::Catalogue;
use picket_rules::tools::eval::{Answer, answer};
use serde_json::{Value, json};

fn catalogue() -> Arc<Catalogue> {
    let catalogue = Catalogue::from_json(
        r#"{
        "fields": {
            "f.path": {"type": "string", "match": "path"},
            "f.program": {"type": "string", "match": "path"},
            "f.name": {"type": "string"},
            "f.host": {"type": "string", "match": "nocase"},
            "f.short": {"type": "string", "max_length": 4},
            "f.flags": {"type": "int"},
            "f.uid": {"type": "int"},
            "f.at": {"type": "int"},
            "f.ok": {"type": "bool"},
            "f.bits": {"type": "bool[]"},
            "f.args": {"type": "string[]"},
            "f.paths": {"type": "string[]", "match": "path"},
            "f.ports": {"type": "int[]"},
            "f.ip": {"type": "ip"},
            "f.ips": {"type": "ip[]"},
            "up": {"type": "iterator", "fields": {
                "name": {"type": "string"}, "uid": {"type": "int"},
                "path": {"type": "string", "match": "path"}, "args": "string[]"}},
            "down": {"type": "iterator", "fields": {"name": "string"}}
        },
        "constants": {"A": 1, "B": 2, "C": 4}
    }"#,
    );
    Arc::new(catalogue.unwrap())
}

fn ask(expr: &str, event: Value, more: Value) -> Answer {
    let mut request = json!({ "expr": expr, "event": event });
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        request[key] = value;
    }
    answer(&catalogue(), &request.to_string(), 0)
}

#[track_caller]
fn check(cases: &[(&str, bool)], event: Value) {
    for (expr, expected) in cases {
        let answer = ask(expr, event.clone(), json!({}));
        assert_eq!(answer.result, Some(*expected), "{expr} → {answer:?}");
    }
}

#[track_caller]
fn refused(expr: &str, column: usize, words: &str) {
    let answer = ask(expr, json!({}), json!({}));
    assert_eq!(answer.column, Some(column), "{expr} → {answer:?}");
    let error = answer.error.unwrap_or_default();
    assert!(error.contains(words), "{expr} → {error}");
}

#[test]
fn and_and_or_bind_alike_and_to_the_right() {
    check(
        &[
            // Would be true if && bound tighter.
            ("false && true || true", false),
            ("true || false && false", true),
            ("true && false || true", true),
            ("(false && true) || true", true),
            ("false and true or true", false),
            ("true || true && false || false", true),
        ],
        json!({}),
    );
}

#[test]
fn bit_operators_bind_tighter_than_sums_and_comparisons() {
    check(
        &[
            ("f.flags & A > 0", true),
            ("f.flags & B == 0", true),
            ("f.flags & (A | B) == 1", true),
            ("f.flags & A|C == 5", true),
            ("f.flags | B == 7", true),
            ("f.flags ^ C == 1", true),
            ("^0 == -1", true),
            ("--3 == 3", true),
            ("1 + 2 & 3 == 3", true),
            ("5 - 2 - 1 == 2", true),
            ("- f.flags == -5", true),
        ],
        json!({"f.flags": 5}),
    );
}

#[test]
fn a_sign_belongs_to_the_number_behind_it() {
    refused("f.uid == 5 -2", 12, "expected an operator or the end");
    check(
        &[("f.uid == -1", true), ("f.uid + 1 == 0", true)],
        json!({"f.uid": -1}),
    );
}

#[test]
fn a_star_in_a_path_stops_at_a_slash_and_elsewhere_does_not() {
    check(
        &[
            (r#"f.path == ~"/etc/*""#, false),
            (r#"f.path == ~"/etc/*/*""#, true),
            (r#"f.path == ~"/etc/**""#, true),
            (r#"f.path =~ "/etc/**""#, true),
            (r#"f.path =~"/etc/**""#, true),
            (r#"f.path !~ "/etc/**""#, false),
            (r#"f.path == "/etc/ssh/key""#, true),
            (r#"f.path == "/etc/*/key""#, false),
            (r#"f.name == ~"a*c""#, true),
            (r#"f.name =~ r"b.d?""#, true),
            (r#"f.name == r"^b""#, false),
            (r#"f.path in ["/x", ~"/etc/*/k*"]"#, true),
            (r#"f.path != """#, true),
        ],
        json!({"f.path": "/etc/ssh/key", "f.name": "a/bc"}),
    );
}

#[test]
fn paths_that_no_file_can_have_are_refused() {
    refused(r#"f.path == "etc/passwd""#, 11, "begins with");
    refused(r#"f.path == "/etc/../x""#, 11, "`..`");
    refused(r#"f.path == "/etc/""#, 11, "end with");
    refused(r#"f.path == "~/.ssh/id""#, 11, "home directory");
    refused(r#"f.path == ~"/etc/**/x""#, 11, "`**`");
    refused(r#"f.path == ~"*""#, 11, "every file");
    refused(r#"f.path =~ r"/etc/.*""#, 11, "regular expression");
    refused(r#"f.path in ["/ok", "no"]"#, 19, "begins with");
    refused(r#"f.name == ~"a**""#, 11, "`**`");
    refused(r#"f.short == "abcde""#, 12, "at most 4");
}

#[test]
fn a_name_that_is_matched_like_a_path_need_not_be_one() {
    check(
        &[
            (r#"f.program =~ "*""#, false),
            (r#"f.program =~ "/usr/bin/""#, false),
            (r#"f.program =~ "*/bin/*""#, true),
            (r#"f.program =~ "/usr/**""#, true),
            (r#"f.program =~ r"bin/.at$""#, true),
            (r#"r"bin/.at$" == f.program"#, true),
            (r#"~"/usr/*/cat" == f.program"#, true),
            (r#"~"c*" == "cat""#, true),
        ],
        json!({"f.program": "/usr/bin/cat"}),
    );
    refused(r#"f.program =~ "/usr/**/cat""#, 14, "`**`");
}

#[test]
fn case_is_ignored_where_the_field_says_so() {
    check(
        &[
            (r#"f.host == "EXAMPLE.com""#, true),
            (r#"f.host =~ "*.COM""#, true),
            (r#"f.host in ["x", "Example.Com"]"#, true),
            (r#"f.host == r"EXAMPLE""#, false),
            (r#"f.name == "ABC""#, false),
        ],
        json!({"f.host": "example.com", "f.name": "abc"}),
    );
}

#[test]
fn a_list_field_equals_when_any_element_does_and_differs_when_none_does() {
    check(
        &[
            (r#"f.args == "b""#, true),
            (r#"f.args != "b""#, false),
            (r#"f.args != "x""#, true),
            (r#"f.args in ["x", "c"]"#, true),
            (r#"f.args not in ["x", "c"]"#, false),
            (r#"f.args allin ["b", "x"]"#, true),
            (r#""b" in f.args"#, true),
            (r#""b" == f.args"#, true),
            (r#"~"b*" in f.args"#, true),
            (r#"~"x*" not in f.args"#, true),
            (r#"r"^c$" in f.args"#, true),
            (r#"f.args in f.paths"#, true),
            (r#"f.args =~ "b*""#, true),
            ("f.ports > 100", true),
            ("f.ports > 1000", false),
            ("f.ports in [22, 80]", true),
            ("80 in f.ports", true),
            ("f.bits == true", true),
            ("f.args.length == 3", true),
            ("f.ports.length == 2", true),
        ],
        json!({"f.args": ["a", "b", "c"], "f.paths": ["c"], "f.ports": [80, 443],
               "f.bits": [false, true]}),
    );
}

#[test]
fn addresses_are_compared_by_containment_in_either_direction() {
    check(
        &[
            ("f.ip == 10.1.2.3", true),
            ("f.ip == ::ffff:10.1.2.3", true),
            ("f.ip in 10.0.0.0/8", true),
            ("f.ip in [192.168.0.0/16, 10.1.2.0/24]", true),
            ("f.ip not in [192.168.0.0/16]", true),
            ("f.ip != 10.1.2.4", true),
            ("f.ips in [10.0.0.0/8]", true),
            ("f.ips allin [10.0.0.0/8]", false),
            ("f.ips allin [0.0.0.0/0]", true),
            ("f.ips == 1.1.1.1", true),
            // One address is not several: `allin` asks what `in` asks.
            ("f.ip allin [192.168.0.0/16, 10.0.0.0/8]", true),
            ("0.0.0.0/0 allin f.ips", true),
            ("10.1.2.3 in f.ip", true),
            ("10.1.2.4 not in f.ip", true),
            ("f.ip in f.ips", false),
        ],
        json!({"f.ip": "10.1.2.3", "f.ips": ["10.9.9.9", "1.1.1.1"]}),
    );
    check(&[("f.ip == 10.1.2.3", true)], json!({"f.ip": "10.0.0.0/8"}));
    refused("f.ip < 10.0.0.1", 1, "cannot compare");
}

#[test]
fn a_duration_is_held_against_the_time_since_a_field() {
    let event = json!({"f.at": 10_000_000_000i64, "now": 15_000_000_000i64});
    check(
        &[
            ("f.at < 10s", true),
            ("f.at > 10s", false),
            ("f.at == 5s", true),
            ("4s < f.at", true),
            // Arithmetic on the left: compared as it is.
            ("f.at - 0 > 9s", true),
            ("5000000000 == 5s", true),
        ],
        event,
    );
    refused("f.at != 5s", 1, "cannot compare");
}

#[test]
fn an_iterator_holds_when_any_element_does() {
    let event = json!({"up": [{"name": "sh", "uid": 1}, {"name": "nginx", "uid": 0}]});
    check(
        &[
            (r#"up.name == "nginx""#, true),
            (r#"up.name != "nginx""#, false),
            (r#"up.name == "nginx" && up.uid == 1"#, true),
            ("up.length == 2", true),
            (r#"up.name in ["x", "sh"]"#, true),
            ("up.name.length == 5", true),
            (r#"up[0].name == "sh""#, true),
            (r#"up[1].name == "sh""#, false),
            (r#"up[7].name == """#, true),
            ("up[7].uid == 0", true),
        ],
        event,
    );
}

#[test]
fn a_register_ties_conditions_to_one_element() {
    let event = json!({"up": [{"name": "sh", "uid": 1}, {"name": "nginx", "uid": 0}]});
    check(
        &[
            (r#"up[X].name == "nginx" && up[X].uid == 0"#, true),
            (r#"up[X].name == "nginx" && up[X].uid == 1"#, false),
            (r#"up[X].name != "nginx""#, true),
            ("up[X].uid & 1 > 0", true),
            (r#""nginx" in up[X].name && up[X].uid == 0"#, true),
            (r#"~"ng*" in up[X].name && 1 in up[X].uid"#, false),
        ],
        event,
    );
    check(&[(r#"up[X].name != "nginx""#, false)], json!({}));
    refused(r#"up[X].uid == 1 && up[Y].uid == 2"#, 19, "one register");
    refused(
        r#"up[X].uid == 1 && down[X].name == "a""#,
        19,
        "two different lists",
    );
    refused(r#"up[_].uid == 1"#, 1, "register");
    refused(r#"f[X].uid == 1"#, 1, "indexed");
}

#[test]
fn macros_stand_for_expressions_and_lists() {
    let event = json!({"f.name": "b", "f.uid": 0});
    let macros = json!({"macros": {
        "ROOT": "f.uid == 0", "NAMES": "[\"a\", \"b\"]", "MORE": ["c", "d"],
        "BOTH": "ROOT && f.name in NAMES", "LOOP": "LOOP || true", "A": "[\"b\"]",
        "WRONG": "f.name == 5"}});
    for (expr, expected) in [
        ("ROOT", true),
        ("!ROOT", false),
        ("f.name in NAMES", true),
        ("f.name in [ NAMES, MORE ]", true),
        ("f.name not in MORE", true),
        ("BOTH", true),
        // In a list the macro goes before the constant.
        ("f.name in [ A ]", true),
    ] {
        assert_eq!(
            ask(expr, event.clone(), macros.clone()).result,
            Some(expected),
            "{expr}"
        );
    }
    for (expr, words) in [("LOOP", "uses itself"), ("true && WRONG", "in macro WRONG")] {
        let answer = ask(expr, event.clone(), macros.clone());
        assert!(
            answer.error.is_some_and(|error| error.contains(words)),
            "{expr}"
        );
    }
}

#[test]
fn variables_are_read_and_filled_in() {
    let event = json!({"f.name": "x-7-a,b", "f.uid": 7, "f.args": ["a", "b"]});
    let variables = json!({"variables": {
        "n": 7, "process.list": ["q", "x"], "container.who": "x", "on": true, "nums": [7, 8]}});
    for (expr, expected) in [
        ("f.uid == ${n}", true),
        ("${on}", true),
        (r#""x" in ${process.list}"#, true),
        ("f.uid in ${nums}", true),
        ("${process.list.length} == 2", true),
        (r#"${container.who} == "x""#, true),
        (r#"f.name == "${container.who}-${n}-%{f.args}""#, true),
        (r#"f.name in ["${container.who}-%{f.uid}-a,b"]"#, true),
        (r#"f.name != "${broken-${n}""#, true),
        ("%{f.uid} == 7", true),
        (r#"${builtins.uuid4} != ${builtins.uuid4}"#, true),
    ] {
        let answer = ask(expr, event.clone(), variables.clone());
        assert_eq!(answer.result, Some(expected), "{expr} {answer:?}");
    }
    let unknown = ask("${m} == 1", event, variables);
    assert_eq!(unknown.column, Some(1));
    assert!(
        unknown
            .error
            .is_some_and(|error| error.contains("did you mean ${n}"))
    );
}

#[test]
fn mistakes_are_found_where_they_are_with_a_suggestion() {
    refused(r#"f.pth == "/x""#, 1, "did you mean f.path?");
    refused(r#"f.uid == "x""#, 10, "cannot compare a number with a text");
    refused(r#""x" != f.uid"#, 8, "cannot compare a number with a text");
    refused(
        r#"(f.uid == 1) == "x""#,
        17,
        "cannot compare a condition with a text",
    );
    refused(r#"f.uid in ["a", "b"]"#, 10, "with a list of texts");
    refused("f.name > 5", 10, "cannot compare");
    refused(r#"f.name > "a""#, 1, "> cannot compare a text with a text");
    refused("f.uid", 1, "has to be a condition");
    refused("f.name == [", 11, "expected a value");
    refused("f.uid in []", 10, "at least one");
    refused("f.uid in [A, B]", 16, "space before the bracket");
    refused(r#"f.name == "a" AND f.uid == 1"#, 15, "did you mean `and`?");
    refused(r#"f.name startswith "a""#, 8, "did you mean `=~`");
    refused(r#"f.uid in [1, "a"]"#, 14, "mixed");
    refused("f.uid in [1, f.flags ]", 14, "constants only");
    refused(r#"f.name == ["a"]"#, 11, "expected a value");
    refused(r#"f.name =~ f.host"#, 11, "literal");
    refused(r#"f.name == r"(""#, 11, "regular expression");
    refused("f.uid == 99999999999999999999", 10, "out of range");
    refused(r#"f.name == "abc"#, 11, "not closed");
    refused("f.uid == 1 é", 12, "unexpected character");
    refused("", 1, "empty");
    refused("f.ok.length == 1", 1, "in front of .length");
}

#[test]
fn the_line_counts_in_an_expression_of_several() {
    let answer = ask("f.uid == 1 &&\n  f.nam == \"x\"", json!({}), json!({}));
    assert_eq!((answer.line, answer.column), (Some(2), Some(3)));
}

#[test]
fn nesting_and_size_are_bounded() {
    let deep = format!("{}f.ok{}", "(".repeat(5000), ")".repeat(5000));
    assert!(
        ask(&deep, json!({}), json!({}))
            .error
            .is_some_and(|e| e.contains("nested"))
    );
    let not = format!("{}f.ok", "!".repeat(5000));
    assert!(
        ask(&not, json!({}), json!({}))
            .error
            .is_some_and(|e| e.contains("nested"))
    );
    let mixed = "f.ok || f.ok && ".repeat(2000) + "f.ok";
    assert!(
        ask(&mixed, json!({}), json!({}))
            .error
            .is_some_and(|e| e.contains("nested"))
    );
    let long = "f.ok || ".repeat(5000) + "true";
    assert_eq!(ask(&long, json!({}), json!({})).result, Some(true));
    let sum = format!("f.uid == 1{}", " + 1".repeat(5000));
    assert!(ask(&sum, json!({}), json!({})).error.is_some());
    // Each macro doubles the one before it.
    let mut macros = serde_json::Map::new();
    macros.insert("M0".to_owned(), json!("f.ok || f.uid == 1"));
    for n in 1..40 {
        macros.insert(format!("M{n}"), json!(format!("M{} || M{}", n - 1, n - 1)));
    }
    let answer = ask("M39", json!({}), json!({ "macros": macros }));
    assert!(
        answer
            .error
            .is_some_and(|error| error.contains("too large"))
    );
}

#[test]
fn events_that_cannot_be_read_say_why() {
    let answer = ask("true", json!({"f.pth": "x"}), json!({}));
    assert!(
        answer
            .error
            .is_some_and(|error| error.contains("did you mean f.path"))
    );
    let answer = ask("true", json!({"f.uid": "x"}), json!({}));
    assert!(
        answer
            .error
            .is_some_and(|error| error.contains("expected int"))
    );
}

#[test]
fn a_program_counts_under_the_link_that_it_was_called_by_too() {
    let event = json!({
        "type": "exec",
        "exec.file.path": "/usr/bin/dash", "exec.file.name": "dash",
        "exec.called.path": "/bin/sh", "exec.called.name": "sh",
        "process.file.path": "/usr/bin/env", "process.file.name": "env",
        "process.ancestors": [
            {"file.path": "/usr/bin/nc.openbsd", "file.name": "nc.openbsd", "called.path": "/bin/nc", "called.name": "nc"},
            {"file.path": "/sbin/init", "file.name": "init"},
        ],
    });
    for (expr, expected) in [
        (r#"exec.file.path == "/bin/sh""#, true),
        (r#"exec.file.path == "/usr/bin/dash""#, true),
        // The negation is of the whole.
        (r#"exec.file.path != "/bin/sh""#, false),
        (r#"exec.file.path != "/usr/bin/dash""#, false),
        (r#"exec.file.path != "/bin/bash""#, true),
        (r#"exec.file.path in ["/bin/zsh", "/bin/sh"]"#, true),
        (r#"exec.file.path not in ["/bin/zsh", "/bin/sh"]"#, false),
        (r#"exec.file.path =~ "/bin/*""#, true),
        (r#"exec.file.path !~ "/bin/*""#, false),
        (r#"exec.file.name == "sh""#, true),
        (r#"exec.file.name == r"^s.$""#, true),
        // An empty second value does not count.
        (r#"process.file.path != """#, true),
        (r#"process.file.path == """#, false),
        (r#"process.file.name in ["", "x"]"#, false),
        (r#"exec.file.path != """#, true),
        (r#"process.ancestors.file.path == "/bin/nc""#, true),
        (r#"process.ancestors.file.name in ["nc"]"#, true),
        (r#"process.ancestors.file.name not in ["nc"]"#, false),
        (
            r#"process.ancestors[A].file.name == "nc" && process.ancestors[A].file.path == "/usr/bin/nc.openbsd""#,
            true,
        ),
        (
            r#"process.ancestors[A].file.name == "nc" && process.ancestors[A].file.path == "/sbin/init""#,
            false,
        ),
        (r#"process.ancestors[1].file.name == "nc""#, false),
        (r#"exec.file.path == "%{process.file.path}""#, false),
        (r#"exec.file.name == "${n}""#, true),
        (r#"exec.file.name != "${n}""#, false),
    ] {
        let request = json!({"expr": expr, "event": event, "variables": {"n": "sh"}});
        let answer = answer(&Catalogue::standard(), &request.to_string(), 0);
        assert_eq!(answer.result, Some(expected), "{expr} → {answer:?}");
    }
}
