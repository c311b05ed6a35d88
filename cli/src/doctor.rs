//! `picket doctor`: what is wrong here, or in a cluster, and how to mend it.

mod diagnose;
pub(crate) mod facts;
mod fault;

use std::ffi::OsString;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use picket_events::text::counted;
use serde_json::json;

use crate::arguments::{self, Format};
use crate::cluster::{Cluster, in_words};
use fault::{Fault, Finding, Severity};

/// How long the cluster may take for all answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks at this kernel and sandbox, or at a cluster.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn doctor(arguments: &arguments::Doctor) -> anyhow::Result<ExitCode> {
    if !arguments.cluster {
        let is_json = arguments.format == Format::Json;
        let words = std::iter::once("probe").chain(is_json.then_some("--json"));
        return Ok(picket_tracer::main(words.map(OsString::from)));
    }
    let findings = tokio::runtime::Runtime::new()
        .context("cannot start")?
        .block_on(cluster(arguments));
    write(&findings, arguments.format)?;
    let is_sound = findings
        .iter()
        .all(|finding| finding.severity != Severity::Fault);
    Ok(match is_sound {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

async fn cluster(arguments: &arguments::Doctor) -> Vec<Finding> {
    let unreachable =
        |message: String| vec![Finding::new(Fault::ApiUnreachable, "the cluster", message)];
    let cluster = match Cluster::find().await {
        Ok(cluster) => cluster,
        Err(error) => return unreachable(in_words(error.as_ref())),
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let facts = facts::gather(
        &cluster.client,
        &arguments.namespace,
        &arguments.try_in,
        now,
    );
    match tokio::time::timeout(PATIENCE, facts).await {
        Ok(Ok(facts)) => diagnose::diagnose(&facts),
        Ok(Err(error)) => unreachable(format!("{}: {}", cluster.server, in_words(&error))),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            unreachable(format!("{}: no answer within {seconds} s", cluster.server))
        }
    }
}

fn write(findings: &[Finding], format: Format) -> anyhow::Result<()> {
    let faults = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Fault)
        .count();
    if format == Format::Json {
        let report = json!({"ok": faults == 0, "findings": findings});
        writeln!(stdout(), "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    for finding in findings {
        let Finding {
            severity,
            fault,
            subject,
            message,
            remedy,
        } = finding;
        writeln!(stdout(), "{severity:?} {fault:?}: {subject}: {message}")?;
        writeln!(stdout(), "    {remedy}")?;
    }
    let warnings = findings.len() - faults;
    let faults = counted(faults, "fault", "faults");
    let warnings = counted(warnings, "warning", "warnings");
    writeln!(stdout(), "{faults}, {warnings}")?;
    Ok(())
}
