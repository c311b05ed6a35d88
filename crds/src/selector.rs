//! Label selectors.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type inside a function"
)]

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Chooses objects by their labels. All parts must hold; an empty selector chooses everything.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub match_expressions: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)").message("operators In and NotIn need at least one entry in `values`"),
    validation = Rule::new("!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || self.values.size() == 0").message("operators Exists and DoesNotExist take no `values`")
)]
pub struct Requirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the label is compared with `values`: In, NotIn, Exists or DoesNotExist.
    pub operator: Operator,
    /// Values to compare with. In and NotIn need at least one; Exists and DoesNotExist take
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum Operator {
    /// The label is there and has one of the values.
    In,
    /// The label is missing or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
}

impl LabelSelector {
    /// True when the labels fulfil every part; `label` looks a key up.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| label(key) == Some(value.as_str()))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.matches(label(&requirement.key)))
    }
}

impl Requirement {
    /// True when a label of this value (`None`: missing) fulfils it.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|value| self.values.iter().any(|listed| listed == value));
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(operator: Operator, values: &[&str]) -> LabelSelector {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        LabelSelector {
            match_expressions: vec![Requirement {
                key: "tier".into(),
                operator,
                values,
            }],
            ..LabelSelector::default()
        }
    }

    fn matches(selector: &LabelSelector, labels: &[(&str, &'static str)]) -> bool {
        selector.matches(|key| {
            labels
                .iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| *value)
        })
    }

    #[test]
    fn operators_by_table() {
        use Operator::*;
        let web: &[(&str, &str)] = &[("tier", "web")];
        let empty: &[(&str, &str)] = &[("tier", "")];
        let none: &[(&str, &str)] = &[("app", "web")];
        type Row = (
            Operator,
            &'static [&'static str],
            &'static [(&'static str, &'static str)],
            bool,
        );
        let table: &[Row] = &[
            (In, &["db", "web"], web, true),
            (In, &["db"], web, false),
            (In, &["web"], none, false),
            (In, &[""], empty, true),
            (NotIn, &["db"], web, true),
            (NotIn, &["web"], web, false),
            (NotIn, &["web"], none, true),
            (Exists, &[], web, true),
            (Exists, &[], empty, true),
            (Exists, &[], none, false),
            (DoesNotExist, &[], web, false),
            (DoesNotExist, &[], none, true),
        ];
        for (operator, values, labels, expected) in table {
            assert_eq!(
                matches(&requirement(*operator, values), labels),
                *expected,
                "{operator:?} {values:?} on {labels:?}"
            );
        }
    }

    #[test]
    fn every_part_must_hold() {
        let mut selector = requirement(Operator::Exists, &[]);
        selector.match_labels.insert("app".into(), "shop".into());
        assert!(matches(&selector, &[("app", "shop"), ("tier", "web")]));
        assert!(!matches(&selector, &[("app", "shop")]));
        assert!(!matches(&selector, &[("app", "blog"), ("tier", "web")]));
    }

    #[test]
    fn an_empty_selector_chooses_everything() {
        assert!(matches(&LabelSelector::default(), &[]));
    }
}
