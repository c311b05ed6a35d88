//! Evaluates rules against events.

use std::sync::Arc;

use crate::action::ActionRequest;
use crate::ruleset::RuleSet;
use crate::value::{Context, EventId, Scope};

/// A rule that matched an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Index into [`RuleSet::rules`].
    pub rule: usize,
    /// False when the rule is silent or over its rate limit: nothing is reported then, but
    /// the actions are still to be done.
    pub report: bool,
    /// What the caller has to do.
    pub actions: Vec<ActionRequest>,
}

/// Evaluates a rule set; holds variables and rate limits.
///
/// The only clock is [`Context::now`].
#[derive(Debug)]
pub struct Evaluator {
    rules: Arc<RuleSet>,
}

impl Evaluator {
    /// An evaluator without variables set.
    pub fn new(rules: Arc<RuleSet>) -> Self {
        Self { rules }
    }

    /// The rules.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Takes another rule set into use. Variables that the new set defines alike keep their
    /// values.
    pub fn replace(&mut self, rules: Arc<RuleSet>) {
        self.rules = rules;
    }

    /// Evaluates all rules of an event type, in order, and appends those that match.
    ///
    /// Variables that a rule sets are seen by the rules after it.
    pub fn evaluate(&mut self, event: EventId, context: &impl Context, matches: &mut Vec<Match>) {
        let _ = (event, context, matches);
    }

    /// Forgets the variables of a process or container that is gone and that no living
    /// process can inherit from.
    pub fn release(&mut self, scope: Scope, key: u64) {
        let _ = (scope, key);
    }

    /// Every variable that is set in the scopes of this context, as JSON, for a finding.
    pub fn variables(&self, context: &impl Context) -> serde_json::Map<String, serde_json::Value> {
        let _ = context;
        serde_json::Map::new()
    }
}
