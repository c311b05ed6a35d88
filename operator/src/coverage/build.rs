//! What is protected in a namespace: pods to rows, and rows to a summary. Without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_crds::{
    Capacity, ContainerCoverage, CoverageState, CoverageSummary, Gap, Mode, OptOut, PodCounts,
    RulesInUse, WorkloadCoverage, WorkloadGap, labels,
};
use picket_webhook::policy::select;
use picket_webhook::reason::Reason;
use picket_webhook::{Namespace, Policy};

use super::pod::{Around, Assessed, Beat, FRESH_SECONDS, assess};
use crate::pods::{Owner, PodFacts};

/// Most entries of each list of a row.
const ENTRIES: usize = 32;

/// What is known of a namespace.
pub struct Input<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub namespace: &'a Namespace,
    /// Its pods.
    pub pods: &'a [Arc<PodFacts>],
    /// All policies.
    pub policies: &'a [Policy],
    /// Since when a policy injects as it does now, by its key, in seconds since 1970.
    pub policy_since: &'a dyn Fn(&str) -> i64,
    /// The workload that a pod belongs to.
    pub workload: &'a dyn Fn(&PodFacts) -> Owner,
    /// What a pod's agent said last.
    pub beat: &'a dyn Fn(&str) -> Option<BeatOwned>,
    /// Why injection is suspended for a workload, by uid.
    pub suspended: &'a dyn Fn(&Owner, &PodFacts) -> Option<String>,
    /// Since when agents can reach the relay.
    pub relay_since: Option<i64>,
    /// Version of what is injected now.
    pub revision: &'a str,
    /// Now, in seconds since 1970.
    pub now: i64,
}

/// What an agent said last, kept alive while it is looked at.
pub struct BeatOwned {
    /// What it said.
    pub received: Arc<crate::relay::heartbeats::Received>,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// What is protected in a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamespaceCoverage {
    /// A row for each workload, by kind and name.
    pub rows: Vec<(Owner, WorkloadCoverage)>,
    /// What each policy has in this namespace.
    pub policies: BTreeMap<String, Tally>,
    /// When it has to be built again though nothing changes, in seconds since 1970.
    pub next: Option<i64>,
}

/// What a policy has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The pods that it wins.
    pub pods: PodCounts,
    /// How many workloads.
    pub workloads: u32,
    /// How many of them are Unhealthy.
    pub unhealthy: u32,
    /// How many of them are starting.
    pub progressing: u32,
    /// Pods with each gap.
    pub gaps: BTreeMap<Gap, u32>,
}

impl Tally {
    /// Adds what the policy has elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.pods.add(other.pods);
        self.workloads += other.workloads;
        self.unhealthy += other.unhealthy;
        self.progressing += other.progressing;
        for (gap, pods) in &other.gaps {
            *self.gaps.entry(*gap).or_default() += pods;
        }
    }
}

/// The policy that wants a pod protected.
///
/// # Errors
/// Why none does, in the webhook's words.
pub fn wanted_by<'a>(
    pod: &PodFacts,
    policies: &'a [Policy],
    namespace: &Namespace,
) -> Result<&'a Policy, Reason> {
    let label = |key: &str| pod.labels.get(key).map(String::as_str);
    if pod
        .owner
        .as_ref()
        .is_some_and(|owner| &*owner.kind == "Node")
    {
        return Err(Reason::MirrorPod);
    }
    let place = (&*pod.namespace, namespace);
    let winner = select(policies, place, label, pod.is_on_fargate())?.winner;
    if winner.spec.mode == Mode::Disabled {
        return Err(Reason::PolicyDisabled);
    }
    match (label(labels::PROTECT), winner.spec.opt_out) {
        (Some("false"), OptOut::Allowed) => Err(Reason::OptedOut),
        (Some("false"), OptOut::Audited) => Err(Reason::OptedOutAudited),
        _ => Ok(winner),
    }
}

/// Builds what is protected in a namespace. One that no policy is for has no rows.
#[must_use]
pub fn build(input: &Input<'_>) -> NamespaceCoverage {
    let mut built = NamespaceCoverage::default();
    let meant = |policy: &Policy| policy.is_for(input.name, input.namespace);
    if !input.policies.iter().any(meant) {
        return built;
    }
    let policies: Vec<Policy> = input
        .policies
        .iter()
        .filter(|p| meant(p))
        .cloned()
        .collect();
    let mut workloads: BTreeMap<Owner, Vec<&Arc<PodFacts>>> = BTreeMap::new();
    for pod in input.pods {
        if !pod.phase.has_ended() && !pod.deleting {
            workloads
                .entry((input.workload)(pod))
                .or_default()
                .push(pod);
        }
    }
    for (workload, mut pods) in workloads {
        // The youngest first: what it is like is where the workload is going.
        pods.sort_by_key(|pod| std::cmp::Reverse((pod.created, pod.name.clone())));
        let mut row = Row::new(&workload);
        for pod in pods {
            let wanted = wanted_by(pod, &policies, input.namespace);
            row.add(pod, wanted, &workload, input);
        }
        if let Some(next) = row.next {
            built.next = Some(built.next.map_or(next, |known| known.min(next)));
        }
        let (row, tally) = row.finish();
        if let Some(policy) = &row.policy {
            built
                .policies
                .entry(policy.clone())
                .or_default()
                .add(&tally);
        }
        built.rows.push((workload, row));
    }
    built
}

/// A row while pods are added.
struct Row {
    row: WorkloadCoverage,
    first: bool,
    starting: bool,
    gaps: BTreeMap<(Gap, Option<Box<str>>), WorkloadGap>,
    gap_pods: BTreeMap<Gap, u32>,
    containers: BTreeMap<super::pod::Traced, u32>,
    rules: BTreeMap<String, u32>,
    next: Option<i64>,
}

impl Row {
    fn new(workload: &Owner) -> Self {
        Self {
            row: WorkloadCoverage {
                kind: workload.kind.to_string(),
                name: workload.name.to_string(),
                ..WorkloadCoverage::default()
            },
            first: true,
            starting: false,
            gaps: BTreeMap::new(),
            gap_pods: BTreeMap::new(),
            containers: BTreeMap::new(),
            rules: BTreeMap::new(),
            next: None,
        }
    }

    fn add(
        &mut self,
        pod: &PodFacts,
        wanted: Result<&Policy, Reason>,
        workload: &Owner,
        input: &Input<'_>,
    ) {
        let first = std::mem::take(&mut self.first);
        let told = (input.beat)(&pod.uid).is_some_and(|beat| beat.received.heartbeat.quarantined);
        let quarantined = told || pod.quarantined_labels.is_some();
        if quarantined && self.row.quarantined.len() < ENTRIES {
            self.row.quarantined.push(pod.name.to_string());
        }
        let policy = match wanted {
            Ok(policy) => policy,
            Err(reason) => {
                if self.row.policy.is_none() {
                    self.row.reason = Some(reason.word().to_owned());
                    self.row.pods.total += 1;
                    self.row.pods.injected += u32::from(pod.is_injected());
                }
                return;
            }
        };
        if self.row.policy.is_none() {
            // Those that nobody wants protected do not count where others are.
            self.row.pods = PodCounts::default();
            self.row.reason = None;
            self.row.policy = Some(policy.key());
        }
        if first {
            self.row.capacity = capacity(pod);
        }
        let beat = (input.beat)(&pod.uid);
        let beat = beat.as_ref().map(|beat| Beat {
            heartbeat: &beat.received.heartbeat,
            at: beat.at,
        });
        let suspended = (input.suspended)(workload, pod);
        let around = Around {
            now: input.now,
            revision: input.revision,
            policy_since: (input.policy_since)(&policy.key()),
            relay_since: input.relay_since,
            beat,
            suspended: suspended.as_deref(),
        };
        let seen = assess(pod, policy, &around);
        if let Some(beat) = beat.filter(|beat| input.now - beat.at <= FRESH_SECONDS) {
            let hash = beat.heartbeat.rules.hash.clone();
            *self.rules.entry(hash).or_default() += 1;
        }
        self.count(pod, seen);
    }

    fn count(&mut self, pod: &PodFacts, seen: Assessed) {
        self.row.pods.add(PodCounts {
            total: 1,
            injected: u32::from(seen.injected),
            current: u32::from(seen.current),
            reporting: u32::from(seen.reporting),
        });
        self.starting |= seen.starting;
        let kinds: BTreeSet<Gap> = seen.gaps.iter().map(|gap| gap.gap).collect();
        for gap in kinds {
            *self.gap_pods.entry(gap).or_default() += 1;
        }
        for gap in seen.gaps {
            let entry = self.gaps.entry((gap.gap, gap.container.clone()));
            entry
                .or_insert_with(|| WorkloadGap {
                    gap: gap.gap,
                    pods: 0,
                    container: gap.container.as_deref().map(str::to_owned),
                    pod: pod.name.to_string(),
                    message: gap.message,
                })
                .pods += 1;
        }
        for container in seen.containers {
            *self.containers.entry(container).or_default() += 1;
        }
        if let Some(next) = seen.next {
            self.next = Some(self.next.map_or(next, |known| known.min(next)));
        }
    }

    fn finish(self) -> (WorkloadCoverage, Tally) {
        let mut row = self.row;
        row.state = if row.policy.is_none() {
            CoverageState::Unselected
        } else if self.gap_pods.keys().any(|gap| gap.is_unhealthy()) {
            CoverageState::Unhealthy
        } else if self.starting || row.pods.reporting < row.pods.total {
            CoverageState::Progressing
        } else {
            CoverageState::Healthy
        };
        row.gaps = self.gaps.into_values().take(ENTRIES).collect();
        row.containers = self
            .containers
            .into_iter()
            .take(ENTRIES)
            .map(|(container, pods)| ContainerCoverage {
                name: container.name.into(),
                state: container.state,
                reason: container.reason,
                argv_source: container.argv_source.map(str::to_owned),
                pods,
            })
            .collect();
        row.rules = self
            .rules
            .into_iter()
            .take(ENTRIES)
            .map(|(hash, pods)| RulesInUse { hash, pods })
            .collect();
        let tally = Tally {
            pods: row.pods,
            workloads: 1,
            unhealthy: u32::from(row.state == CoverageState::Unhealthy),
            progressing: u32::from(row.state == CoverageState::Progressing),
            gaps: self.gap_pods,
        };
        (row, tally)
    }
}

fn capacity(pod: &PodFacts) -> Option<Capacity> {
    let size = pod.status.as_ref().and_then(|status| status.fargate);
    if size.is_none() && pod.capacity_provisioned.is_none() {
        return None;
    }
    Some(Capacity {
        before: size.and_then(|size| Some(size.before?.to_string())),
        expected: size.and_then(|size| Some(size.after?.to_string())),
        provisioned: pod.capacity_provisioned.as_deref().map(str::to_owned),
    })
}

/// The summary of rows.
#[must_use]
pub fn summary<'a>(rows: impl IntoIterator<Item = &'a WorkloadCoverage>) -> CoverageSummary {
    let mut summary = CoverageSummary::default();
    let mut gaps: BTreeMap<Gap, u32> = BTreeMap::new();
    for row in rows {
        if row.state == CoverageState::Unselected {
            summary.unselected += 1;
            continue;
        }
        summary.workloads += 1;
        summary.unhealthy += u32::from(row.state == CoverageState::Unhealthy);
        summary.pods.add(row.pods);
        // The same pod may lack something of two containers; the larger number is what is sure.
        let mut of_row: BTreeMap<Gap, u32> = BTreeMap::new();
        for gap in &row.gaps {
            let known = of_row.entry(gap.gap).or_default();
            *known = gap.pods.max(*known);
        }
        for (gap, pods) in of_row {
            *gaps.entry(gap).or_default() += pods;
        }
    }
    summary.gaps = in_words(&gaps);
    let words = gaps
        .into_iter()
        .map(|(gap, pods)| (gap.word().to_owned(), pods));
    summary.gap_counts = words.collect();
    summary
}

/// `Uninjected: 2, NoHeartbeat: 1`.
#[must_use]
pub fn in_words(gaps: &BTreeMap<Gap, u32>) -> String {
    let words: Vec<String> = gaps
        .iter()
        .map(|(gap, pods)| format!("{gap}: {pods}"))
        .collect();
    words.join(", ")
}
