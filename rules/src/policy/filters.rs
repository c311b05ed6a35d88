//! Which definitions count here: agent versions and filters over facts.

use semver::{BuildMetadata, Comparator, Op, Prerelease, Version};

use super::document::Conditions;
use crate::catalogue::Catalogue;
use crate::compile::{Environment, MacroTable, Work, Zeros, compile};
use crate::eval::Frame;
use crate::ruleset::LoadOptions;
use crate::store::Variables;
use crate::syntax::parse_expression;
use crate::value::{Context, FieldId, IteratorId, Scope, Value};
use crate::variable::VariableTable;

/// Facts of this machine as fields, so that a filter is an ordinary expression.
pub(super) struct Facts {
    catalogue: Catalogue,
    values: Vec<Fact>,
    version: Version,
}

enum Fact {
    Bool(bool),
    Int(i64),
    Text(String),
    Texts(Vec<String>),
}

/// The facts a filter can ask for, with the types they have.
const FIELDS: &str = r#"{"fields": {
  "os": "string", "os.id": "string", "os.platform_id": "string", "os.version_id": "string",
  "os.is_amazon_linux": "bool", "os.is_cos": "bool", "os.is_debian": "bool",
  "os.is_oracle": "bool", "os.is_rhel": "bool", "os.is_rhel7": "bool", "os.is_rhel8": "bool",
  "os.is_sles": "bool", "os.is_sles12": "bool", "os.is_sles15": "bool",
  "kernel.version.major": "int", "kernel.version.minor": "int", "kernel.version.patch": "int",
  "kernel.version.abi": "int", "kernel.version.flavor": "string",
  "kernel.core.enabled": "bool", "envs": "string[]", "origin": "string", "hostname": "string"
}}"#;

impl Facts {
    pub(super) fn new(options: &LoadOptions) -> Self {
        // The text above is a constant: a test loads it.
        let catalogue = Catalogue::from_json(FIELDS).unwrap_or_default();
        let values = catalogue
            .fields()
            .map(|(_, info)| {
                let text = options.facts.get(&info.name).cloned().unwrap_or_default();
                match info.value_type {
                    crate::ValueType::Bool => Fact::Bool(text == "true"),
                    crate::ValueType::Int => Fact::Int(text.parse().unwrap_or(0)),
                    crate::ValueType::Strings => Fact::Texts(options.envs.clone()),
                    _ => Fact::Text(text),
                }
            })
            .collect();
        let mut version = options.agent_version.clone();
        version.pre = Prerelease::EMPTY;
        version.build = BuildMetadata::EMPTY;
        Self {
            catalogue,
            values,
            version,
        }
    }

    /// `Ok(None)` when the conditions hold, else why they do not. An error is a mistake in
    /// them.
    pub(super) fn refuse(&self, conditions: &Conditions) -> Result<Option<String>, String> {
        if let Some(constraint) = &conditions.agent_version
            && !version_fits(constraint, &self.version)?
        {
            return Ok(Some(format!(
                "agent version {} is not {constraint}",
                self.version
            )));
        }
        if conditions.filters.is_empty() {
            return Ok(None);
        }
        for filter in &conditions.filters {
            if self.holds(filter)? {
                return Ok(None);
            }
        }
        Ok(Some(format!(
            "no filter holds here: {}",
            conditions.filters.join("; ")
        )))
    }

    fn holds(&self, filter: &str) -> Result<bool, String> {
        let (macros, variables) = (MacroTable::new(), VariableTable::default());
        let work = Work::default();
        let environment = Environment {
            catalogue: &self.catalogue,
            macros: &macros,
            variables: &variables,
            rule_tags: None,
            zeros: Zeros::None,
            work: &work,
        };
        let compiled = parse_expression(filter)
            .and_then(|node| compile(environment, &node))
            .map_err(|error| format!("filter {filter:?}: {error}"))?;
        Ok(Frame::new(self, &Variables::default()).run(&compiled.program))
    }
}

impl Context for Facts {
    fn value(&self, field: FieldId) -> Value<'_> {
        match self.values.get(usize::from(field.0)) {
            Some(Fact::Bool(value)) => Value::Bool(*value),
            Some(Fact::Int(value)) => Value::Int(*value),
            Some(Fact::Text(text)) => Value::Str(text),
            Some(Fact::Texts(texts)) => Value::Strs(texts),
            None => Value::Bool(false),
        }
    }

    fn length(&self, _: IteratorId) -> usize {
        0
    }

    fn element(&self, _: FieldId, _: usize) -> Value<'_> {
        Value::Bool(false)
    }

    fn now(&self) -> i64 {
        0
    }

    fn scope_key(&self, _: Scope) -> Option<u64> {
        None
    }
}

/// Holds a version against a constraint such as `>= 7.42, < 7.70 || 8.x`.
fn version_fits(constraint: &str, version: &Version) -> Result<bool, String> {
    let mut fits = false;
    for alternative in constraint.split("||") {
        let mut all = true;
        let terms = terms(alternative);
        if terms.is_empty() {
            return Err(format!("agent_version {constraint:?} cannot be read"));
        }
        for term in terms {
            let holds = term_fits(&term, version)
                .ok_or_else(|| format!("agent_version {constraint:?}: {term:?} cannot be read"))?;
            all &= holds;
        }
        fits |= all;
    }
    Ok(fits)
}

/// `>= 7.42, < 7.70` → `>=7.42`, `<7.70`.
fn terms(alternative: &str) -> Vec<String> {
    let mut terms: Vec<String> = Vec::new();
    for word in alternative
        .split([',', ' '])
        .filter(|word| !word.is_empty())
    {
        match terms.last_mut() {
            Some(last) if last.ends_with(['<', '>', '=', '!', '~', '^']) => last.push_str(word),
            _ => terms.push(word.to_owned()),
        }
    }
    terms
}

fn term_fits(term: &str, version: &Version) -> Option<bool> {
    if let Some(other) = term.strip_prefix("!=") {
        return term_fits(&format!("={other}"), version).map(|same| !same);
    }
    let term = term
        .replace("=>", ">=")
        .replace("=<", "<=")
        .replace("~>", "~");
    let has_operator = term.starts_with(['<', '>', '=', '~', '^']);
    let mut comparator: Comparator = match has_operator {
        true => term.parse().ok()?,
        false if term == "*" || term == "x" => return Some(true),
        false => format!("={term}").parse().ok()?,
    };
    if comparator.op == Op::Exact && comparator.minor.is_none() {
        comparator.op = Op::Wildcard;
    }
    Some(comparator.matches(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_held_against_constraints() {
        let version = Version::new(7, 83, 0);
        let cases = [
            (">= 7.42", true),
            ("< 7.71", false),
            (">= 7.42, < 7.83", false),
            (">=7.42 <8", true),
            ("< 7 || >= 7.80", true),
            ("~7.83", true),
            ("!= 7.83.0", false),
            ("7.x", true),
            ("8", false),
        ];
        for (constraint, expected) in cases {
            assert_eq!(
                version_fits(constraint, &version),
                Ok(expected),
                "{constraint}"
            );
        }
        assert!(version_fits("seven", &version).is_err());
    }

    #[test]
    fn one_filter_that_holds_is_enough() {
        let facts = Facts::new(&LoadOptions::default());
        let refuse = |filters: &[&str]| {
            let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
            facts.refuse(&Conditions {
                agent_version: None,
                filters,
            })
        };
        assert_eq!(refuse(&[r#"os == "linux""#]), Ok(None));
        assert_eq!(
            refuse(&[r#"os == "windows""#, r#"origin == "ebpfless""#]),
            Ok(None)
        );
        assert!(refuse(&[r#"os == "windows""#]).is_ok_and(|reason| reason.is_some()));
        assert!(refuse(&["os == 1"]).is_err());
    }
}
