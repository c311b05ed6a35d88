//! How many events a rule set takes: the default rules, and 300 in the style of a large
//! policy. None of the events matches anything.

use std::fmt::Write;
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

/// 150 rules on opens and 150 on execs: lists of names and paths, globs, ancestors, flags.
fn synthetic() -> String {
    let mut text = "macros:\n  - id: TOOLS\n    values: [".to_owned();
    for number in 0..300 {
        let _ = write!(text, "tool{number}, ");
    }
    text.push_str("last]\nrules:\n");
    for number in 0..150 {
        let open = match number % 4 {
            0 => format!(
                "open.file.path in [ \"/etc/app{number}/conf\", ~\"/var/lib/app{number}/**\", ~\"/home/*/.app{number}/*\" ] && open.flags & (O_CREAT|O_RDWR|O_WRONLY) > 0"
            ),
            1 => format!(
                "open.file.name in [ \"secret{number}\", \"key{number}\" ] && process.file.name not in TOOLS"
            ),
            2 => format!(
                "open.file.path == \"/etc/file{number}\" && process.ancestors.file.name == \"sshd\""
            ),
            _ => format!("open.file.path =~ \"/opt/app{number}/*/bin/*\" && process.uid == 0"),
        };
        let exec = match number % 5 {
            0 => format!(
                "exec.file.name in [ \"prog{number}\", \"other{number}\" ] && exec.args =~ \"*--flag{number}*\""
            ),
            1 => format!(
                "exec.file.path in [ ~\"/tmp/d{number}/**\", ~\"/dev/d{number}/**\" ] && process.ancestors.file.name in TOOLS"
            ),
            2 => format!(
                "exec.comm in [ \"a{number}\", \"b{number}\" ] && exec.args_flags in [ \"x\", \"y\" ]"
            ),
            3 => format!("exec.file.name == \"sh{number}\" && process.parent.file.name in TOOLS"),
            _ => format!(
                "process.ancestors.file.path == \"/usr/bin/parent{number}\" && exec.file.name in TOOLS"
            ),
        };
        let _ = write!(
            text,
            "  - id: open{number}\n    expression: >-\n      {open}\n"
        );
        let _ = write!(
            text,
            "  - id: exec{number}\n    expression: >-\n      {exec}\n"
        );
    }
    text
}

fn sources() -> Vec<PolicySource> {
    let (name, origin) = ("synthetic.policy".to_owned(), String::new());
    vec![PolicySource {
        name,
        text: synthetic(),
        origin,
    }]
}

fn load(sources: &[PolicySource]) -> Arc<RuleSet> {
    let (rules, report) = RuleSet::load(&Catalogue::standard(), sources, &LoadOptions::default());
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
