//! What the replica that leads remembers, and where something changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use picket_webhook::Policy;
use tokio::time::Instant;

use super::Coverage;
use super::build::NamespaceCoverage;
use super::policies::{Said, Versions, versions};
use super::reports::Written;
use crate::policies::{Namespaces, Policies, for_webhook};
use crate::rollout::{Key, Notes};
use crate::suspensions::Records;

/// Time after which everything is written again, whoever has changed it.
const REWRITE: Duration = Duration::from_secs(600);

/// What the replica that leads remembers.
pub(super) struct Lead {
    pub(super) pods_until: u64,
    pub(super) policies: Option<Arc<Policies>>,
    pub(super) namespaces: Option<Arc<Namespaces>>,
    pub(super) for_webhook: Vec<Policy>,
    pub(super) versions: Versions,
    pub(super) built: BTreeMap<Arc<str>, Arc<NamespaceCoverage>>,
    /// Whose reports are.
    pub(super) owner: Option<OwnerReference>,
    pub(super) written: Written,
    pub(super) said: Said,
    pub(super) said_stale: bool,
    pub(super) unwritten: BTreeSet<Arc<str>>,
    pub(super) notes: Notes,
    pub(super) suspended: Option<Arc<Records>>,
    pub(super) relay_since: Option<i64>,
    pub(super) rewritten: Instant,
}

impl Coverage {
    /// The namespaces that have to be built anew.
    pub(super) fn dirty(
        &self,
        lead: &mut Lead,
        policies: &Arc<Policies>,
        namespaces: &Arc<Namespaces>,
        now: i64,
    ) -> BTreeSet<Arc<str>> {
        let same = |known: &Option<Arc<Policies>>| {
            let known = known.as_ref();
            known.is_some_and(|known| Arc::ptr_eq(known, policies))
        };
        let labels = lead.namespaces.as_ref();
        let everything = labels.is_none_or(|labels| **labels != **namespaces);
        let mut everything = everything || lead.rewritten.elapsed() > REWRITE;
        if !same(&lead.policies) {
            // The status of policies is not what coverage follows from, though it is what the
            // watch tells most often: we write it.
            let wanted = self.policies_in_use(policies);
            if wanted != lead.for_webhook || lead.policies.is_none() {
                everything = true;
            }
            lead.for_webhook = wanted;
            lead.versions = versions(policies, &lead.versions, now);
            lead.policies = Some(Arc::clone(policies));
            lead.said_stale = true;
        }
        if everything {
            lead.pods_until = 0;
        }
        lead.namespaces = Some(Arc::clone(namespaces));
        let changed = self.pods.changed_since(lead.pods_until);
        lead.pods_until = changed.until;
        let mut dirty = changed.namespaces;
        if lead.rewritten.elapsed() > REWRITE {
            lead.rewritten = Instant::now();
            for name in &dirty {
                lead.written.doubt(name);
            }
            let pods = self.pods.clone();
            self.heartbeats.retain(|uid| pods.by_uid(uid).is_some());
        }
        for uid in self.heartbeats.take_changed() {
            if let Some(pod) = self.pods.by_uid(&uid) {
                dirty.insert(Arc::clone(&pod.namespace));
            }
        }
        if self.heartbeats.is_empty() {
            lead.relay_since = None;
        } else if lead.relay_since.is_none() {
            lead.relay_since = Some(now);
        }
        let notes = self.rollouts.borrow().clone();
        if !Arc::ptr_eq(&notes, &lead.notes) {
            let differs = |key: &&Key| notes.get(*key) != lead.notes.get(*key);
            let keys = notes.keys().chain(lead.notes.keys()).filter(differs);
            dirty.extend(keys.map(|(namespace, _, _)| Arc::clone(namespace)));
            lead.notes = notes;
        }
        let suspended = self.suspensions.borrow().clone();
        if suspended != lead.suspended {
            dirty.extend(differing(lead.suspended.as_deref(), suspended.as_deref()));
            lead.suspended = suspended;
        }
        let due = lead
            .built
            .iter()
            .filter(|(_, built)| built.next.is_some_and(|at| at <= now));
        dirty.extend(due.map(|(name, _)| Arc::clone(name)));
        dirty.extend(std::mem::take(&mut lead.unwritten));
        dirty
    }

    fn policies_in_use(&self, policies: &Policies) -> Vec<Policy> {
        let own = policies.valid.iter().map(for_webhook);
        let cluster = policies.cluster.iter().cloned().map(Policy::of_cluster);
        own.chain(cluster).collect()
    }
}

/// Namespaces of workloads whose suspension came, changed or went.
fn differing(before: Option<&Records>, now: Option<&Records>) -> BTreeSet<Arc<str>> {
    let none = Records::new();
    let (before, now) = (before.unwrap_or(&none), now.unwrap_or(&none));
    let changed = |(all, others): (&Records, &Records)| {
        let changed = all
            .iter()
            .filter(|(uid, record)| others.get(*uid) != Some(record));
        changed
            .map(|(_, record)| Arc::from(record.workload.namespace.as_str()))
            .collect::<Vec<Arc<str>>>()
    };
    [(before, now), (now, before)]
        .into_iter()
        .flat_map(changed)
        .collect()
}
