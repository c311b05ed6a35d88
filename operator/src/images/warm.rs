//! Looks up the images of workloads before their pods come, and again before the answers grow
//! old, so that admission finds them in the cache.
//!
//! Of each workload only what decides about look-ups is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use picket_webhook::entrypoint::{Images, Keychain, PullScope, Resolver, Wanted};
use picket_webhook::{Context, Namespaces, PolicyStore, SharedSettings, plan};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::policies::{Policies, View};

/// The kinds that make pods over and over. Jobs and ReplicaSets make theirs at once, or come
/// from these.
const KINDS: [(&str, &str, &str, &str); 4] = [
    ("apps", "v1", "Deployment", "/spec/template"),
    ("apps", "v1", "StatefulSet", "/spec/template"),
    ("apps", "v1", "DaemonSet", "/spec/template"),
    ("batch", "v1", "CronJob", "/spec/jobTemplate/spec/template"),
];
/// How often it is looked whether answers grow old.
const ROUND: Duration = Duration::from_secs(60);
/// Answers that end before the next round but one are asked for again.
const MARGIN: Duration = Duration::from_secs(130);
/// Changes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(50);

/// Kind, namespace and name.
type Key = (&'static str, String, String);

/// The templates of pods that are known. Clones share their content.
#[derive(Clone, Default)]
struct Templates {
    by_workload: Arc<Mutex<BTreeMap<Key, Value>>>,
    changed: Arc<Notify>,
}

impl Templates {
    /// `change` says whether there is anything new to look up.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<Key, Value>) -> bool) {
        let mut templates = self
            .by_workload
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if change(&mut templates) {
            self.changed.notify_one();
        }
    }

    fn snapshot(&self) -> Vec<(Key, Value)> {
        let templates = self
            .by_workload
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        templates
            .iter()
            .map(|(key, template)| (key.clone(), template.clone()))
            .collect()
    }
}

/// What decides about look-ups.
pub struct Warmer {
    /// The API server's client.
    pub client: Client,
    /// The policies in use.
    pub policies: PolicyStore,
    /// Says when they change.
    pub policy_changes: View<Policies>,
    /// What is known about namespaces.
    pub namespaces: Arc<dyn Namespaces>,
    /// What the installation decides.
    pub settings: SharedSettings,
    /// Whose cache is kept warm.
    pub resolver: Resolver,
    /// Tells which pull secrets a service account gives to its pods.
    pub keychain: Keychain,
}

impl Warmer {
    /// Runs for ever.
    pub async fn run(mut self) {
        let templates = Templates::default();
        let mut watches = tokio::task::JoinSet::new();
        for (group, version, kind, path) in KINDS {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
            watches.spawn(follow(api, kind, path, templates.clone()));
        }
        loop {
            tokio::select! {
                () = templates.changed.notified() => {}
                // Whoever tells of policies ends with the operator; rounds go on until then.
                Ok(()) = self.policy_changes.changed() => {}
                () = sleep(ROUND) => {}
            }
            sleep(SETTLE).await;
            for (scope, wanted) in self.wanted(templates.snapshot()).await {
                if let Err(failure) = self.resolver.warm(&wanted, &scope, MARGIN).await {
                    debug!(image = wanted.image, namespace = scope.namespace, %failure, "not warmed");
                }
            }
        }
    }

    async fn wanted(&self, templates: Vec<(Key, Value)>) -> BTreeSet<(PullScope, Wanted)> {
        let policies = self.policies.snapshot();
        let mut all = BTreeSet::new();
        for ((_, namespace, _), template) in templates {
            let facts = self.namespaces.get(&namespace).await;
            let context = Context {
                namespace: &namespace,
                facts: &facts,
                policies: &policies,
                settings: &self.settings.get(),
                workload: None,
                // AWS' webhook has not labelled templates; too much known is no harm.
                fargate: Some(true),
                suspension: None,
                images: Images::NONE,
            };
            let wanted = plan(&template, &context).report.wanted;
            if wanted.is_empty() {
                continue;
            }
            let scope = self.scope(&template, &namespace).await;
            all.extend(wanted.into_iter().map(|wanted| (scope.clone(), wanted)));
        }
        all
    }

    /// As the pods will have it: the API server gives those without pull secrets the ones of
    /// their service account.
    async fn scope(&self, template: &Value, namespace: &str) -> PullScope {
        let mut scope = PullScope::of_pod(template, namespace);
        if let (true, Some(cluster)) = (scope.pull_secrets.is_empty(), &self.keychain.cluster)
            && let Ok(names) = cluster
                .service_account(namespace, &scope.service_account)
                .await
        {
            scope.pull_secrets = names;
        }
        scope
    }
}

async fn follow(
    api: Api<DynamicObject>,
    kind: &'static str,
    path: &'static str,
    templates: Templates,
) {
    let mut events =
        pin!(watcher::watcher(api, watcher::Config::default().page_size(100)).default_backoff());
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        let entry = |object: &DynamicObject| {
            let key = (
                kind,
                object.namespace().unwrap_or_default(),
                object.name_any(),
            );
            Some((key, reduced(object.data.pointer(path)?)))
        };
        match event {
            Ok(Event::Init) => listed = BTreeMap::new(),
            Ok(Event::InitApply(object)) => listed.extend(entry(&object)),
            Ok(Event::InitDone) => templates.change(|all| {
                all.retain(|(other, _, _), _| *other != kind);
                all.append(&mut listed);
                true
            }),
            // Most changes are of a workload's status.
            Ok(Event::Apply(object)) => templates.change(|all| {
                entry(&object).is_some_and(|(key, template)| {
                    all.insert(key, template.clone()) != Some(template)
                })
            }),
            Ok(Event::Delete(object)) => templates.change(|all| {
                all.remove(&(
                    kind,
                    object.namespace().unwrap_or_default(),
                    object.name_any(),
                ));
                false
            }),
            Err(error) => warn!(kind, %error, "watch failed, trying again"),
        }
    }
}

/// What of a template decides which images are looked up, and with whose credentials.
fn reduced(template: &Value) -> Value {
    let pick = |from: &Value, fields: &[&str]| -> Value {
        let of = |field: &&str| Some(((*field).to_owned(), from.get(*field)?.clone()));
        Value::Object(fields.iter().filter_map(of).collect::<Map<_, _>>())
    };
    let spec = &template["spec"];
    let fields = [
        "nodeSelector",
        "os",
        "serviceAccountName",
        "imagePullSecrets",
        "restartPolicy",
    ];
    let mut kept = pick(spec, &fields);
    for list in ["initContainers", "containers"] {
        if let Some(containers) = spec[list].as_array() {
            let fields = ["name", "image", "command", "args", "restartPolicy"];
            kept[list] = containers
                .iter()
                .map(|container| pick(container, &fields))
                .collect();
        }
    }
    json!({"metadata": pick(&template["metadata"], &["labels"]), "spec": kept})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_kept_without_what_does_not_matter() {
        let template = json!({
            "metadata": {"labels": {"app": "web"}, "annotations": {"long": "text"}},
            "spec": {
                "serviceAccountName": "web",
                "imagePullSecrets": [{"name": "pull"}],
                "volumes": [{"name": "data"}],
                "containers": [{"name": "web", "image": "web:1", "env": [{"name": "A", "value": "b"}]}],
            },
        });
        assert_eq!(
            reduced(&template),
            json!({
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "serviceAccountName": "web",
                    "imagePullSecrets": [{"name": "pull"}],
                    "containers": [{"name": "web", "image": "web:1"}],
                },
            })
        );
    }
}
