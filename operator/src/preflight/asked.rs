//! Whether API servers ask the webhook about pods of a namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

/// A label that every namespace has: an entry that wants it not to be there asks about none.
const ALWAYS_THERE: &str = "kubernetes.io/metadata.name";

/// Whether the webhook is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is.
    Yes,
    /// Not about this namespace.
    No,
    /// About none: injection is switched off.
    SwitchedOff,
}

impl Asked {
    /// What the configuration says of pods that are created in a namespace with these labels.
    pub(super) fn about(
        labels: &BTreeMap<String, String>,
        configuration: &MutatingWebhookConfiguration,
    ) -> Self {
        let entries = configuration.webhooks.as_deref().unwrap_or_default();
        let mut of_pods = entries.iter().filter(|entry| is_of_pods(entry)).peekable();
        if of_pods.peek().is_none() {
            return Self::No;
        }
        let mut off = true;
        for entry in of_pods {
            if selects(entry, labels) {
                return Self::Yes;
            }
            off &= requirements(entry).iter().any(|requirement| {
                requirement.key == ALWAYS_THERE && requirement.operator == "DoesNotExist"
            });
        }
        match off {
            true => Self::SwitchedOff,
            false => Self::No,
        }
    }
}

fn is_of_pods(entry: &MutatingWebhook) -> bool {
    let has = |list: &Option<Vec<String>>, word: &str| {
        let mut words = list.iter().flatten();
        words.any(|found| found == word || found == "*")
    };
    let mut rules = entry.rules.iter().flatten();
    rules.any(|rule| has(&rule.operations, "CREATE") && has(&rule.resources, "pods"))
}

fn requirements(entry: &MutatingWebhook) -> &[LabelSelectorRequirement] {
    let selector = entry.namespace_selector.as_ref();
    let expressions = selector.and_then(|selector| selector.match_expressions.as_deref());
    expressions.unwrap_or_default()
}

fn selects(entry: &MutatingWebhook, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = &entry.namespace_selector else {
        return true;
    };
    let mut exact = selector.match_labels.iter().flatten();
    exact.all(|(key, value)| labels.get(key) == Some(value))
        && requirements(entry).iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let listed = || {
                let mut values = requirement.values.iter().flatten();
                value.is_some_and(|value| values.any(|listed| listed == value))
            };
            match requirement.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                // The API server knows no other.
                _ => false,
            }
        })
}
