//! How many events a rule set takes: the default rules, and 300 in the style of a large
//! policy. None of the events matches anything.

mod synthetic;

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use picket_rules::tools::bench::sample;
use picket_rules::tools::event::WrittenEvent;
use picket_rules::{
    Catalogue, Evaluator, ListSource, LoadOptions, PolicySource, RuleSet, defaults,
};

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
    load_with(sources, defaults::lists())
}

fn load_with(sources: &[PolicySource], lists: Vec<ListSource>) -> Arc<RuleSet> {
    let options = LoadOptions {
        lists,
        ..LoadOptions::default()
    };
    let (rules, report) = RuleSet::load(&Catalogue::standard(), sources, &options);
    assert!(report.is_ok());
    Arc::new(rules)
}

fn run(bencher: Bencher<'_, '_>, sources: &[PolicySource], event: &str) {
    evaluate(bencher, load(sources), event);
}

fn evaluate(bencher: Bencher<'_, '_>, rules: Arc<RuleSet>, event: &str) {
    let catalogue = Catalogue::standard();
    let id = catalogue.event(event).unwrap();
    let events: Vec<WrittenEvent> = (0..64).map(|n| sample(&catalogue, event, n)).collect();
    let mut evaluator = Evaluator::new(rules);
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

/// Writes the entry of this number.
type Entry = fn(u32) -> String;

/// A hundred thousand entries of each kind of list, as feeds of threat intelligence have them.
fn large_lists() -> (Vec<PolicySource>, Vec<ListSource>) {
    let text = "
macros: [{id: I, list: l.ips}, {id: D, list: l.domains}, {id: H, list: l.hashes}, {id: N, list: l.names}]
rules:
  - {id: i, expression: connect.addr.ip in I}
  - {id: d, expression: dns.question.name in D}
  - {id: h, expression: exec.file.hashes in H}
  - {id: n, expression: exec.file.name in N}
";
    let policy = PolicySource {
        name: "lists.policy".to_owned(),
        text: text.to_owned(),
        origin: String::new(),
    };
    let entries: [(&str, Entry); 4] = [
        ("l.ips", |n| {
            format!("203.{}.{}.{}", n >> 14 & 255, n >> 6 & 255, n << 2 & 255)
        }),
        ("l.domains", |n| format!("host-{n}.example")),
        ("l.hashes", |n| format!("{n:064x}")),
        ("l.names", |n| format!("tool-{n}")),
    ];
    let lists = entries.map(|(name, entry)| ListSource {
        name: name.to_owned(),
        text: (0..100_000).map(|n| entry(n) + "\n").collect(),
        origin: String::new(),
    });
    (vec![policy], lists.into())
}

#[divan::bench(args = ["connect", "dns", "exec"])]
fn lists_of_100_000(bencher: Bencher<'_, '_>, event: &str) {
    let (policies, lists) = large_lists();
    evaluate(bencher, load_with(&policies, lists), event);
}

#[divan::bench]
fn load_lists_of_100_000(bencher: Bencher<'_, '_>) {
    let (policies, lists) = large_lists();
    bencher.bench_local(|| load_with(&policies, lists.clone()));
}

#[divan::bench]
fn load_300_rules() -> Arc<RuleSet> {
    load(&sources())
}

#[divan::bench]
fn load_default_rules() -> Arc<RuleSet> {
    load(&defaults::sources())
}
