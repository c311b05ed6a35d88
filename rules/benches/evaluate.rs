//! How many events a rule set takes: the default rules, and 300 in the style of a large
//! policy. None of the events matches anything.

mod synthetic;

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use picket_rules::tools::bench::sample;
use picket_rules::tools::event::WrittenEvent;
use picket_rules::{Catalogue, Evaluator, LoadOptions, PolicySource, RuleSet, defaults};

/// Counts allocations: evaluating must make none, and a loaded set should stay small.
#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

fn sources() -> Vec<PolicySource> {
    let (name, origin) = ("synthetic.policy".to_owned(), String::new());
    vec![PolicySource {
        name,
        text: synthetic::policy(),
        origin,
    }]
}

fn load(sources: &[PolicySource]) -> Arc<RuleSet> {
    let options = LoadOptions {
        lists: defaults::lists(),
        ..LoadOptions::default()
    };
    let (rules, report) = RuleSet::load(&Catalogue::standard(), sources, &options);
    assert!(report.is_ok());
    Arc::new(rules)
}

fn run(bencher: Bencher<'_, '_>, sources: &[PolicySource], event: &str) {
    let catalogue = Catalogue::standard();
    let id = catalogue.event(event).unwrap();
    let events: Vec<WrittenEvent> = (0..64).map(|n| sample(&catalogue, event, n)).collect();
    let mut evaluator = Evaluator::new(load(sources));
    let mut matches = Vec::new();
    bencher
        .counter(ItemsCount::new(events.len()))
        .bench_local(|| {
            for event in &events {
                evaluator.evaluate(id, event, &mut matches);
            }
            assert!(matches.is_empty());
        });
}

#[divan::bench(args = ["open", "exec", "connect"])]
fn default_rules(bencher: Bencher<'_, '_>, event: &str) {
    run(bencher, &defaults::sources(), event);
}

#[divan::bench(args = ["open", "exec"])]
fn synthetic_300_rules(bencher: Bencher<'_, '_>, event: &str) {
    run(bencher, &sources(), event);
}

#[divan::bench]
fn load_300_rules() -> Arc<RuleSet> {
    load(&sources())
}

#[divan::bench]
fn load_default_rules() -> Arc<RuleSet> {
    load(&defaults::sources())
}
