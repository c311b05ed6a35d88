//! A policy file from a user, or a rule alone: loading always ends with a set
//! and a report, the same each time.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use picket_rules::catalogue::Catalogue;
use picket_rules::{LoadOptions, PolicySource, RuleSet};

static OPTIONS: LazyLock<LoadOptions> = LazyLock::new(LoadOptions::default);

fuzz_target!(|text: &str| {
    let catalogue = Catalogue::standard();
    let rule = serde_json::json!({"rules": [{"id": "fuzzed", "expression": text}]});
    for text in [text.to_owned(), rule.to_string()] {
        let sources = [PolicySource {
            name: "fuzzed.policy".to_owned(),
            text,
            origin: "fuzzer".to_owned(),
        }];
        let (first, report) = RuleSet::load(&catalogue, &sources, &OPTIONS);
        let (second, again) = RuleSet::load(&catalogue, &sources, &OPTIONS);
        assert_eq!(report, again);
        assert_eq!(first.hash(), second.hash());
    }
});
