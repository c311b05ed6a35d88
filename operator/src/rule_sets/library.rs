//! The rule sets there are, kept up to date.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::{DeserializeGuard, error_boundary::InvalidObject};
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use picket_crds::{DEFAULT_RULE_SET, RuleSet};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::compile::{Compiled, Content};

/// Time in which changes are gathered before they are compiled.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// A RuleSet of the API, loaded.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The object.
    pub object: Arc<RuleSet>,
    /// What came of it.
    pub compiled: Arc<Compiled>,
}

/// All rule sets at one time.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// Those of the API, by name.
    pub sets: BTreeMap<String, Entry>,
    /// Those that cannot be understood, and why.
    pub invalid: Vec<InvalidObject>,
    /// What is built into agents.
    pub built_in: Arc<Compiled>,
}

impl Library {
    /// What the rules of each rule set have to see, in text form; not of the built-in ones.
    #[must_use]
    pub fn interests(&self) -> BTreeMap<String, String> {
        let sets = self.sets.iter();
        sets.filter(|(name, _)| *name != DEFAULT_RULE_SET)
            .map(|(name, entry)| (name.clone(), entry.compiled.interest.clone()))
            .collect()
    }
}

/// Follows RuleSets, and the ConfigMaps of the operator's namespace, for ever. Nothing is told
/// before both are known.
pub async fn follow_rule_sets(
    client: Client,
    namespace: String,
    view: watch::Sender<Option<Arc<Library>>>,
) {
    type Guarded = DeserializeGuard<RuleSet>;
    let (sets, writer) = reflector::store::<Guarded>();
    let all = Api::<Guarded>::all(client.clone());
    let set_changes = watcher::watcher(all, watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .filter_map(|event| std::future::ready(complete("rule sets", &event).then_some(0)));
    let (maps, writer) = reflector::store::<ConfigMap>();
    let own = Api::<ConfigMap>::namespaced(client, &namespace);
    let map_changes = watcher::watcher(own, watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .filter_map(|event| std::future::ready(complete("config maps", &event).then_some(1)));
    let mut changes = pin!(stream::select(set_changes, map_changes));
    let built_in = Arc::new(Compiled::built_in());
    let mut before = Library::default();
    let mut known = [false, false];
    while let Some(kind) = changes.next().await {
        known[kind] = true;
        // Whatever else comes at once is taken in together.
        let mut pause = pin!(sleep(DEBOUNCE));
        loop {
            tokio::select! {
                more = changes.next() => match more {
                    Some(kind) => known[kind] = true,
                    None => return,
                },
                () = &mut pause => break,
            }
        }
        if known != [true, true] {
            continue;
        }
        let (sets, maps, last) = (sets.clone(), maps.clone(), before.clone());
        let built_in = Arc::clone(&built_in);
        // Thousands of rules take a while, and others wait for this thread.
        let compiling = tokio::task::spawn_blocking(move || take(&sets, &maps, &last, built_in));
        let Ok(library) = compiling.await else {
            warn!("rule sets could not be compiled; those of before stay in use");
            continue;
        };
        info!(
            rule_sets = library.sets.len(),
            invalid = library.invalid.len(),
            "rule sets changed"
        );
        before = library.clone();
        view.send_replace(Some(Arc::new(library)));
    }
}

/// Whether the store is complete.
fn complete<K>(what: &str, event: &watcher::Result<watcher::Event<K>>) -> bool {
    use watcher::{Error, Event};
    match event {
        Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone) => true,
        Ok(Event::Init | Event::InitApply(_)) => false,
        // A definition that an upgrade has not brought yet must not stop everything else.
        Err(Error::InitialListFailed(kube::Error::Api(status))) if status.code == 404 => true,
        Err(error) => {
            warn!(what, %error, "watch failed, trying again");
            false
        }
    }
}

/// What there is now; what has not changed since `before` is not loaded again.
fn take(
    sets: &Store<DeserializeGuard<RuleSet>>,
    maps: &Store<ConfigMap>,
    before: &Library,
    built_in: Arc<Compiled>,
) -> Library {
    let maps: BTreeMap<String, Arc<ConfigMap>> = maps
        .state()
        .into_iter()
        .map(|map| (map.name_any(), map))
        .collect();
    let mut library = Library {
        built_in,
        ..Library::default()
    };
    for set in sets.state() {
        let object = match &set.0 {
            Ok(object) => Arc::new(object.clone()),
            Err(invalid) => {
                library.invalid.push(invalid.clone());
                continue;
            }
        };
        let name = object.name_any();
        let compiled = if name == DEFAULT_RULE_SET {
            Arc::clone(&library.built_in)
        } else {
            let content = Content::of(&name, &object.spec, &maps);
            match before.sets.get(&name) {
                Some(entry) if entry.compiled.content == content => Arc::clone(&entry.compiled),
                _ => Arc::new(Compiled::of(content)),
            }
        };
        library.sets.insert(name, Entry { object, compiled });
    }
    library
        .invalid
        .sort_by_cached_key(|invalid| invalid.metadata.name.clone());
    library
}
