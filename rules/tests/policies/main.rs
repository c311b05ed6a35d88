//! Policy files: merging, overriding, filters, actions, limits, and what a mistake costs.

mod effects;
mod merging;
mod mistakes;
mod names;
mod variables;

use std::sync::Arc;

use picket_rules::tools::event::WrittenEvent;
use picket_rules::{Catalogue, Evaluator, LoadOptions, LoadReport, Match, PolicySource, RuleSet};
use serde_json::Value;

fn source(name: &str, text: &str) -> PolicySource {
    PolicySource {
        name: name.to_owned(),
        text: text.to_owned(),
        origin: "test".to_owned(),
    }
}

fn load(texts: &[(&str, &str)]) -> (Arc<RuleSet>, LoadReport) {
    let sources: Vec<PolicySource> = texts
        .iter()
        .map(|(name, text)| source(name, text))
        .collect();
    let (rules, report) = RuleSet::load(&Catalogue::standard(), &sources, &LoadOptions::default());
    (Arc::new(rules), report)
}

fn load_one(text: &str) -> Arc<RuleSet> {
    let (rules, report) = load(&[("one.policy", text)]);
    assert!(report.is_ok(), "{report:#?}");
    rules
}

fn ids(rules: &RuleSet) -> Vec<&str> {
    rules.rules().iter().map(|rule| rule.id.as_str()).collect()
}

fn event(json: Value) -> WrittenEvent {
    WrittenEvent::read(&Catalogue::standard(), &json).unwrap()
}

fn evaluate(evaluator: &mut Evaluator, event: &WrittenEvent) -> Vec<Match> {
    let mut matches = Vec::new();
    evaluator.evaluate(event.event_type().unwrap(), event, &mut matches);
    matches
}

/// Ids of the rules that match, in order.
fn matched(evaluator: &mut Evaluator, event: &WrittenEvent) -> Vec<String> {
    let matches = evaluate(evaluator, event);
    let rules = Arc::clone(evaluator.rules());
    matches
        .iter()
        .map(|one| rules.rules()[one.rule].id.clone())
        .collect()
}
