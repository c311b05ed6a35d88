//! `picket status`: what is protected in the cluster, what is not, and why.
//!
//! All of it is in CoverageReports and in the status of policies; this puts it on one page.

mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use picket_crds::{
    ClusterProtectionPolicy, CoverageReport, CoverageState, Mode, PodCounts, ProtectionPolicy,
    ProtectionPolicyStatus, WorkloadCoverage, conditions,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::arguments::{self, Output};
use crate::cluster::Cluster;

/// Time in which changes are gathered before they are shown.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// Exit code of `--check` when something should be seen and is not.
const UNHEALTHY: u8 = 2;

/// What is protected.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    /// Each policy.
    pub(crate) policies: Vec<PolicyLine>,
    /// Each workload.
    pub(crate) workloads: Vec<WorkloadLine>,
    /// Workloads for which reports had no room.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) omitted: u32,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyLine {
    /// Its kind.
    pub(crate) kind: &'static str,
    /// `namespace/name`; a policy of the cluster by its name alone.
    pub(crate) policy: String,
    /// Its mode.
    pub(crate) mode: Mode,
    /// Its pods.
    pub(crate) pods: PodCounts,
    /// Status of the condition `Covered`; empty while the operator has not said.
    pub(crate) covered: String,
    /// Why.
    pub(crate) message: String,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkloadLine {
    /// Its namespace.
    pub(crate) namespace: String,
    /// The row of its report.
    #[serde(flatten)]
    pub(crate) row: WorkloadCoverage,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Shows it once, or also whatever changes after that.
///
/// # Errors
/// When the cluster cannot be reached or does not answer.
pub(crate) fn status(arguments: &arguments::Status) -> anyhow::Result<ExitCode> {
    tokio::runtime::Runtime::new()
        .context("cannot start")?
        .block_on(show(arguments))
}

async fn show(arguments: &arguments::Status) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::find().await?;
    let page = read(&cluster, arguments).await?;
    let mut out = std::io::stdout();
    match arguments.output {
        Output::Table => write!(out, "{}", table::page(&page))?,
        Output::Json if arguments.watch => {
            for line in &page.workloads {
                writeln!(out, "{}", serde_json::to_string(line)?)?;
            }
        }
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&page)?)?,
    }
    if arguments.watch {
        follow(&cluster, arguments, page).await?;
    } else if arguments.check && page.is_unhealthy() {
        return Ok(ExitCode::from(UNHEALTHY));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows every row that changes, until nobody reads it.
async fn follow(
    cluster: &Cluster,
    arguments: &arguments::Status,
    mut page: Page,
) -> anyhow::Result<()> {
    let reports: Api<CoverageReport> = in_scope(&cluster.client, arguments);
    let mut events = pin!(watcher(reports, watcher::Config::default()).default_backoff());
    loop {
        match events.next().await {
            Some(Ok(_)) => {}
            // It goes on by itself once the API server is there again.
            Some(Err(error)) => {
                eprintln!("picket: status: {error}; trying again");
                continue;
            }
            None => return Ok(()),
        }
        sleep(DEBOUNCE).await;
        let Ok(now) = read(cluster, arguments).await else {
            continue;
        };
        let mut out = std::io::stdout();
        for line in now.changed_since(&page) {
            match arguments.output {
                Output::Table => write!(out, "{}", table::lines(std::iter::once(&line)))?,
                Output::Json => writeln!(out, "{}", serde_json::to_string(&line)?)?,
            }
        }
        page = now;
    }
}

fn in_scope<K>(client: &Client, arguments: &arguments::Status) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match &arguments.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

async fn read(cluster: &Cluster, arguments: &arguments::Status) -> anyhow::Result<Page> {
    let client = &cluster.client;
    let own: Vec<ProtectionPolicy> = list(cluster, in_scope(client, arguments)).await?;
    let of_cluster: Vec<ClusterProtectionPolicy> = list(cluster, Api::all(client.clone())).await?;
    let reports: Vec<CoverageReport> = list(cluster, in_scope(client, arguments)).await?;
    Ok(Page::of(&own, &of_cluster, reports).only(arguments.unhealthy))
}

async fn list<K>(cluster: &Cluster, api: Api<K>) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let what = K::plural(&()).into_owned();
    let found = api.list(&Default::default()).await;
    let found = found.map_err(|error| {
        let right = format!("list on {what} of picket.dev");
        let missing =
            "Picket is not installed there; `picket doctor --cluster` says what is missing";
        cluster.failure(error, &right, missing)
    });
    Ok(found.with_context(|| format!("cannot list {what}"))?.items)
}

impl Page {
    /// From what the API server has.
    pub(crate) fn of(
        own: &[ProtectionPolicy],
        of_cluster: &[ClusterProtectionPolicy],
        reports: Vec<CoverageReport>,
    ) -> Self {
        let mut policies: Vec<PolicyLine> = of_cluster
            .iter()
            .map(|policy| {
                let name = policy.name_any();
                let (mode, status) = (policy.spec.policy.mode, policy.status.as_ref());
                line("ClusterProtectionPolicy", name, mode, status)
            })
            .collect();
        policies.extend(own.iter().map(|policy| {
            let name = format!(
                "{}/{}",
                policy.namespace().unwrap_or_default(),
                policy.name_any()
            );
            let (mode, status) = (policy.spec.mode, policy.status.as_ref());
            line("ProtectionPolicy", name, mode, status)
        }));
        let mut page = Self {
            policies,
            ..Self::default()
        };
        for report in reports {
            let namespace = report.namespace().unwrap_or_default();
            let status = report.status.unwrap_or_default();
            page.omitted += status.omitted;
            let rows = status.workloads.into_iter();
            page.workloads.extend(rows.map(|row| WorkloadLine {
                namespace: namespace.clone(),
                row,
            }));
        }
        page.workloads.sort_by(|a, b| a.key().cmp(&b.key()));
        page
    }

    /// Only what is unhealthy, if that is asked for.
    fn only(mut self, unhealthy: bool) -> Self {
        if unhealthy {
            let is_unhealthy = |line: &WorkloadLine| line.row.state == CoverageState::Unhealthy;
            self.workloads.retain(is_unhealthy);
        }
        self
    }

    /// Whether something should be seen and is not.
    pub(crate) fn is_unhealthy(&self) -> bool {
        let mut lines = self.workloads.iter();
        lines.any(|line| line.row.state == CoverageState::Unhealthy)
    }

    /// The rows that are new or differ; one whose pods are all gone comes without any.
    pub(crate) fn changed_since(&self, before: &Self) -> Vec<WorkloadLine> {
        let known: BTreeMap<_, _> = before.workloads.iter().map(|l| (l.key(), l)).collect();
        let now: BTreeMap<_, _> = self.workloads.iter().map(|l| (l.key(), l)).collect();
        let changed = now
            .iter()
            .filter(|(key, line)| known.get(*key) != Some(*line));
        let mut lines: Vec<WorkloadLine> = changed.map(|(_, line)| (*line).clone()).collect();
        for (_, line) in known.iter().filter(|(key, _)| !now.contains_key(*key)) {
            let row = WorkloadCoverage {
                kind: line.row.kind.clone(),
                name: line.row.name.clone(),
                ..WorkloadCoverage::default()
            };
            lines.push(WorkloadLine {
                namespace: line.namespace.clone(),
                row,
            });
        }
        lines
    }
}

impl WorkloadLine {
    fn key(&self) -> (&str, &str, &str) {
        (&self.namespace, &self.row.kind, &self.row.name)
    }
}

fn line(
    kind: &'static str,
    policy: String,
    mode: Mode,
    status: Option<&ProtectionPolicyStatus>,
) -> PolicyLine {
    let conditions = status.map(|status| status.conditions.as_slice());
    let find = |type_: &str| {
        let mut conditions = conditions.unwrap_or_default().iter();
        conditions.find(|condition| condition.type_ == type_)
    };
    // What is not accepted says that first.
    let refused = find(conditions::ACCEPTED).filter(|accepted| accepted.status != "True");
    let covered = find(conditions::COVERED);
    PolicyLine {
        kind,
        policy,
        mode,
        pods: status
            .and_then(|status| status.coverage)
            .unwrap_or_default(),
        covered: covered.map_or_else(String::new, |covered| covered.status.clone()),
        message: refused
            .or(covered)
            .map_or_else(String::new, |condition| condition.message.clone()),
    }
}
