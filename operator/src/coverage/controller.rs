//! Keeps reports and policies current while this replica leads.
//!
//! Only namespaces in which something changed are built anew, and those in which time alone may
//! change something: an agent that falls silent, a pod that waits too long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use picket_crds::{CoverageState, Gap, Health, PodCounts, WorkloadCoverage};
use picket_events::text::counted;
use picket_webhook::{Canary, Namespace};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::build::{BeatOwned, Input, NamespaceCoverage, Tally, build};
use super::gauges::Gauges;
use super::lead::Lead;
use super::notify::{self, Turn};
use super::policies::{Said, Versions};
use super::reports::{Written, reports};
use crate::installation::Installation;
use crate::pods::{Owner, Owners, PodFacts, Pods};
use crate::policies::{Namespaces, Policies, View};
use crate::relay::heartbeats::Heartbeats;
use crate::rollout::Notes;
use crate::suspensions::Records;

/// Time in which changes are gathered before they are looked at.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// Time between two looks at what time alone may have changed.
const TICK: Duration = Duration::from_secs(5);
/// Time before what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long one namespace may take to be written.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why injection is suspended for a workload, if it is.
pub type Suspended = Arc<dyn Fn(&Owner, &PodFacts) -> Option<String> + Send + Sync>;

/// The coverage controller.
pub struct Coverage {
    /// The API server.
    pub client: Client,
    /// Whose the reports are.
    pub installation: Installation,
    /// Name of this replica.
    pub identity: String,
    /// All pods.
    pub pods: Pods,
    /// The workloads that they belong to.
    pub owners: Owners,
    /// All policies.
    pub policies: View<Policies>,
    /// Labels of all namespaces.
    pub namespaces: View<Namespaces>,
    /// What agents said last.
    pub heartbeats: Heartbeats,
    /// Why injection is suspended for a workload.
    pub suspended: Suspended,
    /// For which workloads it is; a change of it changes reports.
    pub suspensions: watch::Receiver<Option<Arc<Records>>>,
    /// Version of what is injected now.
    pub revision: String,
    /// Namespaces that get another one.
    pub canaries: Vec<Canary>,
    /// Namespaces in which nothing is ever injected.
    pub excluded: Vec<String>,
    /// What is said of the restart of workloads.
    pub rollouts: watch::Receiver<Notes>,
    /// Coverage for Prometheus.
    pub gauges: Gauges,
    /// What was built last, for whoever acts on it; nothing while another replica leads.
    pub built: watch::Sender<Built>,
}

/// What was built last, by namespace.
pub type Built = Arc<BTreeMap<Arc<str>, Arc<NamespaceCoverage>>>;

impl Coverage {
    /// Runs for as long as the views live.
    pub async fn run(mut self, mut leading: watch::Receiver<bool>) {
        let mut pods = self.pods.changes();
        let mut beats = self.heartbeats.subscribe();
        let mut lead: Option<Lead> = None;
        loop {
            let leads = *leading.borrow_and_update();
            pods.mark_unchanged();
            beats.mark_unchanged();
            let policies = self.policies.borrow_and_update().clone();
            let namespaces = self.namespaces.borrow_and_update().clone();
            self.suspensions.mark_unchanged();
            let mut pause = TICK;
            match (leads, policies, namespaces) {
                (true, Some(policies), Some(namespaces)) if self.pods.is_synced() => {
                    if lead.is_none() {
                        lead = self.take_over().await;
                    }
                    match &mut lead {
                        Some(lead) => {
                            if !self.pass(lead, policies, namespaces).await {
                                pause = RETRY;
                            }
                        }
                        None => pause = RETRY,
                    }
                }
                (true, ..) => {}
                (false, ..) => {
                    if lead.take().is_some() {
                        self.gauges.clear();
                        self.built.send_replace(Built::default());
                    }
                }
            }
            let watching = tokio::select! {
                changed = pods.changed() => changed.is_ok(),
                changed = beats.changed() => changed.is_ok(),
                changed = self.policies.changed() => changed.is_ok(),
                changed = self.namespaces.changed() => changed.is_ok(),
                changed = self.suspensions.changed() => changed.is_ok(),
                // It ends where nothing is ever restarted.
                Ok(()) = self.rollouts.changed() => true,
                changed = leading.changed() => changed.is_ok(),
                () = sleep(pause) => true,
            };
            if !watching {
                return;
            }
            sleep(DEBOUNCE).await;
        }
    }

    async fn take_over(&self) -> Option<Lead> {
        let written = match Written::read(&self.client).await {
            Ok(written) => written,
            // Definitions that an upgrade has not brought yet.
            Err(error) => {
                warn!(%error, "cannot read coverage reports, trying again");
                return None;
            }
        };
        let owner = match self.installation.of_cluster().await {
            Ok(owner) => owner,
            Err(error) => {
                warn!(%error, "cannot write coverage reports, trying again");
                return None;
            }
        };
        info!("coverage is written from here");
        Some(Lead {
            pods_until: 0,
            policies: None,
            namespaces: None,
            for_webhook: Vec::new(),
            versions: Versions::new(),
            built: BTreeMap::new(),
            // Reports of namespaces without pods are looked at too.
            unwritten: written
                .namespaces()
                .map(|name| name.as_str().into())
                .collect(),
            owner,
            written,
            said: Said::default(),
            said_stale: true,
            notes: Notes::default(),
            suspended: None,
            relay_since: None,
            rewritten: Instant::now(),
        })
    }

    /// Looks at what changed; false if something has to be tried again.
    async fn pass(
        &self,
        lead: &mut Lead,
        policies: Arc<Policies>,
        namespaces: Arc<Namespaces>,
    ) -> bool {
        let now = Timestamp::now().as_second();
        let mut dirty = self.dirty(lead, &policies, &namespaces, now);
        let mut complete = true;
        let pods: Vec<(Arc<str>, Vec<Arc<PodFacts>>)> = dirty
            .iter()
            .map(|name| (Arc::clone(name), self.pods.in_namespace(name)))
            .collect();
        let all: Vec<Arc<PodFacts>> = pods.iter().flat_map(|(_, pods)| pods.clone()).collect();
        if !self.owners.learn(&all).await {
            complete = false;
        }
        drop(all);
        for (name, pods) in pods {
            let built = match namespaces.get(&*name) {
                Some(labels) => self.build(lead, &name, labels, &pods, now),
                None => {
                    lead.written.forget(&name);
                    dirty.remove(&name);
                    NamespaceCoverage::default()
                }
            };
            lead.said_stale = true;
            if built.rows.is_empty() {
                lead.built.remove(&name);
            } else {
                lead.built.insert(name, Arc::new(built));
            }
        }
        let mut turns = Vec::new();
        for name in dirty {
            turns.extend(self.write(lead, name).await);
        }
        complete &= lead.unwritten.is_empty();
        if lead.said_stale {
            let tallies = tallies(&lead.built);
            let (more, said) = lead
                .said
                .say(&self.client, &policies, &tallies, &lead.versions)
                .await;
            turns.extend(more);
            lead.said_stale = !said;
            complete &= said;
            self.measure(lead, &tallies);
            self.built.send_replace(Arc::new(lead.built.clone()));
        }
        if !turns.is_empty() {
            notify::tell(&self.client, &self.identity, &turns).await;
        }
        complete
    }

    fn build(
        &self,
        lead: &Lead,
        name: &str,
        labels: &BTreeMap<String, String>,
        pods: &[Arc<PodFacts>],
        now: i64,
    ) -> NamespaceCoverage {
        if self.excluded.iter().any(|excluded| excluded == name) {
            return NamespaceCoverage::default();
        }
        let namespace = Namespace {
            labels: labels.clone(),
            ..Namespace::default()
        };
        let beat = |uid: &str| {
            let received = self.heartbeats.get(uid)?;
            let at = received.time.duration_since(UNIX_EPOCH).ok()?.as_secs();
            let at = i64::try_from(at).ok()?;
            Some(BeatOwned { received, at })
        };
        build(&Input {
            name,
            namespace: &namespace,
            pods,
            policies: &lead.for_webhook,
            policy_since: &|key| lead.versions.get(key).map_or(0, |version| version.since),
            workload: &|pod| self.owners.of(pod),
            beat: &beat,
            suspended: &*self.suspended,
            relay_since: lead.relay_since,
            revision: self.revision_in(name, &namespace),
            now,
        })
    }

    /// Version of what is injected into pods of a namespace, as the webhook decides it.
    fn revision_in(&self, name: &str, namespace: &Namespace) -> &str {
        Canary::of(&self.canaries, name, namespace)
            .map_or(&self.revision, |canary| &canary.revision)
    }

    /// Writes the reports of a namespace; returns what turned.
    async fn write(&self, lead: &mut Lead, name: Arc<str>) -> Vec<Turn> {
        let built = lead.built.get(&name).cloned().unwrap_or_default();
        let (mut rows, turns) = with_health(&name, &built, &lead.written);
        for row in &mut rows {
            let key = (
                Arc::clone(&name),
                row.kind.as_str().into(),
                row.name.as_str().into(),
            );
            row.rollout = lead.notes.get(&key).cloned();
        }
        let wanted = reports(rows);
        let owner = lead.owner.as_ref();
        let write = lead.written.write(&self.client, &name, wanted, owner);
        match timeout(PATIENCE, write).await {
            Ok(Ok(count)) => {
                self.gauges.wrote(Ok(count));
                turns
            }
            Ok(Err(error)) => {
                debug!(namespace = %name, %error, "cannot write coverage, trying again");
                self.gauges.wrote(Err(()));
                lead.unwritten.insert(name);
                Vec::new()
            }
            Err(_) => {
                self.gauges.wrote(Err(()));
                lead.unwritten.insert(name);
                Vec::new()
            }
        }
    }

    fn measure(&self, lead: &Lead, tallies: &BTreeMap<String, Tally>) {
        let mut sum = Tally::default();
        tallies.values().for_each(|tally| sum.add(tally));
        let rows = || lead.built.values().flat_map(|built| &built.rows);
        let unselected = rows().filter(|(_, row)| row.state == CoverageState::Unselected);
        let unselected = u32::try_from(unselected.count()).unwrap_or(u32::MAX);
        let workloads = |state: CoverageState| match state {
            CoverageState::Unhealthy => sum.unhealthy,
            CoverageState::Progressing => sum.progressing,
            CoverageState::Healthy => sum.workloads - sum.unhealthy - sum.progressing,
            CoverageState::Unselected => unselected,
        };
        let gaps = |gap: Gap| sum.gaps.get(&gap).copied().unwrap_or(0);
        let pods: PodCounts = sum.pods;
        self.gauges.set(pods, workloads, gaps);
    }
}

/// What each policy has in all namespaces.
fn tallies(built: &BTreeMap<Arc<str>, Arc<NamespaceCoverage>>) -> BTreeMap<String, Tally> {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for (policy, tally) in built.values().flat_map(|built| &built.policies) {
        tallies.entry(policy.clone()).or_default().add(tally);
    }
    tallies
}

/// The rows with the health that each had last, and those whose health turned.
fn with_health(
    namespace: &str,
    built: &NamespaceCoverage,
    written: &Written,
) -> (Vec<WorkloadCoverage>, Vec<Turn>) {
    let before = written.rows(namespace);
    let mut turns = Vec::new();
    let rows = built.rows.iter().map(|(owner, row)| {
        let mut row = row.clone();
        let known = before.get(&(row.kind.as_str(), row.name.as_str()));
        let from = known.and_then(|known| known.health);
        let to = row.state.health();
        if let Some(to) = to.filter(|to| Some(*to) != from) {
            turns.push(turn(namespace, owner, &row, from, to));
        }
        if row.policy.is_some() {
            row.health = to.or(from);
        }
        row
    });
    (rows.collect(), turns)
}

fn turn(
    namespace: &str,
    owner: &Owner,
    row: &WorkloadCoverage,
    from: Option<Health>,
    to: Health,
) -> Turn {
    let worst = row.gaps.iter().filter(|gap| gap.gap.is_unhealthy());
    Turn {
        object: ObjectReference {
            api_version: Some(owner.api_version.to_string()),
            kind: Some(owner.kind.to_string()),
            name: Some(owner.name.to_string()),
            namespace: Some(namespace.to_owned()),
            uid: Some(owner.uid.to_string()),
            ..ObjectReference::default()
        },
        from,
        to,
        policy: row.policy.clone().unwrap_or_default(),
        issues: worst
            .map(|gap| {
                let pods = counted(gap.pods, "pod", "pods");
                format!("{} ({pods}): {}", gap.gap, gap.message)
            })
            .collect(),
    }
}
