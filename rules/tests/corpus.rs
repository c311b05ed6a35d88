//! Policy files of our own in the style of a large policy: each key and each form that they can
//! have, loaded as they are, and matched.

use std::path::PathBuf;
use std::sync::Arc;

use picket_rules::tools::testing;
use picket_rules::{Catalogue, LoadOptions, LoadReport, PolicySource, RuleSet, Status};

fn load() -> (Arc<RuleSet>, LoadReport) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    // Not in the order in which they count.
    let sources = ["bundle.policy", "other.policy", "default.policy"].map(|name| PolicySource {
        name: name.to_owned(),
        text: std::fs::read_to_string(folder.join(name)).unwrap(),
        origin: String::new(),
    });
    let (rules, report) = RuleSet::load(&Catalogue::standard(), &sources, &LoadOptions::default());
    (Arc::new(rules), report)
}

#[test]
fn everything_loads_but_the_one_rule_that_is_broken() {
    let (rules, report) = load();
    let errors: Vec<String> = report
        .errors()
        .map(|(_, error)| error.to_string())
        .collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains("broken: expected a value"), "{errors:?}");
    let names: Vec<&str> = report
        .policies
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names[0], "default.policy");
    assert!(rules.rules().len() > 50);
    let has = |id: &str| rules.rules().iter().any(|rule| rule.id == id);
    assert!(has("after_the_broken_one") && has("from_a_bundle") && !has("off"));
}

#[test]
fn what_cannot_be_done_here_is_said() {
    let (_, report) = load();
    let rules = report.policies.iter().flat_map(|policy| &policy.rules);
    let warned: Vec<(&str, &str)> = rules
        .filter(|rule| rule.status == Status::Loaded)
        .flat_map(|rule| {
            let warnings = rule.warnings.iter();
            warnings.map(|warning| (rule.id.as_str(), warning.as_str()))
        })
        .collect();
    for (id, words) in [
        ("acts", "coredump"),
        ("acts", "network_filter"),
        ("packets", "packet events never happen"),
        ("flows", "network_flow_monitor events never happen"),
        ("labels", "selinux events never happen"),
    ] {
        assert!(
            warned
                .iter()
                .any(|(rule, warning)| *rule == id && warning.contains(words)),
            "{id}: {warned:#?}"
        );
    }
}

#[test]
fn an_overridden_rule_keeps_what_was_not_named() {
    let (rules, _) = load();
    let rule = |id: &str| rules.rules().iter().find(|rule| rule.id == id).unwrap();
    assert_eq!(rule("changed_below").tags["kept"], "yes");
    assert_eq!(rule("changed_below").policy, "default.policy");
    let replaced = rule("replaced_below");
    assert!(!replaced.tags.contains_key("kept") && replaced.tags["new"] == "yes");
    assert_eq!(replaced.every, None);
    // A higher priority is evaluated earlier.
    assert_eq!(rules.rules()[0].id, "plain");
    assert_eq!(rule("plain").tags["number"], "5");
}

#[test]
fn the_rules_match_what_they_say() {
    let (rules, _) = load();
    let text = include_str!("corpus/corpus.test.yaml");
    let failures: Vec<String> = testing::run(&rules, text)
        .unwrap()
        .into_iter()
        .flat_map(|outcome| {
            let name = outcome.name;
            let failures = outcome.failures.into_iter();
            failures.map(move |failure| format!("{name}: {failure}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
