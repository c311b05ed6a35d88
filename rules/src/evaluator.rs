//! Evaluates rules against events.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::action::{ActionKind, ActionRequest, SetAction};
use crate::eval::{Frame, address_text};
use crate::limits::Limiter;
use crate::matcher::hash_text;
use crate::rule::Rule;
use crate::ruleset::RuleSet;
use crate::store::Variables;
use crate::value::{Context, EventId, Scope, Value};
use crate::variable::Stored;

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
    state: State,
    /// Rules to be tried, kept to save allocations.
    candidates: Vec<u64>,
}

/// What rules leave behind for the events to come.
#[derive(Debug)]
struct State {
    variables: Variables,
    /// By rule and container: what one has reported hides nothing of what another does.
    limiters: HashMap<(usize, Option<u64>), Limiter>,
}

impl Evaluator {
    /// An evaluator without variables set.
    pub fn new(rules: Arc<RuleSet>) -> Self {
        Self {
            state: State {
                variables: Variables::new(Arc::clone(rules.variables())),
                limiters: HashMap::new(),
            },
            candidates: Vec::new(),
            rules,
        }
    }

    /// The rules.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Takes another rule set into use. Variables that both define alike keep their values;
    /// rate limits start anew.
    pub fn replace(&mut self, rules: Arc<RuleSet>) {
        self.state.variables.replace(Arc::clone(rules.variables()));
        self.state.limiters.clear();
        self.rules = rules;
    }

    /// Evaluates all rules of an event type, in order, and appends those that match.
    ///
    /// Variables that a rule sets are seen by the rules after it.
    pub fn evaluate(&mut self, event: EventId, context: &impl Context, matches: &mut Vec<Match>) {
        self.evaluate_some(event, context, matches, |_| true);
    }

    /// As [`Evaluator::evaluate`], but only rules (by their index into [`RuleSet::rules`]) that
    /// `wanted` says yes to: where not everything about an event is known at once.
    pub fn evaluate_some(
        &mut self,
        event: EventId,
        context: &impl Context,
        matches: &mut Vec<Match>,
        wanted: impl Fn(usize) -> bool,
    ) {
        let Self {
            rules,
            state,
            candidates,
        } = self;
        let Some(group) = rules.group(event) else {
            return;
        };
        group.index.candidates(context, candidates);
        for (word, bits) in candidates.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let rule = group.rules[word * 64 + bits.trailing_zeros() as usize];
                bits &= bits - 1;
                if wanted(rule) {
                    state.try_rule(rule, &rules.rules()[rule], context, matches);
                }
            }
        }
    }

    /// As [`Evaluator::evaluate`], but tries every rule: what the index is held against.
    #[doc(hidden)]
    pub fn evaluate_plainly(
        &mut self,
        event: EventId,
        context: &impl Context,
        matches: &mut Vec<Match>,
    ) {
        let Some(group) = self.rules.group(event) else {
            return;
        };
        for rule in &group.rules {
            let state = &mut self.state;
            state.try_rule(*rule, &self.rules.rules()[*rule], context, matches);
        }
    }

    /// Forgets the variables of a process or container that is gone and that no living
    /// process can inherit from, and what was reported of the container.
    pub fn release(&mut self, scope: Scope, key: u64) {
        if scope == Scope::Container {
            let limiters = &mut self.state.limiters;
            limiters.retain(|(_, container), _| *container != Some(key));
        }
        self.state.variables.release(scope, key);
    }

    /// Every variable that is set for this context and not private, for a finding.
    pub fn variables(&self, context: &impl Context) -> Map<String, Json> {
        let all = self.state.variables.all(context);
        let all = all.filter(|(info, _)| !info.private);
        all.map(|(info, value)| (info.name.clone(), json(value)))
            .collect()
    }
}

impl State {
    fn try_rule(
        &mut self,
        index: usize,
        rule: &Rule,
        context: &impl Context,
        matches: &mut Vec<Match>,
    ) {
        if !Frame::new(context, &self.variables).run(&rule.program) {
            return;
        }
        let mut actions = Vec::new();
        for action in &rule.actions {
            let mut frame = Frame::new(context, &self.variables);
            if action
                .filter
                .as_ref()
                .is_some_and(|filter| !frame.run(filter))
            {
                continue;
            }
            match &action.kind {
                ActionKind::Set(set) => self.set(set, context),
                ActionKind::Request(request) => actions.push(request.clone()),
                ActionKind::Log { level, message } => actions.push(ActionRequest::Log {
                    level: level.clone(),
                    message: frame.text(message).into_owned(),
                }),
            }
        }
        let report = !rule.silent && {
            let container = context.scope_key(Scope::Container);
            let limiter = self.limiters.entry((index, container)).or_default();
            limiter.allow(rule.every, token(rule, context), context.now())
        };
        matches.push(Match {
            rule: index,
            report,
            actions,
        });
    }

    fn set(&mut self, set: &SetAction, context: &impl Context) {
        let key = match set.scope_field {
            Some(field) => match context.value(field) {
                Value::Int(pid) => context.process_key(pid),
                _ => None,
            },
            None if set.scope == Scope::Global => Some(0),
            None => context.scope_key(set.scope),
        };
        let Some(key) = key else { return };
        let value = Frame::new(context, &self.variables).any_value(&set.value);
        self.variables
            .set(set.variable, key, value, set.append, context.now());
    }
}

/// One number for the values that a rule's reports are limited by.
fn token(rule: &Rule, context: &impl Context) -> u64 {
    rule.limiter_fields.iter().fold(0u64, |hash, field| {
        let value = match context.value(*field) {
            Value::Str(text) => hash_text(text),
            Value::Int(value) => value as u64,
            other => hash_text(&format!("{other:?}")),
        };
        hash.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ value
    })
}

fn json(value: &Stored) -> Json {
    match value {
        Stored::Bool(value) => Json::from(*value),
        Stored::Int(value) => Json::from(*value),
        Stored::Text(value) => Json::from(value.as_str()),
        Stored::Address(value) => Json::from(address_text(*value)),
        Stored::Bools(values) => Json::from(values.as_slice()),
        Stored::Ints(values) => Json::from(values.as_slice()),
        Stored::Texts(values) => Json::from(values.as_slice()),
        Stored::Addresses(values) => values.iter().map(|value| address_text(*value)).collect(),
    }
}
