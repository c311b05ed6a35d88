//! What is known about the namespace of a pod.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

/// The label by which Pod Security admission refuses pods.
const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";
/// The label that the API server puts on every namespace.
const NAME: &str = "kubernetes.io/metadata.name";

/// What is known about the namespace of a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Namespace {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its LimitRanges, as the API has them.
    pub limit_ranges: Vec<Value>,
    /// Its ResourceQuotas, as the API has them.
    pub quotas: Vec<Value>,
    /// Names of Secrets that are known not to be there.
    pub missing_secrets: BTreeSet<String>,
}

impl Namespace {
    /// A namespace of which nothing is known.
    pub const UNKNOWN: &Self = &Self {
        labels: BTreeMap::new(),
        limit_ranges: Vec::new(),
        quotas: Vec::new(),
        missing_secrets: BTreeSet::new(),
    };

    /// A namespace of which the name is known, with the label that the API server gives it.
    pub fn named(name: &str) -> Self {
        Self {
            labels: BTreeMap::from([(NAME.to_owned(), name.to_owned())]),
            ..Self::default()
        }
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// The Pod Security Standard below which pods are refused, as far as labels tell.
    pub fn enforced_standard(&self) -> Option<&str> {
        self.label(POD_SECURITY)
    }
}

/// An answer that may take a moment.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Knows namespaces: a watch in the operator, nothing in the demo.
pub trait Namespaces: Send + Sync + 'static {
    /// What is known about a namespace; one that was made a moment ago is looked up.
    fn get<'a>(&'a self, name: &'a str) -> Answer<'a, Arc<Namespace>>;

    /// Whether a Secret is there; `None` when that cannot be told.
    fn has_secret<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<bool>>;
}

/// Knows the names of namespaces and nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct NamesOnly;

impl Namespaces for NamesOnly {
    fn get<'a>(&'a self, name: &'a str) -> Answer<'a, Arc<Namespace>> {
        Box::pin(std::future::ready(Arc::new(Namespace::named(name))))
    }

    fn has_secret<'a>(&'a self, _: &'a str, _: &'a str) -> Answer<'a, Option<bool>> {
        Box::pin(std::future::ready(None))
    }
}
