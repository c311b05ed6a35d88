//! The policy loader: any text loads or is reported, and what loads can be evaluated, with the
//! index as without.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use picket_rules::tools::bench::sample;
use picket_rules::tools::event::WrittenEvent;
use picket_rules::{Catalogue, Evaluator, LoadOptions, PolicySource, RuleSet};

/// Some of each type. Making them takes longer than what is to be tried.
static EVENTS: LazyLock<Vec<WrittenEvent>> = LazyLock::new(|| {
    let catalogue = Catalogue::standard();
    let types = catalogue.events();
    types
        .flat_map(|(_, event)| (1..3).map(|number| sample(&catalogue, &event.name, number)))
        .collect()
});

fuzz_target!(|text: &str| {
    let source = PolicySource {
        name: "fuzz".to_owned(),
        text: text.to_owned(),
        origin: "fuzz".to_owned(),
    };
    let (rules, report) =
        RuleSet::load(&Catalogue::standard(), &[source], &LoadOptions::default());
    for (_, error) in report.errors() {
        assert!(!error.to_string().is_empty());
    }
    let rules = Arc::new(rules);
    let mut indexed = Evaluator::new(Arc::clone(&rules));
    let mut plain = Evaluator::new(rules);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for event in EVENTS.iter() {
        let Some(id) = event.event_type() else { continue };
        indexed.evaluate(id, event, &mut with);
        plain.evaluate_plainly(id, event, &mut without);
    }
    // Chance is in rules that ask for it.
    assert!(with == without || text.contains("uuid4"));
});
