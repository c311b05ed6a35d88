//! `picket rules list`, `explain`, `fields`.

use serde::Serialize;

use crate::catalogue::{Catalogue, Matching};
use crate::rule::Rule;
use crate::ruleset::RuleSet;
use crate::syntax::nearest;

/// A rule in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its event type.
    pub event: String,
    /// Severity of its findings; empty for a rule that does not report.
    pub severity: String,
    /// Type of its findings.
    pub finding: String,
    /// The policy it comes from.
    pub policy: String,
}

/// All rules, in the order of evaluation.
pub fn list(rules: &RuleSet) -> Vec<Listed> {
    let listed = |rule: &Rule| {
        let meaning = rule.meaning();
        Listed {
            id: rule.id.clone(),
            event: rules.catalogue().event_name(rule.event).to_owned(),
            severity: match rule.silent {
                true => String::new(),
                false => meaning.severity.name().to_owned(),
            },
            finding: if rule.silent {
                String::new()
            } else {
                meaning.finding_type
            },
            policy: rule.policy.clone(),
        }
    };
    rules.rules().iter().map(listed).collect()
}

/// Everything about one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The rule.
    #[serde(flatten)]
    pub rule: Listed,
    /// One line.
    pub title: String,
    /// What it is about.
    pub description: String,
    /// What to do about a finding.
    pub remediation: String,
    /// MITRE ATT&CK technique.
    pub technique: String,
    /// The expression that is evaluated.
    pub expression: String,
    /// Fields it reads.
    pub fields: Vec<String>,
    /// What it does beside reporting.
    pub actions: Vec<String>,
    /// How often it reports at most.
    pub limit: String,
}

/// Explains the rules with this id: one, or one for each event type of a pseudo-field.
pub fn explain(rules: &RuleSet, id: &str) -> Vec<Explained> {
    let all = list(rules);
    let with_id = rules
        .rules()
        .iter()
        .zip(all)
        .filter(|(rule, _)| rule.id == id);
    with_id
        .map(|(rule, listed)| explain_one(rules.catalogue(), rule, listed))
        .collect()
}

/// The id nearest to one that no rule has, if one is near.
pub fn nearest_rule(rules: &RuleSet, id: &str) -> Option<String> {
    nearest(id, rules.rules().iter().map(|rule| rule.id.as_str()))
}

fn explain_one(catalogue: &Catalogue, rule: &Rule, listed: Listed) -> Explained {
    let meaning = rule.meaning();
    let limit = match rule.every {
        Some(every) => format!("one in {every:?}"),
        None => "10 a second, 40 at once".to_owned(),
    };
    let tokens: Vec<&str> = rule
        .limiter_fields
        .iter()
        .map(|field| catalogue.info(*field).name.as_str())
        .collect();
    let limit = match tokens.is_empty() {
        true => limit,
        false => format!("{limit} for each {}", tokens.join(", ")),
    };
    Explained {
        rule: listed,
        title: meaning.title,
        description: rule.description.clone(),
        remediation: meaning.remediation,
        technique: meaning.technique,
        expression: rule.compiled_expression().to_owned(),
        fields: rule
            .fields
            .iter()
            .map(|field| catalogue.info(*field).name.clone())
            .collect(),
        actions: rule
            .actions
            .iter()
            .map(|action| action.kind().to_owned())
            .collect(),
        limit,
    }
}

/// A field in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedField {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub value_type: &'static str,
    /// How texts are compared: `pattern`, `path`, `nocase`.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<&'static str>,
    /// The list of records it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterator: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Why it always has its zero value, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero: Option<String>,
}

/// An event type in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedEvent {
    /// Its name.
    pub name: String,
    /// What it means.
    pub about: String,
    /// Why it never happens here, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never: Option<String>,
}

/// All event types.
pub fn events(catalogue: &Catalogue) -> Vec<ListedEvent> {
    catalogue
        .events()
        .map(|(_, info)| listed_event(info))
        .collect()
}

fn listed_event(info: &crate::catalogue::EventInfo) -> ListedEvent {
    ListedEvent {
        name: info.name.clone(),
        about: info.about.clone(),
        never: info.never.clone(),
    }
}

/// The fields of an event type, or with `None` those that every event has. No event type
/// of that name gives `None`.
pub fn fields(catalogue: &Catalogue, event: Option<&str>) -> Option<Vec<ListedField>> {
    let event = match event {
        Some(name) => Some(catalogue.event(name)?),
        None => None,
    };
    let own = catalogue.fields().filter(|(_, info)| info.event == event);
    Some(own.map(|(_, info)| listed_field(catalogue, info)).collect())
}

/// Every field there is, whatever event has it.
pub fn all_fields(catalogue: &Catalogue) -> Vec<ListedField> {
    let fields = catalogue.fields();
    fields
        .map(|(_, info)| listed_field(catalogue, info))
        .collect()
}

/// Everything about one field, legacy names included; `None` when there is none.
pub fn field(catalogue: &Catalogue, name: &str) -> Option<(ListedField, Option<ListedEvent>)> {
    let info = catalogue.info(catalogue.field(name)?);
    let event = info.event.map(|event| catalogue.event_info(event));
    Some((listed_field(catalogue, info), event.map(listed_event)))
}

fn listed_field(catalogue: &Catalogue, info: &crate::catalogue::FieldInfo) -> ListedField {
    let is_text = info.value_type.element() == crate::ValueType::String;
    ListedField {
        name: info.name.clone(),
        value_type: info.value_type.name(),
        matching: is_text.then_some(match info.matching {
            Matching::Pattern => "pattern",
            Matching::Path => "path",
            Matching::NoCase => "nocase",
        }),
        iterator: info
            .iterator
            .map(|id| catalogue.iterator_info(id).name.clone()),
        about: info.about.to_string(),
        zero: info.zero.as_deref().map(str::to_owned),
    }
}

/// The event type or field nearest to a name that is neither, if one is near.
pub fn nearest_name(catalogue: &Catalogue, name: &str) -> Option<String> {
    let events = catalogue.events().map(|(_, info)| info.name.as_str());
    let fields = catalogue.fields().map(|(_, info)| info.name.as_str());
    nearest(name, events.chain(fields))
}

/// Names that begin with a prefix, for completion: up to the next dot.
pub fn complete(catalogue: &Catalogue, prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = catalogue
        .fields()
        .filter(|(_, info)| info.name.starts_with(prefix))
        .map(|(_, info)| {
            let rest = &info.name[prefix.len()..];
            let end = rest.find('.').map_or(rest.len(), |dot| dot + 1);
            format!("{prefix}{}", &rest[..end])
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
