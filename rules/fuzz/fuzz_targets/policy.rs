//! The policy loader: any text loads or is reported, and what loads can be evaluated.
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
    let mut evaluator = Evaluator::new(Arc::new(rules));
    let mut matches = Vec::new();
    for (id, event) in catalogue.events() {
        evaluator.evaluate(id, &sample(&catalogue, &event.name, 1), &mut matches);
    }
});
