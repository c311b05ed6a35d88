//! `picket rules check`: what is wrong with policies, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use picket_events::text::counted;
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::lists::{ListReport, ListSource};
use crate::report::{LoadError, LoadReport, PolicySource, Status};
use crate::ruleset::{LoadOptions, RuleSet};

/// What a check found.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What became of each policy and rule.
    #[serde(flatten)]
    pub report: LoadReport,
    /// How many rules there are for each event type.
    pub events: BTreeMap<String, usize>,
    /// Rules that load but can never fire here, and why.
    pub never: Vec<Never>,
    /// Rules whose events the tracer refuses where the policy's mode is Enforce.
    pub denied: Vec<Denied>,
    /// What the tracer has to watch for these rules, in its text form.
    pub interest: String,
}

/// A rule whose events the tracer refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// The rule.
    pub id: String,
    /// Its event type.
    pub event: String,
}

/// A rule that can never fire here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Never {
    /// The rule.
    pub id: String,
    /// Its event type.
    pub event: String,
    /// Why.
    pub reason: String,
}

/// Loads policies and says what came of it.
pub fn check(catalogue: &Arc<Catalogue>, sources: &[PolicySource], options: &LoadOptions) -> Check {
    let (rules, report) = RuleSet::load(catalogue, sources, options);
    let mut events = BTreeMap::new();
    let mut never = Vec::new();
    for rule in rules.rules() {
        let info = catalogue.event_info(rule.event);
        *events.entry(info.name.clone()).or_insert(0) += 1;
        if let Some(reason) = info.never.as_ref().or(rule.never.as_ref()) {
            never.push(Never {
                id: rule.id.clone(),
                event: info.name.clone(),
                reason: reason.clone(),
            });
        }
    }
    let denied = rules.denied().map(|rule| Denied {
        id: rule.rule.clone(),
        event: rule.event.name().to_owned(),
    });
    Check {
        report,
        events,
        never,
        denied: denied.collect(),
        interest: rules.interest().to_string(),
    }
}

impl Check {
    /// True when nothing was refused.
    pub fn is_ok(&self) -> bool {
        self.report.is_ok()
    }

    /// The check as text: a line for each rule, errors with the place marked, a summary.
    pub fn render(&self, sources: &[PolicySource], lists: &[ListSource]) -> String {
        let mut out = String::new();
        for list in &self.report.lists {
            let source = lists.iter().find(|source| source.origin == list.origin);
            let text = source
                .map(|source| source.text.as_str())
                .unwrap_or_default();
            let ListReport {
                name,
                origin,
                entries,
                ..
            } = list;
            let entries = counted(*entries, "entry", "entries");
            let _ = writeln!(out, "{name} ({origin}): {entries}");
            for error in &list.errors {
                render_error(&mut out, name, text, "", error);
            }
        }
        for policy in &self.report.policies {
            let source = sources.iter().find(|source| source.name == policy.name);
            let text = source
                .map(|source| source.text.as_str())
                .unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{} ({})", policy.name, policy.origin);
            for warning in &policy.warnings {
                let _ = writeln!(out, "  warning: {warning}");
            }
            for error in &policy.errors {
                render_error(&mut out, &policy.name, text, &error.id, error);
            }
            for rule in &policy.rules {
                match (&rule.error, rule.status) {
                    (Some(error), _) => {
                        render_error(&mut out, &policy.name, text, &rule.id, error);
                    }
                    (None, Status::Filtered) => {
                        let _ = writeln!(out, "  -- {}: {}", rule.id, rule.warnings.join("; "));
                    }
                    (None, _) => {
                        let _ = writeln!(out, "  ok {}", rule.id);
                        for warning in &rule.warnings {
                            let _ = writeln!(out, "     warning: {warning}");
                        }
                    }
                }
            }
        }
        let events: Vec<String> = self
            .events
            .iter()
            .map(|(event, count)| format!("{event} {count}"))
            .collect();
        let events = match events.is_empty() {
            true => "none".to_owned(),
            false => events.join(", "),
        };
        let _ = writeln!(out, "rules by event type: {events}");
        for never in &self.never {
            let _ = writeln!(
                out,
                "never fires here: {} ({}): {}",
                never.id, never.event, never.reason
            );
        }
        for denied in &self.denied {
            let _ = writeln!(
                out,
                "refused in Enforce mode: {} ({}), judged before the call; {}",
                denied.id,
                denied.event,
                match denied.event.as_str() {
                    "exec" => "a program that is slipped in is killed before it runs",
                    _ => "what is not refused the tracer does in the caller's place",
                }
            );
        }
        let _ = writeln!(out, "the tracer watches: {}", self.interest);
        out
    }
}

/// Longest line that is shown as it is, in characters.
const MAX_SHOWN: usize = 160;

/// What is shown of a line with a mistake behind `before` characters, and how many of those are in
/// it: policies that a program wrote have lines without end.
fn excerpt(line: &str, before: usize) -> (String, usize) {
    let length = line.chars().count();
    if length <= MAX_SHOWN {
        return (line.to_owned(), before);
    }
    let start = before.saturating_sub(MAX_SHOWN / 2);
    let end = (start + MAX_SHOWN).min(length);
    let shown: String = line.chars().skip(start).take(end - start).collect();
    let (left, right) = (
        if start > 0 { "…" } else { "" },
        if end < length { "…" } else { "" },
    );
    let before = before - start + left.chars().count();
    (format!("{left}{shown}{right}"), before)
}

fn render_error(out: &mut String, policy: &str, text: &str, id: &str, error: &LoadError) {
    let place = error.file.map(|at| format!(":{at}")).unwrap_or_default();
    let name = if id.is_empty() {
        String::new()
    } else {
        format!("{id}: ")
    };
    let _ = writeln!(out, "  !! {policy}{place}: {name}{}", error.message);
    if let Some(at) = error.file
        && let Some(line) = text.lines().nth(at.line.saturating_sub(1))
    {
        let (line, before) = excerpt(line, at.column.saturating_sub(1));
        // Tabs stay, so that the caret stands under its place.
        let indent = line.chars().take(before);
        let indent: String = indent.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let _ = writeln!(out, "     | {line}\n     | {indent}^");
    }
    if let Some(suggestion) = &error.suggestion {
        let _ = writeln!(out, "     = did you mean {suggestion}?");
    }
}
