//! Loads policies into rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use picket_events::deny::DenyRule;

use super::actions::{build, expression_fault};
use super::document::{Document, MacroDocument, Misspelt, Reader, RuleDocument, Text, read};
use super::emptiness;
use super::filters::Facts;
use super::merge::{Merged, MergedRule, merge};
use super::set::define;
use crate::action::Action;
use crate::catalogue::{Catalogue, FieldInfo, Role};
use crate::compile::{
    Compiled, Environment, Macro, MacroTable, Work, Zeros, compile, compile_value, expand,
};
use crate::deny;
use crate::lists::{self, ListKind, ListUse, Lists};
use crate::program::BoolNode;
use crate::report::{LoadError, LoadReport, PolicyReport, PolicySource, Status};
use crate::rule::Rule;
use crate::ruleset::LoadOptions;
use crate::syntax::{ExpressionError, Problem, parse_expression, parse_macro};
use crate::value::{EventId, Scope, ValueType};
use crate::variable::{Stored, VariableId, VariableInfo, VariableTable};

/// The file whose definitions others build on; loaded before them.
const FIRST: &str = "default.policy";

/// What came of a set of policies.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) rules: Vec<Rule>,
    pub(crate) variables: VariableTable,
    /// The lists that macros take in.
    pub(crate) lists: Vec<ListUse>,
    pub(crate) report: LoadReport,
}

/// Loads policies. Never fails as a whole: what is wrong is in the report.
pub(crate) fn load(
    catalogue: &Catalogue,
    sources: &[PolicySource],
    options: &LoadOptions,
) -> Loaded {
    let mut sources: Vec<&PolicySource> = sources.iter().collect();
    if let Some(first) = sources.iter().position(|source| source.name == FIRST) {
        sources[..=first].rotate_right(1);
    }
    let mut reports = Vec::with_capacity(sources.len());
    let mut documents = Vec::with_capacity(sources.len());
    for source in &sources {
        let mut report = PolicyReport {
            name: source.name.clone(),
            origin: source.origin.clone(),
            ..PolicyReport::default()
        };
        let document = read(&source.text).unwrap_or_else(|error| {
            report.errors.push(error);
            Document::default()
        });
        report.version.clone_from(&document.version);
        let misspelt = document.misspelt.iter();
        report.warnings.extend(misspelt.map(Misspelt::to_string));
        if report.errors.is_empty() && document.rules.is_empty() && document.macros.is_empty() {
            report.warnings.push("there is no rule in it".to_owned());
        }
        reports.push(report);
        documents.push(document);
    }
    let (lists, list_reports) = lists::read(&options.lists);
    let merged = merge(documents, &Facts::new(options), &mut reports);
    let mut loader = Loader {
        catalogue,
        sources: &sources,
        lists,
        list_uses: BTreeMap::new(),
        macros: MacroTable::new(),
        variables: VariableTable::default(),
        rule_tags: None,
        work: Work::default(),
        reports,
        rules: Vec::new(),
    };
    loader.run(&merged);
    // Stable: rules of one priority stay in the order of the files.
    loader
        .rules
        .sort_by_key(|rule| std::cmp::Reverse(rule.priority));
    let mut policies = loader.reports;
    policies.iter_mut().for_each(PolicyReport::settle);
    Loaded {
        rules: loader.rules,
        variables: loader.variables,
        lists: loader.list_uses.into_values().collect(),
        report: LoadReport {
            policies,
            lists: list_reports,
        },
    }
}

struct Loader<'a> {
    catalogue: &'a Catalogue,
    sources: &'a [&'a PolicySource],
    lists: Lists,
    list_uses: BTreeMap<String, ListUse>,
    macros: MacroTable,
    variables: VariableTable,
    /// Of the rule that is being compiled.
    rule_tags: Option<VariableId>,
    work: Work,
    reports: Vec<PolicyReport>,
    rules: Vec<Rule>,
}

impl Loader<'_> {
    fn run(&mut self, merged: &Merged) {
        for one in &merged.macros {
            let body = match &one.document.expression {
                Some(text) => match parse_macro(&text.text) {
                    Ok(node) => Macro::Expression(node),
                    Err(error) => {
                        self.macro_fault(one.policy, &one.document.id, text, &error);
                        Macro::Faulty
                    }
                },
                None => self.values(&one.document).unwrap_or_else(|error| {
                    self.reports[one.policy].errors.push(error);
                    Macro::Faulty
                }),
            };
            self.macros.insert(one.document.id.clone(), body);
        }
        // Variables first: a rule may use what a later one sets.
        let mut failed = vec![false; merged.rules.len()];
        for (rule, failed) in merged.rules.iter().zip(&mut failed) {
            if rule.document.disabled {
                continue;
            }
            for action in &rule.document.actions {
                let reader = Reader {
                    node: action,
                    id: &rule.document.id,
                };
                if let Err(error) = define(reader, self.catalogue, &mut self.variables) {
                    self.rule_fault(rule, error);
                    *failed = true;
                }
            }
        }
        self.check_macros(merged);
        for (rule, failed) in merged.rules.iter().zip(failed) {
            if rule.document.disabled {
                let row = &mut self.reports[rule.policy].rules[rule.row];
                row.status = Status::Filtered;
                row.warnings.push("disabled".to_owned());
                continue;
            }
            self.rule_tags = self.tags_of(rule);
            if !failed && let Err(error) = self.rule(rule) {
                self.rule_fault(rule, error);
            }
        }
    }

    /// A variable that nobody sets, with the rule's tags for its default; only where a policy
    /// asks for tags at all.
    fn tags_of(&mut self, rule: &MergedRule) -> Option<VariableId> {
        let asked = |field: &FieldInfo| {
            field.role == Some(Role::RuleTags)
                && self
                    .sources
                    .iter()
                    .any(|source| source.text.contains(&field.name))
        };
        if !self.catalogue.fields().any(|(_, field)| asked(field)) {
            return None;
        }
        let tags = rule.document.tags.iter();
        self.variables.insert(VariableInfo {
            // No name that an expression could spell.
            name: format!("tags of {}", rule.document.id),
            scope: Scope::Global,
            value_type: ValueType::Strings,
            inherited: false,
            ttl: None,
            size: usize::MAX,
            private: true,
            default: Some(Stored::Texts(
                tags.map(|(key, value)| format!("{key}:{value}")).collect(),
            )),
        })
    }

    /// A macro of values and list files.
    fn values(&mut self, document: &MacroDocument) -> Result<Macro, LoadError> {
        let values = document.values.clone().unwrap_or_default();
        let mut lists = Vec::with_capacity(document.lists.len());
        let mut addresses = 0;
        for name in &document.lists {
            let reader = Reader {
                node: &name.node,
                id: &document.id,
            };
            let Some(kind) = ListKind::of(&name.text) else {
                let message = format!(
                    "list {:?}: the name of a list ends in .ips, .domains, .hashes or .names",
                    name.text
                );
                return Err(reader.fault(&name.node, message));
            };
            let list = self.lists.get(&name.text, kind);
            addresses += usize::from(kind == ListKind::Ips);
            let used = self
                .list_uses
                .entry(name.text.clone())
                .or_insert_with(|| ListUse::new(&name.text, kind, list.entries));
            used.values += values.len();
            used.macros.push(document.id.clone());
            lists.push(list.content);
        }
        if addresses > 0 && (addresses < lists.len() || !values.is_empty()) {
            let reader = Reader {
                node: &document.at,
                id: &document.id,
            };
            let message = "addresses and texts cannot be in one macro".to_owned();
            return Err(reader.fault(&document.at, message));
        }
        Ok(Macro::Values { values, lists })
    }

    /// Checks macros on their own, so that a faulty one is reported where it stands.
    fn check_macros(&mut self, merged: &Merged) {
        for one in &merged.macros {
            let Some(text) = &one.document.expression else {
                continue;
            };
            let Some(Macro::Expression(node)) = self.macros.get(&one.document.id) else {
                continue;
            };
            if let Err(error) = compile_value(self.environment(), node)
                && !matches!(
                    error.problem,
                    Problem::PseudoField(_) | Problem::Type { .. }
                )
            {
                self.macro_fault(one.policy, &one.document.id, text, &error);
            }
        }
    }

    fn environment(&self) -> Environment<'_> {
        Environment {
            catalogue: self.catalogue,
            macros: &self.macros,
            variables: &self.variables,
            rule_tags: self.rule_tags,
            zeros: Zeros::None,
            work: &self.work,
        }
    }

    fn macro_fault(&mut self, policy: usize, id: &str, text: &Text, error: &ExpressionError) {
        let reader = Reader {
            node: &text.node,
            id,
        };
        let error = expression_fault(reader, &text.text, &text.node, error);
        self.reports[policy].errors.push(error);
    }

    fn rule_fault(&mut self, rule: &MergedRule, mut error: LoadError) {
        if rule.expression_policy != rule.policy {
            let other = &self.sources[rule.expression_policy].name;
            error.message = format!("changed by {other}: {}", error.message);
        }
        let row = &mut self.reports[rule.policy].rules[rule.row];
        row.status = Status::Error;
        row.error = Some(error);
    }

    /// Compiles a rule into one for each event type that it stands for.
    fn rule(&mut self, merged: &MergedRule) -> Result<(), LoadError> {
        let document = &merged.document;
        let reader = Reader {
            node: &document.at,
            id: &document.id,
        };
        let Some(text) = &document.expression else {
            let mut fault = reader.fault(&document.at, "a rule needs an expression".to_owned());
            let mut misspelt = document.misspelt.iter();
            let misspelt = misspelt.find(|misspelt| misspelt.meant == "expression");
            fault.suggestion =
                misspelt.map(|Misspelt { key, meant }| format!("{meant} instead of {key}"));
            return Err(fault);
        };
        let fault =
            |error: ExpressionError| expression_fault(reader, &text.text, &text.node, &error);
        let node = parse_expression(&text.text).map_err(fault)?;
        let mut rules = Vec::new();
        let mut warnings = Vec::new();
        for expanded in expand(self.catalogue, &text.text, node).map_err(fault)? {
            let compiled = compile(self.environment(), &expanded.node).map_err(fault)?;
            let Some(event) = compiled.event else {
                return Err(fault(ExpressionError::new(
                    Problem::NoEvent,
                    expanded.node.span,
                )));
            };
            if let Some(reason) = &self.catalogue.event_info(event).never {
                let name = self.catalogue.event_name(event);
                warnings.push(format!("{name} events never happen here: {reason}"));
            }
            if let BoolNode::Constant(false) = compiled.program.root {
                warnings.push(self.never_matches(&compiled.empty));
            }
            let emptiness = emptiness::of(self.environment(), &expanded.node, &compiled);
            warnings.extend(emptiness.warnings);
            let mut rule = self.build(merged, event, compiled, expanded.text, &mut warnings)?;
            rule.never = emptiness.never;
            rules.push(rule);
        }
        let row = &mut self.reports[merged.policy].rules[merged.row];
        row.expression.clone_from(&text.text);
        row.warnings.append(&mut warnings);
        self.rules.append(&mut rules);
        Ok(())
    }

    /// Why a condition always comes out false.
    fn never_matches(&self, empty: &[String]) -> String {
        let lists: Vec<&str> = self
            .list_uses
            .values()
            .filter(|list| list.macros.iter().any(|name| empty.contains(name)))
            .map(|list| list.name.as_str())
            .collect();
        match lists.is_empty() {
            true => "its condition is never true".to_owned(),
            false => format!("it waits for a list that is empty: {}", lists.join(", ")),
        }
    }

    fn build(
        &self,
        merged: &MergedRule,
        event: EventId,
        compiled: Compiled,
        expanded: Option<String>,
        warnings: &mut Vec<String>,
    ) -> Result<Rule, LoadError> {
        let document = &merged.document;
        let mut actions = Vec::new();
        for node in &document.actions {
            let reader = Reader {
                node,
                id: &document.id,
            };
            match build(reader, self.environment(), event)? {
                Ok(action) => actions.push(action),
                Err(left_out) => warnings.push(left_out),
            }
        }
        let deny = self.denied(document, event, &compiled, &actions)?;
        let mut limiter_fields = Vec::new();
        for token in &document.limiter_token {
            let reader = Reader {
                node: &token.node,
                id: &document.id,
            };
            limiter_fields.push(limiter_field(reader, self.catalogue, &token.text, event)?);
        }
        // What one person does in a session must not hide what another does, or the application.
        limiter_fields.extend(self.catalogue.field(SESSION));
        let expression = document.expression.as_ref().map(|text| text.text.clone());
        Ok(Rule {
            id: document.id.clone(),
            version: document.version.clone(),
            description: document.description.clone(),
            tags: document.tags.clone(),
            product_tags: document.product_tags.clone(),
            expression: expression.unwrap_or_default(),
            expanded,
            policy: self.reports[merged.policy].name.clone(),
            policy_version: self.reports[merged.policy].version.clone(),
            event,
            actions,
            silent: document.silent,
            every: document.every.filter(|every| !every.is_zero()),
            limiter_fields,
            group_id: document.group_id.clone(),
            priority: document.priority,
            fields: compiled.fields,
            deny,
            never: None,
            program: Arc::new(compiled.program.cheapest_first()),
        })
    }
}

impl Loader<'_> {
    /// What the tracer is to refuse for a rule with these actions.
    fn denied(
        &self,
        document: &RuleDocument,
        event: EventId,
        compiled: &Compiled,
        actions: &[Action],
    ) -> Result<Option<DenyRule>, LoadError> {
        let at = actions.iter().position(Action::denies);
        let Some(node) = at.and_then(|_| {
            let mut nodes = document.actions.iter();
            nodes.find(|node| node.get("deny").is_some())
        }) else {
            return Ok(None);
        };
        let reader = Reader {
            node,
            id: &document.id,
        };
        deny::compile(self.catalogue, &document.id, event, &compiled.program)
            .map(Some)
            .map_err(|reason| reader.fault(node, format!("deny: {reason}")))
    }
}

/// The field by which sessions of `kubectl exec` are told apart.
const SESSION: &str = "process.user_session.id";

fn limiter_field(
    reader: Reader<'_>,
    catalogue: &Catalogue,
    name: &str,
    event: EventId,
) -> Result<crate::value::FieldId, LoadError> {
    let usable = catalogue.field(name).filter(|field| {
        let info = catalogue.info(*field);
        info.iterator.is_none() && info.event.is_none_or(|own| own == event)
    });
    usable.ok_or_else(|| {
        let message = format!(
            "limiter_token: {name:?} is not a field of {} events",
            catalogue.event_name(event)
        );
        let names = catalogue.fields().map(|(_, info)| info.name.as_str());
        LoadError {
            suggestion: crate::syntax::nearest(name, names),
            ..reader.fault(reader.node, message)
        }
    })
}
