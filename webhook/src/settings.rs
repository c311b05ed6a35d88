//! What the installation decides.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use picket_crds::LabelSelector;
use serde::{Deserialize, Serialize};

use crate::glob;
use crate::namespace::Namespace;

/// What the installation decides, the same for every pod of a namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// False stops every injection at once.
    pub enabled: bool,
    /// Image with `/picket-tracer` and `/picket-agent`, by digest in production.
    pub sidecar_image: String,
    /// Names of pull secrets for it, appended to the pod's own.
    pub image_pull_secrets: Vec<String>,
    /// Version of what is injected; running pods of another one are stale.
    pub revision: String,
    /// Text form (`picket_events::Interest`) of the interest of the built-in rules, and of every
    /// rule set that is not known.
    pub interest: String,
    /// The same of each rule set that is known, by its name.
    pub rule_set_interests: BTreeMap<String, String>,
    /// Whether pods can be put into quarantine: their filters then stop for everything that
    /// reaches out, large datagrams included.
    pub quarantine: bool,
    /// Where agents report; they keep to themselves without.
    pub relay: Option<RelayAccess>,
    /// Whether the cluster runs native sidecars (Kubernetes 1.29 and later).
    pub native_sidecars: bool,
    /// Public keys by which agents know who opened a session: Ed25519 in base64, the present one
    /// first. Without one, sessions are not traced.
    pub session_keys: Vec<String>,
    /// Picket's own namespace, which is never injected.
    pub own_namespace: String,
    /// Other images for some namespaces; the first that names a namespace counts there.
    pub canaries: Vec<Canary>,
    /// Whether the label `picket.dev/break-glass` counts. Only where something else decides who
    /// may set it: otherwise it would make `optOut: Forbidden` worthless.
    pub break_glass: bool,
}

/// A sidecar image that some namespaces get before all others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Canary {
    /// Version of what is injected there.
    pub revision: String,
    /// Image with `/picket-tracer` and `/picket-agent`.
    pub image: String,
    /// Names of namespaces, with `*` and `?`.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Labels of namespaces; nothing selects none.
    #[serde(default)]
    pub namespace_selector: Option<LabelSelector>,
}

impl Canary {
    /// The one that counts in a namespace: the first that is for it.
    pub fn of<'a>(canaries: &'a [Self], name: &str, namespace: &Namespace) -> Option<&'a Self> {
        canaries
            .iter()
            .find(|canary| canary.is_for(name, namespace))
    }

    /// Whether a namespace gets this image.
    pub fn is_for(&self, name: &str, namespace: &Namespace) -> bool {
        let named = self
            .namespaces
            .iter()
            .any(|pattern| glob::matches(pattern, name));
        let selector = self.namespace_selector.as_ref();
        named || selector.is_some_and(|selector| selector.matches(|key| namespace.label(key)))
    }
}

/// How an agent reaches the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayAccess {
    /// `host:port`.
    pub address: String,
    /// Certificates (PEM) of the authorities that sign for it.
    pub trust: String,
}

/// Settings that may change while requests are answered. Clones share them; reading takes one
/// short lock and copies a pointer.
#[derive(Debug, Clone)]
pub struct SharedSettings(Arc<RwLock<Arc<Settings>>>);

impl SharedSettings {
    /// As they are now.
    pub fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes them for every answer that begins from now on.
    pub fn update(&self, change: impl FnOnce(&mut Settings)) {
        let mut shared = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut shared));
    }
}

impl From<Arc<Settings>> for SharedSettings {
    fn from(settings: Arc<Settings>) -> Self {
        Self(Arc::new(RwLock::new(settings)))
    }
}

impl From<Settings> for SharedSettings {
    fn from(settings: Settings) -> Self {
        Arc::new(settings).into()
    }
}

impl Settings {
    /// The name of the namespace that holds the cluster's own parts; never injected.
    pub const SYSTEM_NAMESPACE: &str = "kube-system";

    /// Settings with this image, an interest in everything and native sidecars.
    pub fn new(sidecar_image: impl Into<String>, revision: impl Into<String>) -> Self {
        Self {
            enabled: true,
            sidecar_image: sidecar_image.into(),
            image_pull_secrets: Vec::new(),
            revision: revision.into(),
            interest: "all".to_owned(),
            quarantine: false,
            rule_set_interests: BTreeMap::new(),
            relay: None,
            native_sidecars: true,
            session_keys: Vec::new(),
            own_namespace: "picket-system".to_owned(),
            canaries: Vec::new(),
            break_glass: false,
        }
    }

    /// The settings as they are for pods of a namespace.
    pub fn for_namespace(&self, name: &str, namespace: &Namespace) -> Cow<'_, Self> {
        match Canary::of(&self.canaries, name, namespace) {
            None => Cow::Borrowed(self),
            Some(canary) => Cow::Owned(Self {
                sidecar_image: canary.image.clone(),
                revision: canary.revision.clone(),
                ..self.clone()
            }),
        }
    }

    /// What the tracers of a pod with these rule sets have to see, in text form.
    pub fn interest_of(&self, rule_sets: &[String]) -> String {
        let mut words: Vec<&str> = Vec::new();
        for name in rule_sets {
            let interest = self.rule_set_interests.get(name).unwrap_or(&self.interest);
            for word in interest.split(',') {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
        }
        if words.is_empty() {
            words.extend(self.interest.split(','));
        }
        if self.quarantine && !words.contains(&"quarantine") {
            words.push("quarantine");
        }
        words.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interests_of_rule_sets_add_up() {
        let mut settings = Settings::new("picket:1", "1");
        settings.interest = "exec,open:plain".to_owned();
        settings
            .rule_set_interests
            .insert("own".to_owned(), "exec,connect,open:write".to_owned());
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            settings.interest_of(&names)
        };
        assert_eq!(of(&[]), "exec,open:plain");
        assert_eq!(of(&["default"]), "exec,open:plain");
        assert_eq!(of(&["own"]), "exec,connect,open:write");
        assert_eq!(
            of(&["default", "own"]),
            "exec,open:plain,connect,open:write"
        );
        // What is not known yet needs no less than the built-in rules.
        assert_eq!(of(&["unknown"]), "exec,open:plain");
    }

    #[test]
    fn where_pods_can_be_cut_off_filters_stop_for_all_that_reaches_out() {
        let mut settings = Settings::new("picket:1", "1");
        settings.interest = "exec,connect".to_owned();
        settings.quarantine = true;
        assert_eq!(settings.interest_of(&[]), "exec,connect,quarantine");
        settings.interest = "exec,quarantine".to_owned();
        assert_eq!(settings.interest_of(&[]), "exec,quarantine");
    }
}
