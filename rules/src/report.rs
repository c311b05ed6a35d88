//! What loading policies reports.

use serde::Serialize;

use crate::lists::ListReport;
use crate::position::Position;

/// A policy file as it was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySource {
    /// Name of the policy, usually the file name without its directory.
    pub name: String,
    /// YAML text.
    pub text: String,
    /// Where it comes from, for people: a path, `built-in`, `relay`.
    pub origin: String,
}

/// What became of a set of policies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LoadReport {
    /// One for each source, in the order given.
    pub policies: Vec<PolicyReport>,
    /// One for each list file, in the order given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<ListReport>,
}

impl LoadReport {
    /// True when nothing was refused.
    pub fn is_ok(&self) -> bool {
        let policies = self.policies.iter().map(|policy| policy.status);
        let lists = self.lists.iter().map(|list| list.status);
        policies.chain(lists).all(|status| status == Status::Loaded)
    }

    /// Every error, with the name of its policy or list.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &LoadError)> {
        let lists = self.lists.iter().flat_map(|list| {
            let errors = list.errors.iter();
            errors.map(|error| (list.name.as_str(), error))
        });
        let policies = self.policies.iter().flat_map(|policy| {
            let rules = policy.rules.iter().filter_map(|rule| rule.error.as_ref());
            policy
                .errors
                .iter()
                .chain(rules)
                .map(|error| (policy.name.as_str(), error))
        });
        policies.chain(lists)
    }
}

/// What became of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything in it is in use.
    #[default]
    Loaded,
    /// Some of it was refused.
    PartiallyLoaded,
    /// It was refused.
    Error,
    /// It was left out on purpose: disabled, or filtered out.
    Filtered,
}

/// What became of one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PolicyReport {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub origin: String,
    /// Its version.
    pub version: String,
    /// What became of it.
    pub status: Status,
    /// One for each rule in it.
    pub rules: Vec<RuleReport>,
    /// Errors outside of rules: the file itself, macros.
    pub errors: Vec<LoadError>,
    /// What its author may not expect, outside of rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl PolicyReport {
    /// Sums up what became of the parts.
    pub(crate) fn settle(&mut self) {
        let failed = self
            .rules
            .iter()
            .filter(|rule| rule.status == Status::Error)
            .count();
        self.status = if failed == 0 && self.errors.is_empty() {
            Status::Loaded
        } else if failed == self.rules.len() {
            Status::Error
        } else {
            Status::PartiallyLoaded
        };
    }
}

/// What became of one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RuleReport {
    /// Its id.
    pub id: String,
    /// Its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Its expression.
    pub expression: String,
    /// What became of it.
    pub status: Status,
    /// Why it was refused or left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LoadError>,
    /// What works differently from what its author may expect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Policies that changed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modified_by: Vec<String>,
}

/// Why something was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LoadError {
    /// The rule or macro it is about, if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Where in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Position>,
    /// Where in the expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<Position>,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(position) = self.file {
            write!(f, "{position}: ")?;
        }
        if !self.id.is_empty() {
            write!(f, "{}: ", self.id)?;
        }
        f.write_str(&self.message)?;
        if let Some(position) = self.expression {
            write!(f, " (at {position} in the expression)")?;
        }
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean {suggestion}?"),
            None => Ok(()),
        }
    }
}
