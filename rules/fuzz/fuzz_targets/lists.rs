//! List files: any text is read or reported, and what was read is found again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_rules::tools::event::WrittenEvent;
use picket_rules::{Catalogue, Evaluator, ListSource, LoadOptions, PolicySource, RuleSet};
use serde_json::json;

const POLICY: &str = "
macros: [{id: I, list: a.ips}, {id: D, list: a.domains}, {id: H, list: a.hashes}, {id: N, list: a.names}]
rules:
  - {id: i, expression: connect.addr.ip in I}
  - {id: d, expression: dns.question.name in D}
  - {id: h, expression: exec.file.hashes in H}
  - {id: n, expression: exec.file.name in N}
";

fuzz_target!(|text: &str| {
    let catalogue = Catalogue::standard();
    let policy = PolicySource {
        name: "p".to_owned(),
        text: POLICY.to_owned(),
        origin: String::new(),
    };
    let lists = ["a.ips", "a.domains", "a.hashes", "a.names"].map(|name| ListSource {
        name: name.to_owned(),
        text: text.to_owned(),
        origin: String::new(),
    });
    let options = LoadOptions {
        lists: lists.into(),
        ..LoadOptions::default()
    };
    let (rules, report) = RuleSet::load(&catalogue, &[policy], &options);
    assert!(report.policies[0].errors.is_empty());
    let lines = text.lines().count();
    for list in &report.lists {
        assert!(list.entries <= lines && list.errors.len() <= 22);
    }
    let mut evaluator = Evaluator::new(rules.into());
    // A line that is a name as it stands has to be found.
    let name = text.lines().map(str::trim).find(|line| {
        line.chars().all(|c| c.is_ascii_alphanumeric()) && (1..200).contains(&line.len())
    });
    if let Some(name) = name {
        let event = json!({"type": "exec", "exec.file.name": name});
        let Ok(event) = WrittenEvent::read(&catalogue, &event) else {
            return;
        };
        let mut matches = Vec::new();
        if let Some(id) = catalogue.event("exec") {
            evaluator.evaluate(id, &event, &mut matches);
        }
        assert_eq!(matches.len(), 1, "{name}");
    }
});
