//! Rows to CoverageReports of a bounded size, and those to the API server.

use std::collections::BTreeMap;
use std::hash::Hasher;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use picket_crds::{
    CoverageReport, CoverageReportStatus, CoverageState, REPORT_NAME, WorkloadCoverage,
};
use serde_json::json;
use tracing::debug;

use super::build::summary;

/// The field manager that owns reports and what policies say of coverage.
pub const FIELD_MANAGER: &str = "picket-coverage";
/// Most rows of a report: each takes 8 KiB at most (usually one), and an object has to stay well
/// under the 1.5 MiB that etcd takes.
const ROWS: usize = 150;
/// Most reports of a namespace; what is beyond is counted.
const REPORTS: usize = 64;
/// Reports that are read at once when the lead is taken.
const PAGE: u32 = 50;

/// The reports of a namespace, by name. Rows stay in their report while their number does not
/// double or halve, so that a change of one is a change of one report.
#[must_use]
pub fn reports(mut rows: Vec<WorkloadCoverage>) -> BTreeMap<String, CoverageReportStatus> {
    if rows.is_empty() {
        return BTreeMap::new();
    }
    let count = rows.len().div_ceil(ROWS).next_power_of_two().min(REPORTS);
    let whole = summary(&rows);
    // What is wrong first: if anything is left out, then what is not.
    rows.sort_by(|a, b| (a.state, &a.kind, &a.name).cmp(&(b.state, &b.kind, &b.name)));
    let mut buckets: Vec<Vec<WorkloadCoverage>> = vec![Vec::new(); count];
    let mut omitted = vec![0; count];
    for row in rows {
        let bucket = usize::try_from(place(&row) % count as u64).unwrap_or(0);
        // Chance fills some buckets more than others.
        if buckets[bucket].len() < 2 * ROWS {
            buckets[bucket].push(row);
        } else {
            omitted[bucket] += 1;
        }
    }
    let named = buckets.into_iter().zip(omitted).enumerate();
    named
        .map(|(index, (mut rows, omitted))| {
            rows.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
            let name = match count {
                1 => REPORT_NAME.to_owned(),
                _ => format!("{REPORT_NAME}-{index}"),
            };
            let summary = match count {
                1 => whole.clone(),
                _ => summary(&rows),
            };
            let status = CoverageReportStatus {
                updated: String::new(),
                summary,
                workloads: rows,
                omitted,
            };
            (name, status)
        })
        .collect()
}

/// The same number for the same workload, whoever computes it (FNV-1a).
fn place(row: &WorkloadCoverage) -> u64 {
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    hasher.write(row.kind.as_bytes());
    hasher.write(b"/");
    hasher.write(row.name.as_bytes());
    hasher.finish()
}

/// The reports as they were written last, by namespace and name.
#[derive(Default)]
pub struct Written(BTreeMap<String, BTreeMap<String, CoverageReportStatus>>);

impl Written {
    /// What the API server has.
    ///
    /// # Errors
    /// What it answered.
    pub async fn read(client: &Client) -> kube::Result<Self> {
        let api: Api<CoverageReport> = Api::all(client.clone());
        let mut parameters = ListParams::default().limit(PAGE);
        let mut written = Self::default();
        loop {
            let page = api.list(&parameters).await?;
            for report in page.items {
                let namespace = report.namespace().unwrap_or_default();
                let of_namespace = written.0.entry(namespace).or_default();
                of_namespace.insert(report.name_any(), report.status.unwrap_or_default());
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(written),
            }
        }
    }

    /// The namespaces that have reports.
    pub fn namespaces(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// The row of a workload as it was written last.
    #[must_use]
    pub fn row(&self, namespace: &str, kind: &str, name: &str) -> Option<&WorkloadCoverage> {
        let mut rows = self
            .0
            .get(namespace)?
            .values()
            .flat_map(|report| &report.workloads);
        rows.find(|row| row.kind == kind && row.name == name)
    }

    /// The rows of a namespace as they were written last, by kind and name.
    #[must_use]
    pub fn rows(&self, namespace: &str) -> BTreeMap<(&str, &str), &WorkloadCoverage> {
        let reports = self.0.get(namespace).into_iter().flatten();
        reports
            .flat_map(|(_, report)| &report.workloads)
            .map(|row| ((row.kind.as_str(), row.name.as_str()), row))
            .collect()
    }

    /// Writes what differs from what was written last, and deletes reports that are not wanted
    /// any more. Those that are new belong to `owner`. Returns how many were written.
    ///
    /// # Errors
    /// The first fault; what was written before it stays written.
    pub async fn write(
        &mut self,
        client: &Client,
        namespace: &str,
        wanted: BTreeMap<String, CoverageReportStatus>,
        owner: Option<&OwnerReference>,
    ) -> kube::Result<usize> {
        let api: Api<CoverageReport> = Api::namespaced(client.clone(), namespace);
        let known = self.0.entry(namespace.to_owned()).or_default();
        let surplus: Vec<String> = known
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        let mut count = 0;
        for (name, mut status) in wanted {
            let before = known.get(&name);
            if let Some(before) = before {
                status.updated.clone_from(&before.updated);
                if *before == status {
                    continue;
                }
            }
            status.updated = Timestamp::now().to_string();
            apply(&api, &name, &status, owner, before.is_none()).await?;
            known.insert(name, status);
            count += 1;
        }
        for name in surplus {
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => count += 1,
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
            known.remove(&name);
        }
        if known.is_empty() {
            self.0.remove(namespace);
        }
        Ok(count)
    }

    /// Forgets a namespace that is gone; its reports went with it.
    pub fn forget(&mut self, namespace: &str) {
        self.0.remove(namespace);
    }

    /// Forgets what was written, so that it is written again.
    pub fn doubt(&mut self, namespace: &str) {
        for status in self.0.get_mut(namespace).into_iter().flatten() {
            status.1.updated.clear();
            status.1.summary.workloads = u32::MAX;
        }
    }
}

async fn apply(
    api: &Api<CoverageReport>,
    name: &str,
    status: &CoverageReportStatus,
    owner: Option<&OwnerReference>,
    create: bool,
) -> kube::Result<()> {
    let resource = ApiResource::erase::<CoverageReport>(&());
    let mut object = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name},
        "spec": {},
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    if create {
        // A report that nobody keeps true would say what is not so.
        object["metadata"]["ownerReferences"] = json!(owner.as_slice());
        api.patch(name, &parameters, &Patch::Apply(&object)).await?;
    }
    object["metadata"] = json!({"name": name});
    object["status"] = json!(status);
    let written = api
        .patch_status(name, &parameters, &Patch::Apply(&object))
        .await;
    match written {
        Err(kube::Error::Api(fault)) if fault.code == 404 && !create => {
            debug!(name, "somebody deleted a report");
            Box::pin(apply(api, name, status, owner, true)).await
        }
        other => other.map(drop),
    }
}

/// Whether a row says that a policy wants its workload protected.
#[must_use]
pub fn is_selected(row: &WorkloadCoverage) -> bool {
    row.state != CoverageState::Unselected
}
