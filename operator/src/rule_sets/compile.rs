//! A rule set as agents will load it, and what is wrong in it. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use picket_crds::{RuleError, RuleSetSpec};
use picket_events::relay::{NamedText, RuleBundle, VERSION};
use picket_rules::lists::ListKind;
use picket_rules::{LoadError, LoadReport, Status, bundle, defaults};

/// Endings of policies in a ConfigMap.
const POLICIES: [&str; 3] = [".policy", ".yaml", ".yml"];
/// Most errors that a status lists.
const LISTED: usize = 50;
/// Longest message of a status, in characters.
const LONGEST: usize = 500;

/// What a rule set holds, wherever that comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Policies, each with the rule set's name before its own.
    pub policies: Vec<NamedText>,
    /// Lists.
    pub lists: Vec<NamedText>,
    /// The ConfigMap that it names and that is not there.
    pub missing: Option<String>,
}

impl Content {
    /// The content of the rule set `name`.
    #[must_use]
    pub fn of(
        name: &str,
        spec: &RuleSetSpec,
        config_maps: &BTreeMap<String, Arc<ConfigMap>>,
    ) -> Self {
        let mut content = Self::default();
        let policy = |key: &str, text: &str| NamedText {
            name: format!("{name}/{key}"),
            text: text.to_owned(),
        };
        let list = |key: &str, text: &str| NamedText {
            name: key.to_owned(),
            text: text.to_owned(),
        };
        for own in &spec.policies {
            content.policies.push(policy(&own.name, &own.text));
        }
        for own in &spec.lists {
            content.lists.push(list(&own.name, &own.text));
        }
        let Some(from) = &spec.config_map else {
            return content;
        };
        let Some(config_map) = config_maps.get(from) else {
            content.missing = Some(from.clone());
            return content;
        };
        for (key, text) in config_map.data.iter().flatten() {
            if ListKind::of(key).is_some() {
                content.lists.push(list(key, text));
            } else if POLICIES.iter().any(|ending| key.ends_with(ending)) {
                content.policies.push(policy(key, text));
            }
        }
        content
    }

    /// What is built into agents.
    #[must_use]
    pub fn built_in() -> Self {
        let own = |(name, text): &(&str, &str)| NamedText {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        };
        Self {
            policies: defaults::policies().iter().map(own).collect(),
            lists: defaults::list_files().iter().map(own).collect(),
            missing: None,
        }
    }
}

/// A rule set that was loaded, by itself, as agents load it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    /// What it holds.
    pub content: Content,
    /// What its rules have to see, in text form.
    pub interest: String,
    /// Hash of the rules.
    pub hash: String,
    /// Rules in use.
    pub rules: usize,
    /// What was left out.
    pub refused: usize,
    /// The first errors.
    pub errors: Vec<RuleError>,
}

impl Compiled {
    /// Loads a rule set of the user's. Takes some milliseconds for some hundred rules.
    #[must_use]
    pub fn of(content: Content) -> Self {
        let bundle = RuleBundle {
            version: VERSION,
            defaults: false,
            policies: content.policies.clone(),
            lists: content.lists.clone(),
        };
        Self::from(content, &bundle, |origin| origin == bundle::ORIGIN)
    }

    /// Loads what is built into agents.
    #[must_use]
    pub fn built_in() -> Self {
        let bundle = RuleBundle {
            version: VERSION,
            defaults: true,
            ..RuleBundle::default()
        };
        Self::from(Content::built_in(), &bundle, |_| true)
    }

    fn from(content: Content, bundle: &RuleBundle, own: impl Fn(&str) -> bool) -> Self {
        let (rules, mut report) = bundle::load(bundle);
        report.policies.retain(|policy| own(&policy.origin));
        report.lists.retain(|list| own(&list.origin));
        let loaded = report
            .policies
            .iter()
            .flat_map(|policy| &policy.rules)
            .filter(|rule| rule.status == Status::Loaded)
            .count();
        Self {
            content,
            interest: rules.interest().to_string(),
            hash: rules.hash().to_owned(),
            rules: loaded,
            refused: report.errors().count(),
            errors: errors(&report),
        }
    }
}

fn errors(report: &LoadReport) -> Vec<RuleError> {
    report
        .errors()
        .take(LISTED)
        .map(|(source, error)| rule_error(source, error))
        .collect()
}

fn rule_error(source: &str, error: &LoadError) -> RuleError {
    let place = error.file.map(|position| {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        (number(position.line), number(position.column))
    });
    let mut message = error.message.trim().to_owned();
    if let Some(position) = error.expression {
        message.push_str(&format!(" (at {position} in the expression)"));
    }
    if let Some(suggestion) = &error.suggestion {
        message.push_str(&format!("; did you mean {suggestion}?"));
    }
    RuleError {
        source: source.to_owned(),
        rule: error.id.clone(),
        line: place.map(|(line, _)| line),
        column: place.map(|(_, column)| column),
        message: message.chars().take(LONGEST).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> RuleSetSpec {
        serde_json::from_value(serde_json::json!({
            "policies": [{"name": "main.policy", "text": text}],
        }))
        .expect("spec")
    }

    #[test]
    fn a_wrong_rule_is_named_and_the_others_are_in_use() {
        let text = "rules:\n- id: good\n  expression: exec.file.name == \"nc\"\n\
                    - id: bad\n  expression: exec.file.nmae == \"nc\"\n";
        let content = Content::of("own", &spec(text), &BTreeMap::new());
        let compiled = Compiled::of(content);
        assert_eq!((compiled.rules, compiled.refused), (1, 1));
        let error = &compiled.errors[0];
        assert_eq!(error.source, "own/main.policy");
        assert_eq!((error.rule.as_str(), error.line), ("bad", Some(5)));
        assert!(error.message.contains("exec.file.nmae"), "{error:?}");
    }

    #[test]
    fn a_config_map_adds_policies_and_lists_by_their_endings() {
        let mut spec = spec("rules: []\n");
        spec.config_map = Some("own".to_owned());
        let missing = Content::of("own", &spec, &BTreeMap::new());
        assert_eq!(missing.missing.as_deref(), Some("own"));
        let config_map = ConfigMap {
            data: Some(
                [
                    ("a.policy", "rules: []"),
                    ("b.ips", "192.0.2.1"),
                    ("README", "x"),
                ]
                .map(|(key, text)| (key.to_owned(), text.to_owned()))
                .into(),
            ),
            ..ConfigMap::default()
        };
        let there = BTreeMap::from([("own".to_owned(), Arc::new(config_map))]);
        let content = Content::of("own", &spec, &there);
        let names = |texts: &[NamedText]| -> Vec<String> {
            texts.iter().map(|text| text.name.clone()).collect()
        };
        assert_eq!(
            names(&content.policies),
            ["own/main.policy", "own/a.policy"]
        );
        assert_eq!(names(&content.lists), ["b.ips"]);
        assert_eq!(content.missing, None);
    }

    #[test]
    fn what_is_built_in_is_without_fault() {
        let built_in = Compiled::built_in();
        assert_eq!((built_in.refused, &built_in.errors), (0, &Vec::new()));
        assert!(built_in.rules > 20);
    }
}
