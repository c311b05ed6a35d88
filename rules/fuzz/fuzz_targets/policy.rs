//! The policy loader: any text loads or is reported, and what loads can be evaluated, with the
//! index as without.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use picket_rules::tools::bench::sample;
use picket_rules::{Catalogue, Evaluator, LoadOptions, PolicySource, RuleSet};

fuzz_target!(|text: &str| {
    let catalogue = Catalogue::standard();
    let source = PolicySource {
        name: "fuzz".to_owned(),
        text: text.to_owned(),
        origin: "fuzz".to_owned(),
    };
    let (rules, report) = RuleSet::load(&catalogue, &[source], &LoadOptions::default());
    for (_, error) in report.errors() {
        assert!(!error.to_string().is_empty());
    }
    let rules = Arc::new(rules);
    let mut indexed = Evaluator::new(Arc::clone(&rules));
    let mut plain = Evaluator::new(rules);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for (id, event) in catalogue.events() {
        for number in 1..4 {
            let event = sample(&catalogue, &event.name, number);
            indexed.evaluate(id, &event, &mut with);
            plain.evaluate_plainly(id, &event, &mut without);
        }
    }
    // Chance is in rules that ask for it.
    assert!(with == without || text.contains("uuid4"));
});
