//! The default rules, held against the tests that stand beside them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use picket_events::finding::Severity;
use picket_rules::tools::testing;
use picket_rules::{Catalogue, LoadOptions, RuleSet, defaults};

fn rules() -> Arc<RuleSet> {
    let catalogue = Catalogue::standard();
    let (rules, report) = RuleSet::load(&catalogue, &defaults::sources(), &LoadOptions::default());
    let errors: Vec<String> = report
        .errors()
        .map(|(policy, error)| format!("{policy}: {error}"))
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    Arc::new(rules)
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/picket/rules")
}

#[test]
fn every_default_rule_passes_its_tests_and_has_some() {
    let rules = rules();
    let mut covered = BTreeSet::new();
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(folder().join("tests")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for outcome in testing::run(&rules, &text).unwrap() {
            let name = outcome.name;
            failures.extend(
                outcome
                    .failures
                    .iter()
                    .map(|failure| format!("{name}: {failure}")),
            );
            covered.extend(outcome.covered);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let untested: Vec<&str> = rules
        .rules()
        .iter()
        .map(|rule| rule.id.as_str())
        .filter(|id| !covered.contains(*id))
        .collect();
    assert!(
        untested.is_empty(),
        "no test makes these match: {untested:?}"
    );
}

#[test]
fn every_policy_file_is_built_in() {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".policy"))
        .collect();
    files.sort();
    let mut built_in: Vec<&str> = defaults::policies().iter().map(|(name, _)| *name).collect();
    built_in.sort_unstable();
    assert_eq!(files, built_in);
}

#[test]
fn every_reporting_rule_says_what_it_means() {
    for rule in rules().rules().iter().filter(|rule| !rule.silent) {
        let meaning = rule.meaning();
        assert!(meaning.finding_type.contains(":Runtime/"), "{}", rule.id);
        assert!(meaning.technique.starts_with('T'), "{}", rule.id);
        assert!(
            Severity::from_name(&rule.tags["severity"]).is_some(),
            "{}",
            rule.id
        );
        for text in [&meaning.title, &meaning.remediation, &rule.description] {
            assert!(text.len() > 10, "{}", rule.id);
        }
    }
}

#[test]
fn the_default_rules_need_no_opens_but_plain_ones() {
    let interest = rules().interest().to_string();
    assert!(interest.ends_with("open:plain"), "{interest}");
    assert!(
        !interest.contains("mmap") && !interest.contains("splice"),
        "{interest}"
    );
}
