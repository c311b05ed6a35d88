//! What a manifest itself says about its namespaces.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::{ManifestError, documents};
use crate::namespace::Namespace;

/// Namespaces, LimitRanges and ResourceQuotas of a manifest, by namespace.
#[derive(Debug, Clone, Default)]
pub struct Facts(BTreeMap<String, Namespace>);

impl Facts {
    /// Reads them from every document, lists included.
    ///
    /// # Errors
    /// [`ManifestError`] when a document is no YAML.
    pub fn of(text: &str) -> Result<Self, ManifestError> {
        let mut facts = Self(BTreeMap::new());
        for (_, object) in documents::read_all(text)? {
            facts.take(&object);
        }
        Ok(facts)
    }

    /// What is known about a namespace; only its name, if the manifest says nothing.
    pub fn about(&self, name: &str) -> Cow<'_, Namespace> {
        match self.0.get(name) {
            Some(known) => Cow::Borrowed(known),
            None => Cow::Owned(Namespace::named(name)),
        }
    }

    fn take(&mut self, object: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if text(&object["kind"]).ends_with("List") {
            for item in object["items"].as_array().into_iter().flatten() {
                self.take(item);
            }
            return;
        }
        if object["apiVersion"] != "v1" {
            return;
        }
        let metadata = &object["metadata"];
        let name = match object["kind"].as_str() {
            Some("Namespace") => text(&metadata["name"]),
            Some("LimitRange" | "ResourceQuota") => text(&metadata["namespace"]),
            _ => return,
        };
        let known = self
            .0
            .entry(name.clone())
            .or_insert_with(|| Namespace::named(&name));
        match object["kind"].as_str() {
            Some("LimitRange") => known.limit_ranges.push(object.clone()),
            Some("ResourceQuota") => known.quotas.push(object.clone()),
            _ => {
                let labels = metadata["labels"].as_object().into_iter().flatten();
                known
                    .labels
                    .extend(labels.map(|(key, value)| (key.clone(), text(value))));
            }
        }
    }
}
