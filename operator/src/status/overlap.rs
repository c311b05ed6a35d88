//! Whether two label selectors can select the same pod.

use std::collections::{BTreeMap, BTreeSet};

use picket_crds::{LabelSelector, Operator};

/// What is demanded of one label by several requirements together.
#[derive(Default)]
struct Demand<'a> {
    one_of: Option<BTreeSet<&'a str>>,
    none_of: BTreeSet<&'a str>,
    present: bool,
    absent: bool,
}

impl<'a> Demand<'a> {
    fn one_of(&mut self, values: impl Iterator<Item = &'a str>) {
        let values: BTreeSet<&str> = values.collect();
        self.one_of = Some(match self.one_of.take() {
            Some(before) => before.intersection(&values).copied().collect(),
            None => values,
        });
    }

    fn can_be_met(&self) -> bool {
        let value_left = self
            .one_of
            .as_ref()
            .is_none_or(|values| values.difference(&self.none_of).next().is_some());
        let present = self.present || self.one_of.is_some();
        value_left && !(present && self.absent)
    }
}

/// Whether a pod can have labels that both selectors match.
#[must_use]
pub fn may_overlap(left: &LabelSelector, right: &LabelSelector) -> bool {
    let mut demands: BTreeMap<&str, Demand<'_>> = BTreeMap::new();
    for selector in [left, right] {
        for (key, value) in &selector.match_labels {
            let demand = demands.entry(key).or_default();
            demand.one_of(std::iter::once(value.as_str()));
        }
        for requirement in &selector.match_expressions {
            let demand = demands.entry(&requirement.key).or_default();
            let values = requirement.values.iter().map(String::as_str);
            match requirement.operator {
                Operator::In => demand.one_of(values),
                Operator::NotIn => demand.none_of.extend(values),
                Operator::Exists => demand.present = true,
                Operator::DoesNotExist => demand.absent = true,
            }
        }
    }
    demands.values().all(Demand::can_be_met)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn selector(value: &Value) -> LabelSelector {
        serde_json::from_value(value.clone()).expect("selector")
    }

    #[test]
    fn overlaps() {
        let everything = json!({});
        let web = json!({"matchLabels": {"app": "web"}});
        let shop_web = json!({"matchLabels": {"app": "web", "team": "shop"}});
        let job = json!({"matchLabels": {"app": "job"}});
        let expression = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
        let cases = [
            (&everything, &everything, true),
            (&everything, &web, true),
            (&web, &shop_web, true),
            (&web, &job, false),
            (&web, &expression("In", &["web", "job"]), true),
            (&web, &expression("In", &["job"]), false),
            (&web, &expression("NotIn", &["web"]), false),
            (&web, &expression("NotIn", &["job"]), true),
            (&web, &expression("Exists", &[]), true),
            (&web, &expression("DoesNotExist", &[]), false),
            (
                &expression("Exists", &[]),
                &expression("DoesNotExist", &[]),
                false,
            ),
            (
                &expression("NotIn", &["web"]),
                &expression("DoesNotExist", &[]),
                true,
            ),
            (
                &expression("In", &["a", "b"]),
                &expression("In", &["b", "c"]),
                true,
            ),
        ];
        for (left, right, expected) in cases {
            let (left_selector, right_selector) = (selector(left), selector(right));
            assert_eq!(
                may_overlap(&left_selector, &right_selector),
                expected,
                "{left} {right}"
            );
            assert_eq!(
                may_overlap(&right_selector, &left_selector),
                expected,
                "{right} {left}"
            );
        }
    }
}
