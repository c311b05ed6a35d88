//! Tries what is due while this replica leads, and says what follows on the policies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::ApiResource;
use kube::core::ObjectMeta;
use picket_crds::{
    ClusterProtectionPolicy, Mode, ProtectionPolicy, ProtectionPolicyStatus, conditions,
};
use picket_webhook::suspension::fingerprint;
use picket_webhook::{Namespace, Policy, Settings};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::asked::Asked;
use super::pull::Preflight;
use super::schedule::{Memory, Pair, Tried, Wanted};
use super::trial::attempt;
use super::verdict::{Evidence, judge};
use crate::policies::{Namespaces, Policies, View, for_webhook};
use crate::status::{Statement, Target};
use crate::suspensions::Suspensions;
use crate::watched::Seen;

/// The field manager that owns what is written here.
pub const FIELD_MANAGER: &str = "picket-preflight";
/// Time in which changes are gathered, and between two rounds of trials.
const PAUSE: Duration = Duration::from_secs(1);
/// Time before what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Tries pods of protected namespaces before there are any.
pub struct Trials {
    /// The way to the API server.
    pub client: Client,
    /// All policies.
    pub policies: View<Policies>,
    /// Labels of all namespaces.
    pub namespaces: View<Namespaces>,
    /// What API servers are told about the webhook.
    pub configuration: watch::Receiver<Seen<MutatingWebhookConfiguration>>,
    /// What is suspended.
    pub suspensions: Suspensions,
    /// What is injected.
    pub settings: Arc<Settings>,
    /// Whether the sidecar image can be had.
    pub preflight: Preflight,
    /// Namespaces in which nothing is ever injected.
    pub excluded: Vec<String>,
    /// Whether pods are tried; without the right to create them nothing but suspensions is told.
    pub tries: bool,
    /// The webhook's port, for the advice.
    pub port: u16,
}

/// A policy of either kind.
struct Known<'a> {
    policy: Policy,
    resource: ApiResource,
    metadata: &'a ObjectMeta,
    conditions: &'a [Condition],
}

/// What was said of policies last, by uid.
type Told = BTreeMap<String, (Option<i64>, [Statement; 3])>;

impl Trials {
    /// Tries and tells for as long as the views live.
    pub async fn run(mut self, mut leading: watch::Receiver<bool>) {
        let mut suspensions = self.suspensions.changes();
        let mut memory = Memory::default();
        let mut told = Told::new();
        loop {
            let leads = *leading.borrow_and_update();
            suspensions.mark_unchanged();
            let policies = self.policies.borrow_and_update().clone();
            let namespaces = self.namespaces.borrow_and_update().clone();
            let configuration = self.configuration.borrow_and_update().clone();
            let is_known = self.suspensions.is_synced() && !matches!(configuration, Seen::NotYet);
            let mut pause = Duration::MAX;
            match (leads, policies, namespaces) {
                (true, Some(policies), Some(namespaces)) if is_known => {
                    let configuration = configuration.present();
                    let protected = self.protected(&policies, &namespaces, configuration);
                    pause = self.try_what_is_due(&protected, &mut memory).await;
                    if !self.tell(&protected, &memory, &mut told).await {
                        pause = pause.min(RETRY);
                    }
                }
                (true, ..) => {}
                (false, ..) => {
                    memory = Memory::default();
                    told.clear();
                }
            }
            let watching = tokio::select! {
                changed = self.policies.changed() => changed.is_ok(),
                changed = self.namespaces.changed() => changed.is_ok(),
                changed = self.configuration.changed() => changed.is_ok(),
                changed = suspensions.changed() => changed.is_ok(),
                changed = leading.changed() => changed.is_ok(),
                () = sleep(pause), if pause < Duration::MAX => true,
            };
            if !watching {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// Policies, the namespaces in which they protect something, and what is tried there.
    fn protected<'a>(
        &self,
        policies: &'a Policies,
        namespaces: &'a Namespaces,
        configuration: Option<&MutatingWebhookConfiguration>,
    ) -> Protected<'a> {
        let mut asked = BTreeMap::new();
        let mut switched_off = false;
        for (name, labels) in namespaces {
            if self.excluded.contains(name) {
                continue;
            }
            match configuration.map(|found| Asked::about(labels, found)) {
                Some(Asked::Yes) => {
                    let facts = Namespace {
                        labels: labels.clone(),
                        ..Namespace::default()
                    };
                    asked.insert(name.as_str(), facts);
                }
                Some(Asked::SwitchedOff) => switched_off = true,
                Some(Asked::No) | None => {}
            }
        }
        let generation = configuration.and_then(|found| found.metadata.generation);
        let policies = known(policies).into_iter().map(|policy| {
            let for_it = |(name, facts): (&&'a str, &Namespace)| {
                let fingerprint = self.fingerprint(&policy.policy, (name, facts), generation);
                policy
                    .policy
                    .is_for(name, facts)
                    .then_some((*name, fingerprint))
            };
            let wanted = asked.iter().filter_map(for_it).collect();
            (policy, wanted)
        });
        Protected {
            policies: policies.collect(),
            switched_off: switched_off && asked.is_empty(),
        }
    }

    /// Names what is tried, and how: another one is tried anew.
    fn fingerprint(
        &self,
        policy: &Policy,
        (namespace, facts): (&str, &Namespace),
        configuration: Option<i64>,
    ) -> String {
        let settings = self.settings.for_namespace(namespace, facts);
        let rest = json!([facts.labels, configuration]);
        format!("{} {rest}", fingerprint(&settings, policy))
    }

    /// Tries what is due, if anything is; returns when to look again.
    async fn try_what_is_due(&self, protected: &Protected<'_>, memory: &mut Memory) -> Duration {
        if !self.tries {
            return Duration::MAX;
        }
        let wanted = protected.wanted();
        memory.forget_all_but(&wanted);
        let due = match memory.due(&wanted, Instant::now()) {
            Ok(due) => due,
            Err(wait) => return wait,
        };
        let trials = due.into_iter().map(|pair| {
            let fingerprint = wanted[&pair].clone();
            async move {
                let tried = self.attempt(protected, &pair, fingerprint).await?;
                Some((pair, tried))
            }
        });
        for (pair, tried) in join_all(trials).await.into_iter().flatten() {
            if !tried.finding.is_good() {
                let Pair { policy, namespace } = &pair;
                info!(policy, namespace, finding = ?tried.finding, "a pod was tried");
            }
            memory.keep(pair, tried);
        }
        Duration::ZERO
    }

    async fn attempt(
        &self,
        protected: &Protected<'_>,
        pair: &Pair,
        fingerprint: String,
    ) -> Option<Tried> {
        let policy = &protected.policy(&pair.policy)?.policy;
        let known = self.namespaces.borrow().clone();
        let facts = Namespace {
            labels: known?.get(&pair.namespace)?.clone(),
            ..Namespace::default()
        };
        let settings = self.settings.for_namespace(&pair.namespace, &facts);
        let selector = &policy.spec.pod_selector;
        let (finding, pull) = tokio::join!(
            attempt(
                &self.client,
                &pair.namespace,
                (&pair.policy, selector),
                &settings.sidecar_image,
            ),
            self.preflight.pull(&settings, &pair.namespace),
        );
        Some(Tried {
            fingerprint,
            at: Instant::now(),
            finding,
            pull,
        })
    }

    /// Says what is new of every policy that has been assessed; false if something could not be
    /// written.
    async fn tell(&self, protected: &Protected<'_>, memory: &Memory, told: &mut Told) -> bool {
        let suspended = self.suspensions.all();
        let mut complete = true;
        let mut living = Vec::new();
        for (policy, wanted) in &protected.policies {
            let uid = policy.metadata.uid.clone().unwrap_or_default();
            living.push(uid.clone());
            // The first condition that people read is whether the policy is in use at all.
            let accepted = |condition: &Condition| condition.type_ == conditions::ACCEPTED;
            if !policy.conditions.iter().any(accepted) {
                continue;
            }
            // Nobody asks this control plane about its pods: `Accepted` says so, and if another one
            // is asked, that one tells.
            if wanted.is_empty() && !protected.switched_off && !told.contains_key(&uid) {
                continue;
            }
            let key = policy.policy.key();
            let tried = |namespace: &str, fingerprint: &str| {
                let pair = Pair {
                    policy: key.clone(),
                    namespace: namespace.to_owned(),
                };
                memory.of(&pair, fingerprint)
            };
            let namespaces = wanted
                .iter()
                .map(|(name, fingerprint)| (*name, tried(name, fingerprint)))
                .collect();
            let evidence = Evidence {
                tries: self.tries,
                switched_off: protected.switched_off,
                namespaces,
                suspended: suspended
                    .values()
                    .filter(|record| record.policy == key)
                    .collect(),
                port: self.port,
            };
            let verdict = judge(&policy.policy.spec, policy.conditions, &evidence);
            let verdict = verdict.map(|said| policy.unless_known(said));
            let generation = policy.metadata.generation;
            let is_known = match told.get(&uid) {
                Some(known) => *known == (generation, verdict.clone()),
                None => policy.says(&verdict),
            };
            if is_known || policy.write(&self.client, &verdict).await {
                told.insert(uid, (generation, verdict));
            } else {
                complete = false;
            }
        }
        told.retain(|uid, _| living.contains(uid));
        complete
    }
}

/// What is protected at one time.
struct Protected<'a> {
    /// The policies, each with its namespaces and what is tried in each.
    policies: Vec<(Known<'a>, BTreeMap<&'a str, String>)>,
    switched_off: bool,
}

impl Protected<'_> {
    fn policy(&self, key: &str) -> Option<&Known<'_>> {
        let mut policies = self.policies.iter().map(|(policy, _)| policy);
        policies.find(|policy| policy.policy.key() == key)
    }

    fn wanted(&self) -> Wanted {
        let policies = self.policies.iter();
        let tried = policies.filter(|(known, _)| known.policy.spec.mode != Mode::Disabled);
        let pairs = tried.flat_map(|(known, namespaces)| {
            let key = known.policy.key();
            namespaces.iter().map(move |(namespace, fingerprint)| {
                let pair = Pair {
                    policy: key.clone(),
                    namespace: (*namespace).to_owned(),
                };
                (pair, fingerprint.clone())
            })
        });
        pairs.collect()
    }
}

fn known(policies: &Policies) -> Vec<Known<'_>> {
    let own = policies.valid.iter().map(|policy| Known {
        policy: for_webhook(policy),
        resource: ApiResource::erase::<ProtectionPolicy>(&()),
        metadata: &policy.metadata,
        conditions: conditions_of(policy.status.as_ref()),
    });
    let cluster = policies.cluster.iter().map(|policy| Known {
        policy: Policy::of_cluster(policy.clone()),
        resource: ApiResource::erase::<ClusterProtectionPolicy>(&()),
        metadata: &policy.metadata,
        conditions: conditions_of(policy.status.as_ref()),
    });
    own.chain(cluster).collect()
}

fn conditions_of(status: Option<&ProtectionPolicyStatus>) -> &[Condition] {
    status.map_or(&[], |status| status.conditions.as_slice())
}

impl Known<'_> {
    fn before(&self, said: &Statement) -> Option<&Condition> {
        let mut conditions = self.conditions.iter();
        conditions.find(|condition| condition.type_ == said.type_)
    }

    /// What is said already, where nothing has been tried since: a replica that takes the lead
    /// knows no better.
    fn unless_known(&self, said: Statement) -> Statement {
        if said.reason != conditions::REASON_TRYING {
            return said;
        }
        let before = self.before(&said);
        match before.filter(|before| before.observed_generation == self.metadata.generation) {
            None => said,
            Some(before) => Statement {
                type_: said.type_,
                status: match before.status.as_str() {
                    "True" => "True",
                    "False" => "False",
                    _ => "Unknown",
                },
                reason: before.reason.clone(),
                message: before.message.clone(),
            },
        }
    }

    fn says(&self, verdict: &[Statement]) -> bool {
        verdict.iter().all(|said| {
            self.before(said).is_some_and(|before| {
                before.status == said.status
                    && before.reason == said.reason
                    && before.message == said.message
                    && before.observed_generation == self.metadata.generation
            })
        })
    }

    async fn write(&self, client: &Client, verdict: &[Statement]) -> bool {
        let now = Timestamp::now();
        let generation = self.metadata.generation;
        let written: Vec<Condition> = verdict
            .iter()
            .map(|said| said.condition(generation, self.conditions, now))
            .collect();
        let name = self.metadata.name.clone().unwrap_or_default();
        let target = Target {
            resource: &self.resource,
            namespace: self.metadata.namespace.as_deref(),
            name: &name,
            uid: self.metadata.uid.as_deref(),
        };
        let status = json!({"conditions": written});
        match target.apply(client, FIELD_MANAGER, &status).await {
            Ok(()) => {
                let key = self.policy.key();
                let ready = verdict.iter().find(|said| said.type_ == conditions::READY);
                let reason = ready.map(|ready| ready.reason.as_str());
                info!(
                    policy = key,
                    reason, "whether a policy is ready was written"
                );
                true
            }
            // It is gone, or another one has its name: the watch will say so.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
            Err(error) => {
                warn!(policy = self.policy.key(), %error, "cannot write whether a policy is ready, trying again");
                false
            }
        }
    }
}
