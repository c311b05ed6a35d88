//! What policies say of their coverage: counts, and the condition `Covered`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::ApiResource;
use kube::core::ObjectMeta;
use picket_crds::{
    ClusterProtectionPolicy, Health, InjectionVersion, Mode, PodCounts, ProtectionPolicy,
    ProtectionPolicyStatus, conditions,
};
use serde_json::json;

use super::build::{Tally, in_words};
use super::notify::Turn;
use super::reports::FIELD_MANAGER;
use crate::policies::Policies;
use crate::status::{Statement, Target};

/// What is said of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its pods.
    pub counts: PodCounts,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// Why, as one of the stable words of [`conditions`].
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
    /// The generation that this is about.
    pub generation: Option<i64>,
    /// What it has injected, and since when.
    pub injection: Option<InjectionVersion>,
}

impl Verdict {
    /// From what a policy has in all namespaces.
    #[must_use]
    pub fn of(tally: &Tally, mode: Mode, generation: Option<i64>) -> Self {
        let pods = tally.pods;
        let (status, reason, message) = if mode == Mode::Disabled {
            let message = "pods that this policy wins are left alone".to_owned();
            ("Unknown", conditions::REASON_DISABLED, message)
        } else if pods.total == 0 {
            let message = "no pod that runs is selected".to_owned();
            ("Unknown", conditions::REASON_NO_PODS, message)
        } else if tally.unhealthy > 0 {
            let message = format!(
                "{} of {} workloads lack something; pods: {}",
                tally.unhealthy,
                tally.workloads,
                in_words(&tally.gaps)
            );
            ("False", conditions::REASON_GAPS, message)
        } else if tally.progressing > 0 {
            let message = format!(
                "{} of {} workloads are starting",
                tally.progressing, tally.workloads
            );
            ("False", conditions::REASON_PROGRESSING, message)
        } else {
            let message = match in_words(&tally.gaps) {
                gaps if gaps.is_empty() => "everything that it wants is seen".to_owned(),
                gaps => format!("everything that it wants is seen; also reported: {gaps}"),
            };
            ("True", conditions::REASON_COVERED, message)
        };
        Self {
            counts: pods,
            status,
            reason,
            message,
            generation,
            injection: None,
        }
    }

    /// What it says about the health, if it says something.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        health(self.status, self.reason)
    }

    fn is_in(&self, status: &ProtectionPolicyStatus) -> bool {
        let said = covered(status);
        status.coverage == Some(self.counts)
            && status.injection == self.injection
            && said.is_some_and(|said| {
                said.status == self.status
                    && said.reason == self.reason
                    && said.message == self.message
                    && said.observed_generation == self.generation
            })
    }
}

fn health(status: &str, reason: &str) -> Option<Health> {
    match (status, reason) {
        ("True", _) => Some(Health::Healthy),
        ("False", conditions::REASON_GAPS) => Some(Health::Unhealthy),
        _ => None,
    }
}

fn covered(status: &ProtectionPolicyStatus) -> Option<&Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.type_ == conditions::COVERED)
}

/// What was said of policies last, by uid.
#[derive(Default)]
pub struct Said(BTreeMap<String, (Verdict, Option<Health>)>);

impl Said {
    /// Says what is new of every policy that has been assessed; returns who turned, and whether
    /// everything could be written.
    pub async fn say(
        &mut self,
        client: &Client,
        policies: &Policies,
        tallies: &BTreeMap<String, Tally>,
        versions: &Versions,
    ) -> (Vec<Turn>, bool) {
        let mut turns = Vec::new();
        let mut complete = true;
        let mut living = Vec::new();
        for seen in all(policies) {
            let uid = seen.metadata.uid.clone().unwrap_or_default();
            living.push(uid.clone());
            let status = seen.status.cloned().unwrap_or_default();
            let accepted = |condition: &Condition| condition.type_ == conditions::ACCEPTED;
            // The first condition is for the status writer to set: people read it first.
            if !status.conditions.iter().any(accepted) {
                continue;
            }
            let nothing = Tally::default();
            let tally = tallies.get(&seen.key).unwrap_or(&nothing);
            let verdict = Verdict {
                injection: versions.get(&seen.key).cloned(),
                ..Verdict::of(tally, seen.mode, seen.metadata.generation)
            };
            let known = self.0.get(&uid);
            let before = match known {
                Some((said, _)) if *said == verdict => continue,
                Some((_, health)) => *health,
                None => covered(&status).and_then(|said| health(&said.status, &said.reason)),
            };
            if (known.is_some() || !verdict.is_in(&status))
                && write(client, &seen, &verdict, &status).await.is_err()
            {
                complete = false;
                continue;
            }
            let now = verdict.health();
            if let Some(to) = now.filter(|now| Some(*now) != before) {
                turns.push(seen.turn(before, to, &verdict));
            }
            self.0.insert(uid, (verdict, now.or(before)));
        }
        self.0.retain(|uid, _| living.contains(uid));
        (turns, complete)
    }
}

/// What each policy has injected, and since when, by its key.
pub type Versions = BTreeMap<String, InjectionVersion>;

/// The versions of all policies, after `before`. One that is seen for the first time is as old as
/// what its status says, or as the policy itself.
#[must_use]
pub fn versions(policies: &Policies, before: &Versions, now: i64) -> Versions {
    let version = |seen: Seen<'_>| {
        let written = seen.status.and_then(|status| status.injection.as_ref());
        let since = match before.get(&seen.key).or(written) {
            Some(known) if known.hash == seen.hash => known.since,
            Some(_) => now,
            None => {
                let created = seen.metadata.creation_timestamp.as_ref();
                created.map_or(now, |created| created.0.as_second())
            }
        };
        let hash = seen.hash;
        (seen.key, InjectionVersion { hash, since })
    };
    all(policies).into_iter().map(version).collect()
}

/// A policy of either kind.
struct Seen<'a> {
    hash: String,
    resource: ApiResource,
    key: String,
    metadata: &'a ObjectMeta,
    status: Option<&'a ProtectionPolicyStatus>,
    mode: Mode,
}

impl Seen<'_> {
    fn turn(&self, from: Option<Health>, to: Health, verdict: &Verdict) -> Turn {
        Turn {
            object: ObjectReference {
                api_version: Some(self.resource.api_version.clone()),
                kind: Some(self.resource.kind.clone()),
                name: self.metadata.name.clone(),
                namespace: self.metadata.namespace.clone(),
                uid: self.metadata.uid.clone(),
                ..ObjectReference::default()
            },
            from,
            to,
            policy: self.key.clone(),
            issues: match to {
                Health::Healthy => Vec::new(),
                Health::Unhealthy => vec![verdict.message.clone()],
            },
        }
    }
}

fn all(policies: &Policies) -> Vec<Seen<'_>> {
    let own = policies.valid.iter().map(|policy| Seen {
        resource: ApiResource::erase::<ProtectionPolicy>(&()),
        hash: policy.spec.injection_hash(),
        key: crate::policies::for_webhook(policy).key(),
        metadata: &policy.metadata,
        status: policy.status.as_ref(),
        mode: policy.spec.mode,
    });
    let cluster = policies.cluster.iter().map(|policy| Seen {
        resource: ApiResource::erase::<ClusterProtectionPolicy>(&()),
        hash: policy.spec.policy.injection_hash(),
        key: policy.metadata.name.clone().unwrap_or_default(),
        metadata: &policy.metadata,
        status: policy.status.as_ref(),
        mode: policy.spec.policy.mode,
    });
    own.chain(cluster).collect()
}

async fn write(
    client: &Client,
    seen: &Seen<'_>,
    verdict: &Verdict,
    before: &ProtectionPolicyStatus,
) -> kube::Result<()> {
    let name = seen.metadata.name.clone().unwrap_or_default();
    let said = Statement {
        type_: conditions::COVERED,
        status: verdict.status,
        reason: verdict.reason.to_owned(),
        message: verdict.message.clone(),
    };
    let condition = said.condition(verdict.generation, &before.conditions, Timestamp::now());
    let policy = Target {
        resource: &seen.resource,
        namespace: seen.metadata.namespace.as_deref(),
        name: &name,
        uid: seen.metadata.uid.as_deref(),
    };
    let status = json!({
        "conditions": [condition],
        "coverage": verdict.counts,
        "injection": verdict.injection,
    });
    match policy.apply(client, FIELD_MANAGER, &status).await {
        // It is gone, or another one has its name: the watch will say so.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other,
    }
}
