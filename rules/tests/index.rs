//! The index and the order of a condition's parts may only save work: no rule matches by them, or
//! without them, that would not otherwise.

use std::sync::Arc;

use picket_rules::tools::eval::answer;
use picket_rules::tools::event::WrittenEvent;
use picket_rules::{Catalogue, Evaluator, LoadOptions, PolicySource, RuleSet};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const PATHS: [&str; 8] = [
    "/etc/passwd",
    "/etc/ssh/key",
    "/etc/ssh/sub/key",
    "/tmp/x",
    "/tmp",
    "/",
    "/proc/7/mem",
    "",
];
const PATTERNS: [&str; 9] = [
    "/etc/passwd",
    "/etc/*",
    "/etc/**",
    "/etc/ssh/**",
    "/tmp/*",
    "/proc/*/mem",
    "*/x",
    "/**",
    "/etc/s*/key",
];
const NAMES: [&str; 5] = ["sh", "cat", "nginx", "python3", ""];
const NAME_PATTERNS: [&str; 4] = ["sh", "c*", "*x", "python*"];

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&PATHS[..])
}

/// One comparison.
fn atom() -> impl Strategy<Value = String> {
    let path_field = prop::sample::select(vec!["open.file.path", "process.file.path"]);
    let name_field = prop::sample::select(vec![
        "open.file.name",
        "process.comm",
        "process.ancestors.comm",
        "process.ancestors[A].comm",
        "process.argv",
        "open.file.extension",
        "process.parent.comm",
    ]);
    let int_field =
        prop::sample::select(vec!["open.flags", "process.uid", "process.ancestors.uid"]);
    let equality = prop::sample::select(vec!["==", "!="]);
    let order = prop::sample::select(vec!["==", "!=", "<", ">="]);
    let member = prop::sample::select(vec!["in", "not in"]);
    let patterns = prop::collection::vec(prop::sample::select(&PATTERNS[..]), 1..4);
    prop_oneof![
        (
            path_field.clone(),
            equality.clone(),
            prop::sample::select(&PATTERNS[..])
        )
            .prop_map(|(field, operator, pattern)| format!("{field} {operator} ~\"{pattern}\"")),
        (path_field, member.clone(), patterns).prop_map(|(field, operator, patterns)| {
            let list: Vec<String> = patterns.iter().map(|p| format!("~\"{p}\"")).collect();
            format!("{field} {operator} [ {} ]", list.join(", "))
        }),
        (
            name_field.clone(),
            equality,
            prop::sample::select(&NAME_PATTERNS[..])
        )
            .prop_map(|(field, operator, pattern)| format!("{field} {operator} ~\"{pattern}\"")),
        (name_field, member, name(), name())
            .prop_map(|(field, operator, a, b)| format!("{field} {operator} [ \"{a}\", \"{b}\" ]")),
        (int_field.clone(), order, 0..4i64)
            .prop_map(|(field, operator, number)| format!("{field} {operator} {number}")),
        (int_field, 0..4i64, 0..4i64).prop_map(|(field, a, b)| format!("{field} in [ {a}, {b} ]")),
        Just("open.flags & 1 > 0".to_owned()),
        Just("${seen}".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    atom().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

fn process() -> impl Strategy<Value = Value> {
    (name(), 0..4i64).prop_map(|(comm, uid)| json!({"comm": comm, "uid": uid}))
}

fn event() -> impl Strategy<Value = Value> {
    let fields = (path(), path(), name(), name(), name(), 0..4i64, 0..4i64);
    let more = (
        prop::collection::vec(process(), 0..3),
        prop::collection::vec(name(), 0..3),
    );
    (fields, more, any::<u16>()).prop_map(|(fields, (ancestors, argv), present)| {
        let (path, own, name, comm, parent, flags, uid) = fields;
        let all = [
            ("open.file.path", json!(path)),
            ("process.file.path", json!(own)),
            ("open.file.name", json!(name)),
            ("process.comm", json!(comm)),
            ("process.parent.comm", json!(parent)),
            ("open.flags", json!(flags)),
            ("process.uid", json!(uid)),
            ("process.ancestors", json!(ancestors)),
            ("process.argv", json!(argv)),
        ];
        let mut event = Map::new();
        event.insert("type".to_owned(), json!("open"));
        // Some fields are left out, which makes them zero.
        for (bit, (name, value)) in all.into_iter().enumerate() {
            if present & (1 << bit) != 0 {
                event.insert(name.to_owned(), value);
            }
        }
        Value::Object(event)
    })
}

fn rule_set(conditions: &[String]) -> Arc<RuleSet> {
    let mut text = "rules:\n".to_owned();
    for (number, condition) in conditions.iter().enumerate() {
        text.push_str(&format!(
            "- id: r{number}\n  expression: |-\n    {condition} && open.file.mode == 0\n"
        ));
        if number == 0 {
            text.push_str("  actions: [{set: {name: seen, value: true, ttl: 1s}}]\n");
        }
    }
    let source = PolicySource {
        name: "p".to_owned(),
        text,
        origin: String::new(),
    };
    let (rules, report) = RuleSet::load(&Catalogue::standard(), &[source], &LoadOptions::default());
    let errors: Vec<String> = report
        .errors()
        .map(|(_, error)| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    Arc::new(rules)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn the_index_never_hides_a_match(
        conditions in prop::collection::vec(condition(), 1..80),
        events in prop::collection::vec(event(), 1..20),
    ) {
        let rules = rule_set(&conditions);
        let catalogue = Catalogue::standard();
        let mut indexed = Evaluator::new(Arc::clone(&rules));
        let mut plain = Evaluator::new(rules);
        for (number, event) in events.iter().enumerate() {
            let mut event = WrittenEvent::read(&catalogue, event).unwrap();
            event.now = number as i64 * 300_000_000;
            let event_type = event.event_type().unwrap();
            let (mut with, mut without) = (Vec::new(), Vec::new());
            indexed.evaluate(event_type, &event, &mut with);
            plain.evaluate_plainly(event_type, &event, &mut without);
            prop_assert_eq!(with, without);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// What a rule set has put into the quickest order says what the condition says as it was
    /// written, which is how a single expression is evaluated.
    #[test]
    fn the_order_of_the_parts_cannot_be_seen(
        conditions in prop::collection::vec(condition(), 1..20),
        events in prop::collection::vec(event(), 1..10),
    ) {
        // A variable that the first rule sets would be another for those after it.
        let conditions: Vec<String> =
            conditions.into_iter().filter(|condition| !condition.contains("${")).collect();
        prop_assume!(!conditions.is_empty());
        let rules = rule_set(&conditions);
        let catalogue = Catalogue::standard();
        for event in &events {
            let written = WrittenEvent::read(&catalogue, event).unwrap();
            let mut matches = Vec::new();
            Evaluator::new(Arc::clone(&rules)).evaluate_plainly(
                written.event_type().unwrap(),
                &written,
                &mut matches,
            );
            let mut ordered: Vec<String> =
                matches.iter().map(|found| rules.rules()[found.rule].id.to_string()).collect();
            let mut as_written = Vec::new();
            for (number, condition) in conditions.iter().enumerate() {
                let expression = format!("{condition} && open.file.mode == 0");
                let line = json!({"expr": expression, "event": event}).to_string();
                let answer = answer(&catalogue, &line, 0);
                prop_assert_eq!(&answer.error, &None, "{}", expression);
                if answer.result == Some(true) {
                    as_written.push(format!("r{number}"));
                }
            }
            as_written.sort();
            ordered.sort();
            prop_assert_eq!(ordered, as_written);
        }
    }
}
