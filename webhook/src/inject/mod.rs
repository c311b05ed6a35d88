//! The same planner for manifests in files: `picket inject`, `uninject` and `explain`.
//!
//! Documents that do not change come out as they went in, byte for byte. Changed ones are
//! written anew: the order of keys stays and so do comments before the first line; comments
//! further down go.

mod documents;
mod facts;
mod policies;
mod workload;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::entrypoint::Images;
use crate::plan::{Context, desired, uninjected};
use crate::policy::Policy;
use crate::report::Report;
use crate::settings::Settings;

pub use facts::Facts;
pub use policies::{catch_all, policies_from_yaml};

/// A manifest that could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("document {document}: {message}")]
pub struct ManifestError {
    /// Which document, counted from 1.
    pub document: usize,
    /// What is wrong, with line and column where known.
    pub message: String,
}

/// What the planner knows besides the manifest.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// What the installation decides.
    pub settings: &'a Settings,
    /// The policies there are.
    pub policies: &'a [Arc<Policy>],
    /// Namespace of objects that name none.
    pub namespace: &'a str,
    /// Whether the pods will run on Fargate: `Some(true)` plans them as they will be once
    /// AWS' webhook has labelled them; `None` goes by the labels in the manifest.
    pub fargate: Option<bool>,
    /// What is known about images.
    pub images: &'a Images,
}

/// A manifest with what was decided about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Injected {
    /// The whole manifest.
    pub text: String,
    /// The manifest as it was; documents that change are written in the same way, so that the
    /// two differ in nothing but the change.
    pub before: String,
    /// One for every workload in it, in order.
    pub workloads: Vec<WorkloadReport>,
}

/// What was decided about a workload of a manifest.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadReport {
    /// Which document it is in, counted from 1.
    pub document: usize,
    /// For example `Deployment`.
    pub kind: String,
    /// Its namespace, given or assumed.
    pub namespace: String,
    /// Its name, or the beginning of it.
    pub name: String,
    /// What was decided about its pods.
    pub report: Report,
}

impl std::fmt::Display for WorkloadReport {
    /// The text of `picket explain`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} {}/{}", self.kind, self.namespace, self.name)?;
        for line in self.report.to_string().lines() {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

/// Injects every pod and pod template of a manifest (YAML or JSON, several documents, lists).
///
/// # Errors
/// [`ManifestError`] when a document is no YAML.
pub fn inject_manifest(original: &str, options: &Options<'_>) -> Result<Injected, ManifestError> {
    let mut workloads = Vec::new();
    let mut changed = BTreeSet::new();
    let namespaces = Facts::of(original)?;
    let text = documents::rewrite(original, |document, object| {
        workload::each(object, options.namespace, &mut |workload| {
            let context = Context {
                namespace: &workload.namespace,
                facts: &namespaces.about(&workload.namespace),
                policies: options.policies,
                settings: options.settings,
                workload: workload.controller.as_deref(),
                fargate: options.fargate,
                suspension: None,
                images: options.images,
            };
            let (new, report) = desired(workload.pod, &context);
            workloads.push(WorkloadReport {
                document,
                kind: workload.kind,
                namespace: workload.namespace,
                name: workload.name,
                report,
            });
            let differs = replace(workload.pod, new);
            if differs {
                changed.insert(document);
            }
            differs
        })
    })?;
    let before = documents::rewrite(original, |document, _| changed.contains(&document))?;
    Ok(Injected {
        text,
        before,
        workloads,
    })
}

/// Takes Picket out of every pod and pod template of a manifest: same meaning, same order.
/// Also says how many were changed.
///
/// # Errors
/// [`ManifestError`] when a document is no YAML.
pub fn uninject_manifest(text: &str) -> Result<(String, usize), ManifestError> {
    let mut changed = 0;
    let text = documents::rewrite(text, |_, object| {
        workload::each(object, "default", &mut |workload| {
            let original = uninjected(workload.pod);
            let differs = replace(workload.pod, original);
            changed += usize::from(differs);
            differs
        })
    })?;
    Ok((text, changed))
}

fn replace(pod: &mut Value, new: Option<Value>) -> bool {
    match new {
        Some(new) if new != *pod => {
            *pod = new;
            true
        }
        _ => false,
    }
}
