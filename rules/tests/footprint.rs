//! What a loaded rule set takes of memory.

#[path = "../benches/synthetic/mod.rs"]
mod synthetic;

use picket_rules::{Catalogue, ListSource, LoadOptions, PolicySource, RuleSet, defaults};

/// Sets that are kept at once, so that what allocators and pages add does not count.
const SETS: usize = 4;

/// What the process has in memory, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap()
}

/// KiB that one set of these policies takes. The sets go to `kept`: what they would give back
/// could be used by the next ones, and hide their size.
fn size_of_a_set(
    policies: &[PolicySource],
    lists: Vec<ListSource>,
    kept: &mut Vec<RuleSet>,
) -> usize {
    let options = LoadOptions {
        lists,
        ..LoadOptions::default()
    };
    let catalogue = Catalogue::standard();
    let load = || {
        let (rules, report) = RuleSet::load(&catalogue, policies, &options);
        assert!(report.is_ok());
        rules
    };
    // What the first load leaves behind for the next ones is not counted.
    kept.push(load());
    let before = resident();
    kept.extend((0..SETS).map(|_| load()));
    resident().saturating_sub(before) / SETS
}

// One test: another one beside it would count too.
#[test]
fn a_compiled_set_stays_below_eight_mebibytes() {
    let large = PolicySource {
        name: "synthetic.policy".to_owned(),
        text: synthetic::policy(),
        origin: String::new(),
    };
    let mut kept = Vec::new();
    let own = size_of_a_set(&defaults::sources(), defaults::lists(), &mut kept);
    let large = size_of_a_set(&[large], Vec::new(), &mut kept);
    let domains: String = (0..100_000)
        .map(|number| format!("host-{number}.example\n"))
        .collect();
    let bytes = domains.len();
    let policy = PolicySource {
        name: "list.policy".to_owned(),
        text: "macros: [{id: L, list: l.domains}]\n\
               rules: [{id: a, expression: dns.question.name in L}, \
                       {id: b, expression: dns.question.name not in L}]\n"
            .to_owned(),
        origin: String::new(),
    };
    let list = ListSource {
        name: "l.domains".to_owned(),
        text: domains,
        origin: String::new(),
    };
    let list = size_of_a_set(&[policy], vec![list], &mut kept);
    println!("default rules {own} KiB, 300 rules {large} KiB, a list of 100 000 {list} KiB");
    assert!(own <= 8 * 1024 && large <= 8 * 1024, "{own} {large}");
    // Two rules share one list, which takes little more than its file.
    assert!(list * 1024 < bytes * 2, "{list} KiB for {bytes} bytes");
}
