//! Restarts what the plan says, while this replica leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use picket_crds::{LabelSelector, Strategy, WorkloadCoverage, annotations};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::plan::{Candidate, Step, plan};
use super::workloads::{Mark, Outcome, WorkloadFacts, Workloads};
use super::{Key, Notes};
use crate::coverage::controller::Built;
use crate::pods::{Owner, Owners, Phase, PodFacts, Pods, fargate};
use crate::policies::{Policies, View, for_webhook};

/// Who the events come from.
const CONTROLLER: &str = "picket.dev/rollout";
/// The annotation of a pod template by which `kubectl rollout restart` restarts.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Time in which changes are gathered.
const DEBOUNCE: Duration = Duration::from_secs(2);
/// Time between two looks while something is under way.
const TICK: Duration = Duration::from_secs(5);

/// That injection is to be suspended for a workload.
#[derive(Clone, Debug)]
pub struct Suspension {
    /// Namespace of the workload.
    pub namespace: String,
    /// The workload.
    pub workload: Owner,
    /// The policy that wins.
    pub policy: String,
    /// Whether Fargate refused its pods, or else they did not become ready.
    pub refused: bool,
    /// Why, for people.
    pub message: String,
}

/// Suspends injection for a workload; false if that could not be written down.
pub type Suspend = Arc<dyn Fn(Suspension) -> BoxFuture<'static, bool> + Send + Sync>;

/// The rollout controller.
pub struct Rollout {
    /// The API server.
    pub client: Client,
    /// Name of this replica.
    pub identity: String,
    /// All policies.
    pub policies: View<Policies>,
    /// What coverage has built.
    pub built: watch::Receiver<Built>,
    /// All pods.
    pub pods: Pods,
    /// The workloads that they belong to.
    pub owners: Owners,
    /// Versions of what is injected now, those of some namespaces included.
    pub revision: String,
    /// Suspends injection.
    pub suspend: Suspend,
    /// What is said of each workload, for reports.
    pub notes: watch::Sender<Notes>,
}

/// A policy that wants its workloads restarted.
struct Wanting {
    at_once: u32,
    target: String,
}

impl Rollout {
    /// Runs for as long as the views live.
    pub async fn run(mut self, mut leading: watch::Receiver<bool>) {
        let workloads = Workloads::default();
        let (changed, mut changes) = watch::channel(0);
        let following = workloads.clone().follow(self.client.clone(), changed);
        let acting = async {
            loop {
                let leads = *leading.borrow_and_update();
                let policies = self.policies.borrow_and_update().clone();
                let built = self.built.borrow_and_update().clone();
                changes.mark_unchanged();
                let mut under_way = false;
                if let (true, Some(policies)) = (leads && workloads.is_synced(), policies) {
                    under_way = self.pass(&policies, &built, &workloads).await;
                }
                let watching = tokio::select! {
                    changed = self.policies.changed() => changed.is_ok(),
                    changed = self.built.changed() => changed.is_ok(),
                    changed = changes.changed() => changed.is_ok(),
                    changed = leading.changed() => changed.is_ok(),
                    () = sleep(TICK), if under_way => true,
                };
                if !watching {
                    return;
                }
                sleep(DEBOUNCE).await;
            }
        };
        tokio::select! {
            () = following => {}
            () = acting => {}
        }
    }

    /// Does what is next; true while something is under way.
    async fn pass(&self, policies: &Policies, built: &Built, workloads: &Workloads) -> bool {
        let wanting = self.wanting(policies);
        let found = self.candidates(&wanting, built, workloads).await;
        let candidates: Vec<Candidate<'_>> = found.iter().map(Found::candidate).collect();
        let at_once = wanting
            .iter()
            .map(|(policy, wanting)| (policy.as_str(), wanting.at_once))
            .collect();
        let now = Timestamp::now().as_second();
        let steps = plan(&candidates, &at_once, now);
        let mut notes = BTreeMap::new();
        let mut under_way = false;
        for (found, step) in found.iter().zip(&steps) {
            let is_pending = !matches!(step, Step::None | Step::Failed(_));
            under_way |= is_pending;
            if *step != Step::None {
                notes.insert(found.key.clone(), step.to_string());
            }
            if let Err(error) = self.take(found, step, now).await {
                let (namespace, _, name) = &found.key;
                warn!(%namespace, %name, %error, "cannot go on with a restart, trying again");
            }
        }
        self.notes.send_if_modified(|known| {
            let changed = **known != notes;
            if changed {
                *known = Arc::new(notes);
            }
            changed
        });
        under_way
    }

    /// The policies that want their workloads restarted, by key.
    fn wanting(&self, policies: &Policies) -> BTreeMap<String, Wanting> {
        let own = policies
            .valid
            .iter()
            .map(|policy| (for_webhook(policy).key(), &policy.spec));
        let cluster = policies.cluster.iter().map(|policy| {
            let name = policy.metadata.name.clone().unwrap_or_default();
            (name, &policy.spec.policy)
        });
        own.chain(cluster)
            .filter(|(_, spec)| spec.rollout.strategy == Strategy::RollingRestart)
            .map(|(key, spec)| {
                let (mode, hash) = (spec.mode, spec.injection_hash());
                let target = format!("{} {key} {mode:?} {hash}", self.revision);
                let at_once = spec.rollout.max_unavailable;
                (key, Wanting { at_once, target })
            })
            .collect()
    }

    async fn candidates(
        &self,
        wanting: &BTreeMap<String, Wanting>,
        built: &Built,
        workloads: &Workloads,
    ) -> Vec<Found> {
        let mut found = Vec::new();
        let mut budgets: BTreeMap<Arc<str>, Option<Vec<Budget>>> = BTreeMap::new();
        for (namespace, coverage) in built.iter() {
            for (owner, row) in &coverage.rows {
                let Some(policy) = &row.policy else { continue };
                let Some(wants) = wanting.get(policy) else {
                    continue;
                };
                let key = (
                    Arc::clone(namespace),
                    owner.kind.clone(),
                    owner.name.clone(),
                );
                let facts = workloads.get(&key).filter(|facts| *facts.uid == *owner.uid);
                let mark = facts.as_ref().and_then(|facts| facts.mark.as_ref());
                let behind = is_behind(row);
                if !behind && mark.is_none() {
                    continue;
                }
                let restarting = mark.is_some_and(|mark| mark.outcome == Outcome::Restarting);
                let refused = match restarting {
                    true => self.refused(namespace, owner).await,
                    false => None,
                };
                let disruptable = match (&facts, behind && !restarting) {
                    (Some(facts), true) => {
                        if !budgets.contains_key(namespace) {
                            let read = self.budgets(namespace).await;
                            budgets.insert(Arc::clone(namespace), read);
                        }
                        let budgets = budgets.get(namespace).and_then(Option::as_ref);
                        budgets.is_some_and(|budgets| allow(budgets, facts))
                    }
                    _ => true,
                };
                found.push(Found {
                    key,
                    owner: owner.clone(),
                    policy: policy.clone(),
                    target: wants.target.clone(),
                    behind,
                    suspended: has_gap(row, picket_crds::Gap::InjectionSuspended),
                    refused,
                    facts,
                    disruptable,
                });
            }
        }
        found
    }

    /// The PodDisruptionBudgets of a namespace; `None` when they cannot be read, and then nothing
    /// is disrupted.
    async fn budgets(&self, namespace: &str) -> Option<Vec<Budget>> {
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), namespace);
        match api.list(&ListParams::default()).await {
            Ok(list) => Some(list.items.into_iter().map(Budget::of).collect()),
            Err(error) => {
                warn!(namespace, %error, "cannot read PodDisruptionBudgets: nothing is restarted there");
                None
            }
        }
    }

    /// What fargate-scheduler says of a pod of a workload that it will never run.
    async fn refused(&self, namespace: &str, owner: &Owner) -> Option<String> {
        let waits = |pod: &Arc<PodFacts>| {
            pod.is_on_fargate() && pod.phase == Phase::Pending && pod.node.is_none()
        };
        let pods = self.pods.in_namespace(namespace);
        let pod = pods
            .iter()
            .find(|pod| waits(pod) && self.owners.of(pod).uid == owner.uid)?;
        if let Some(why) = fargate::refusal_in_status(pod) {
            return Some(why.to_owned());
        }
        // What cannot be read now is read at the next look.
        fargate::refusal_in_events(&self.client, pod).await.ok()?
    }

    async fn take(&self, found: &Found, step: &Step, now: i64) -> kube::Result<()> {
        let mark = |outcome, message: &str| Mark {
            target: found.target.clone(),
            at: now,
            outcome,
            message: message.to_owned(),
        };
        match step {
            Step::Restart => {
                self.patch(found, &mark(Outcome::Restarting, ""), true)
                    .await?;
                info!(workload = %found.owner, namespace = %found.key.0, policy = found.policy, "restarted");
                let note = format!("its pods are behind policy {}", found.policy);
                self.tell(found, EventType::Normal, "Restarted", note).await;
            }
            Step::Finish => {
                self.patch(found, &mark(Outcome::Ready, ""), false).await?;
            }
            Step::Fail { message, bare } => {
                if *bare {
                    let suspension = Suspension {
                        namespace: found.key.0.to_string(),
                        workload: found.owner.clone(),
                        policy: found.policy.clone(),
                        refused: found.refused.is_some(),
                        message: message.clone(),
                    };
                    // First, so that the pods that are made anew come bare.
                    if !(self.suspend)(suspension).await {
                        return Ok(());
                    }
                }
                self.patch(found, &mark(Outcome::Failed, message), *bare)
                    .await?;
                let then = match bare {
                    true => "; injection is suspended for it, and its pods are made anew without",
                    false => "",
                };
                let note = format!(
                    "{message}{then}; nothing else of policy {} is restarted",
                    found.policy
                );
                self.tell(found, EventType::Warning, "RolloutFailed", note)
                    .await;
            }
            Step::None | Step::Restarting | Step::Failed(_) | Step::Wait(_) => {}
        }
        Ok(())
    }

    /// Writes the mark and, in the same change, restarts as `kubectl rollout restart` does.
    async fn patch(&self, found: &Found, mark: &Mark, restart: bool) -> kube::Result<()> {
        let (namespace, kind, name) = &found.key;
        let resource = match &**kind {
            "StatefulSet" => ApiResource::erase::<k8s_openapi::api::apps::v1::StatefulSet>(&()),
            _ => ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()),
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        // Strings and numbers: writing it cannot fail.
        let text = serde_json::to_string(mark).unwrap_or_default();
        let mut patch = json!({"metadata": {
            "uid": &*found.owner.uid,
            "annotations": {annotations::ROLLOUT: text},
        }});
        if restart {
            let now = Timestamp::now().to_string();
            patch["spec"] = json!({"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}});
        }
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    async fn tell(&self, found: &Found, type_: EventType, reason: &str, note: String) {
        let reporter = Reporter {
            controller: CONTROLLER.to_owned(),
            instance: Some(self.identity.clone()),
        };
        let object = ObjectReference {
            api_version: Some(found.owner.api_version.to_string()),
            kind: Some(found.owner.kind.to_string()),
            name: Some(found.owner.name.to_string()),
            namespace: Some(found.key.0.to_string()),
            uid: Some(found.owner.uid.to_string()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Rollout".to_owned(),
            secondary: None,
        };
        let recorder = Recorder::new(self.client.clone(), reporter);
        if let Err(error) = recorder.publish(&event, &object).await {
            warn!(%error, reason, "an event cannot be written");
        }
    }
}

/// A workload that is a candidate.
struct Found {
    key: Key,
    owner: Owner,
    policy: String,
    target: String,
    behind: bool,
    suspended: bool,
    refused: Option<String>,
    facts: Option<Arc<WorkloadFacts>>,
    disruptable: bool,
}

impl Found {
    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            key: self.key.clone(),
            policy: &self.policy,
            target: self.target.clone(),
            behind: self.behind,
            suspended: self.suspended,
            refused: self.refused.clone(),
            facts: self.facts.as_deref(),
            disruptable: self.disruptable,
        }
    }
}

/// Whether pods of a workload are bare or out of date.
fn is_behind(row: &WorkloadCoverage) -> bool {
    row.pods.current < row.pods.total
}

fn has_gap(row: &WorkloadCoverage, gap: picket_crds::Gap) -> bool {
    row.gaps.iter().any(|entry| entry.gap == gap)
}

/// What a PodDisruptionBudget says.
struct Budget {
    selector: Option<LabelSelector>,
    allowed: i32,
}

impl Budget {
    fn of(budget: PodDisruptionBudget) -> Self {
        let selector = budget.spec.and_then(|spec| spec.selector);
        Self {
            // The same in JSON; one that is not understood counts as one for every pod.
            selector: selector
                .and_then(|selector| serde_json::to_value(selector).ok())
                .and_then(|selector| serde_json::from_value(selector).ok()),
            allowed: budget.status.map_or(0, |status| status.disruptions_allowed),
        }
    }
}

/// Whether all budgets that are for the pods of a workload allow a disruption.
fn allow(budgets: &[Budget], facts: &WorkloadFacts) -> bool {
    let label = |key: &str| facts.pod_labels.get(key).map(String::as_str);
    budgets.iter().all(|budget| {
        let is_for = budget
            .selector
            .as_ref()
            .is_none_or(|selector| selector.matches(label));
        !is_for || budget.allowed > 0
    })
}
