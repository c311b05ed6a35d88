//! The default rules as a whole.

use picket_rules::{Catalogue, LoadOptions, RuleSet, defaults};

#[test]
fn every_default_rule_loads() {
    let catalogue = Catalogue::standard();
    let (rules, report) = RuleSet::load(&catalogue, &defaults::sources(), &LoadOptions::default());
    let errors: Vec<String> = report
        .errors()
        .map(|(policy, error)| format!("{policy}: {error}"))
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    println!("{}", rules.interest());
    assert!(rules.rules().len() >= 15);
}
