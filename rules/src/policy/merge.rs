//! Several policies become one list of rules and one table of macros.

use std::collections::HashMap;

use super::document::{Combine, Document, MacroDocument, Misspelt, RuleDocument};
use super::filters::Facts;
use crate::report::{LoadError, PolicyReport, RuleReport, Status};

/// A rule after merging, and where it is reported.
#[derive(Debug)]
pub(super) struct MergedRule {
    pub(super) document: RuleDocument,
    /// Policy that the expression comes from.
    pub(super) expression_policy: usize,
    /// Policy that defines the rule.
    pub(super) policy: usize,
    /// Its place in that policy's report.
    pub(super) row: usize,
}

/// A macro after merging.
#[derive(Debug)]
pub(super) struct MergedMacro {
    pub(super) document: MacroDocument,
    pub(super) policy: usize,
}

/// Everything that counts, in the order of its first definition.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) rules: Vec<MergedRule>,
    pub(super) macros: Vec<MergedMacro>,
}

/// Merges documents, filling in the reports' rows.
pub(super) fn merge(
    documents: Vec<Document>,
    facts: &Facts,
    reports: &mut [PolicyReport],
) -> Merged {
    let mut merged = Merged::default();
    let mut macros: HashMap<String, usize> = HashMap::new();
    let mut rules: HashMap<String, usize> = HashMap::new();
    for (policy, document) in documents.into_iter().enumerate() {
        for definition in document.macros {
            let outcome = definition.and_then(|one| {
                let misspelt = one.misspelt.iter();
                let warnings = misspelt.map(|key| format!("macro {}: {key}", one.id));
                reports[policy].warnings.extend(warnings);
                merged.add_macro(one, policy, facts, &mut macros)
            });
            if let Err(error) = outcome {
                reports[policy].errors.push(error);
            }
        }
        for definition in document.rules {
            match definition {
                Ok(rule) => merged.add_rule(rule, policy, facts, &mut rules, reports),
                Err(error) => {
                    let id = error.id.clone();
                    reports[policy].rules.push(RuleReport {
                        id,
                        status: Status::Error,
                        error: Some(error),
                        ..RuleReport::default()
                    });
                }
            }
        }
    }
    merged
}

fn fault(id: &str, at: &super::yaml::Node, message: String) -> LoadError {
    LoadError {
        id: id.to_owned(),
        message,
        file: Some(at.at),
        ..LoadError::default()
    }
}

impl Merged {
    fn add_macro(
        &mut self,
        new: MacroDocument,
        policy: usize,
        facts: &Facts,
        by_id: &mut HashMap<String, usize>,
    ) -> Result<(), LoadError> {
        let error = |message: String| fault(&new.id, &new.at, message);
        if facts.refuse(&new.conditions).map_err(error)?.is_some() {
            return Ok(());
        }
        let has_values = new.values.is_some() || !new.lists.is_empty();
        if new.expression.is_some() == has_values {
            return Err(error(
                "a macro has either an expression, or values and a list".to_owned(),
            ));
        }
        let Some(old) = by_id.get(&new.id).map(|index| &mut self.macros[*index]) else {
            by_id.insert(new.id.clone(), self.macros.len());
            self.macros.push(MergedMacro {
                document: new,
                policy,
            });
            return Ok(());
        };
        match new.combine {
            Combine::None => {
                return Err(error(
                    "a macro with this id exists; say `combine: merge` or `combine: override`"
                        .to_owned(),
                ));
            }
            Combine::Merge => {
                let old = &mut old.document;
                if old.expression.is_some() || new.expression.is_some() {
                    return Err(error("only macros with values can be merged".to_owned()));
                }
                if let Some(values) = new.values {
                    old.values.get_or_insert_default().extend(values);
                }
                old.lists.extend(new.lists);
            }
            Combine::Override => {
                *old = MergedMacro {
                    document: new,
                    policy,
                }
            }
        }
        Ok(())
    }

    fn add_rule(
        &mut self,
        new: RuleDocument,
        policy: usize,
        facts: &Facts,
        by_id: &mut HashMap<String, usize>,
        reports: &mut [PolicyReport],
    ) {
        let mut report = RuleReport {
            id: new.id.clone(),
            version: new.version.clone(),
            expression: new
                .expression
                .as_ref()
                .map(|text| text.text.clone())
                .unwrap_or_default(),
            warnings: new.misspelt.iter().map(Misspelt::to_string).collect(),
            ..RuleReport::default()
        };
        let row = reports[policy].rules.len();
        match facts.refuse(&new.conditions) {
            Err(message) => {
                report.status = Status::Error;
                report.error = Some(fault(&new.id, &new.at, message));
                reports[policy].rules.push(report);
                return;
            }
            Ok(Some(reason)) => {
                report.status = Status::Filtered;
                report.warnings.push(reason);
                reports[policy].rules.push(report);
                return;
            }
            Ok(None) => {}
        }
        let Some(old) = by_id.get(&new.id).map(|index| &mut self.rules[*index]) else {
            reports[policy].rules.push(report);
            by_id.insert(new.id.clone(), self.rules.len());
            self.rules.push(MergedRule {
                document: new,
                expression_policy: policy,
                policy,
                row,
            });
            return;
        };
        let name = reports[policy].name.clone();
        match old.apply(new, policy) {
            Ok(()) if old.policy == policy => {}
            Ok(()) => {
                let base = &mut reports[old.policy].rules[old.row];
                base.modified_by.push(name);
                reports[policy].rules.push(report);
            }
            Err(error) => {
                report.status = Status::Error;
                report.error = Some(error);
                reports[policy].rules.push(report);
            }
        }
    }
}

impl MergedRule {
    /// Applies a later definition with the same id.
    fn apply(&mut self, new: RuleDocument, policy: usize) -> Result<(), LoadError> {
        let old = &mut self.document;
        if new.combine != Combine::Override {
            if new.disabled == old.disabled {
                let message = "a rule with this id exists; say `combine: override`";
                return Err(fault(&new.id, &new.at, message.to_owned()));
            }
            old.disabled = new.disabled;
            return Ok(());
        }
        old.disabled = new.disabled;
        let mut fields: Vec<&str> = new.override_fields.iter().map(String::as_str).collect();
        if fields.is_empty() {
            fields.push("expression");
        }
        for field in &fields {
            if !matches!(
                *field,
                "all" | "expression" | "actions" | "every" | "tags" | "product_tags"
            ) {
                let message = format!(
                    "override_options: {field:?} is not one of all, expression, actions, every, tags, product_tags"
                );
                return Err(fault(&new.id, &new.at, message));
            }
        }
        let expression = new.expression.clone();
        if fields.contains(&"all") {
            let kept = old.expression.clone();
            *old = new;
            if old.expression.is_none() {
                old.expression = kept;
            }
        } else {
            for field in fields {
                match field {
                    "expression" if new.expression.is_some() => {
                        old.expression.clone_from(&new.expression);
                    }
                    "actions" => old.actions.clone_from(&new.actions),
                    "every" => old.every = new.every,
                    "tags" => old.tags.clone_from(&new.tags),
                    "product_tags" => old.product_tags.clone_from(&new.product_tags),
                    _ => {}
                }
            }
        }
        // Places are looked up in the file that the texts come from.
        if expression.is_some()
            && self.document.expression.as_ref().map(|text| &text.text)
                == expression.as_ref().map(|text| &text.text)
        {
            self.expression_policy = policy;
        }
        Ok(())
    }
}
