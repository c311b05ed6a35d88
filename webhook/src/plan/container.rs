//! What is decided about one container, be it of the pod or added to it.

use picket_crds::{Containers, MOUNT_PATH, ProtectionPolicySpec, VOLUME};
use serde_json::{Value, json};

use super::argv::{Argv, Unknown};
use super::build::insert;
use super::strip::entries;
use crate::entrypoint::{ImageConfig, Wanted};
use crate::glob;
use crate::reason::Reason;
use crate::report::{ContainerReport, Decision, ImageReport, Report};

/// Whether a container is meant to be traced and can be, as far as its own fields say.
pub(super) fn traced(container: &Value, init: bool, containers: &Containers) -> Result<(), Reason> {
    let Containers {
        include,
        exclude,
        init_containers,
    } = containers;
    let name = container["name"].as_str().unwrap_or_default();
    let named = |globs: &[String]| globs.iter().any(|pattern| glob::matches(pattern, name));
    if named(exclude) {
        return Err(Reason::Excluded);
    }
    if !include.is_empty() && !named(include) {
        return Err(Reason::NotIncluded);
    }
    if init && !init_containers {
        return Err(Reason::InitContainersExcluded);
    }
    if takes_our_path(container) {
        return Err(Reason::MountConflict);
    }
    Ok(())
}

/// Something at our path, or below it, where a read-only mount of ours would leave no place
/// for it.
fn takes_our_path(container: &Value) -> bool {
    let mounts = entries(container, "volumeMounts").map(|mount| &mount["mountPath"]);
    let devices = entries(container, "volumeDevices").map(|device| &device["devicePath"]);
    mounts.chain(devices).filter_map(Value::as_str).any(|path| {
        let mut parts = path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".");
        parts.next() == MOUNT_PATH.strip_prefix('/')
    })
}

/// What is told of a container once it is known what it runs, or that it is not. Images that
/// have to be known for a better answer are added to `wanted`.
pub(super) fn report(
    container: &Value,
    init: bool,
    resolved: Result<Argv, Unknown>,
    spec: &ProtectionPolicySpec,
    wanted: &mut Vec<Wanted>,
) -> ContainerReport {
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    match resolved {
        Ok(argv) => {
            wanted.extend(argv.wanted);
            ContainerReport {
                name,
                init,
                image: argv
                    .image
                    .map(|image| image_report(&image, container, spec)),
                decision: Decision::Traced {
                    argv: argv.words,
                    source: argv.source,
                },
                detail: None,
            }
        }
        Err(unknown) => {
            wanted.extend(unknown.wanted);
            ContainerReport {
                name,
                init,
                image: None,
                decision: Decision::Skipped {
                    reason: unknown.reason,
                },
                detail: unknown.detail,
            }
        }
    }
}

/// What is told of the image that said what a container runs.
fn image_report(
    image: &ImageConfig,
    container: &Value,
    spec: &ProtectionPolicySpec,
) -> ImageReport {
    let has_digest = container["image"]
        .as_str()
        .is_some_and(|image| image.contains('@'));
    ImageReport {
        digest: image.digest.clone(),
        pinned: spec.entrypoint.pin_digest && !has_digest && !image.digest.is_empty(),
        user: image.user.clone(),
        working_dir: image.working_dir.clone(),
        stop_signal: image.stop_signal.clone(),
        path: image.path.clone(),
    }
}

/// Sums up what became of the containers: the report is of one that is injected, in part or as a
/// whole.
///
/// # Errors
/// The report that says why none is traced.
pub(super) fn sum_up(mut report: Report) -> Result<Report, Box<Report>> {
    report.wanted.sort();
    report.wanted.dedup();
    let failure = report.failed_containers().next().map(|(_, reason)| reason);
    let is_traced = |entry: &ContainerReport| matches!(entry.decision, Decision::Traced { .. });
    report.reason = match (report.containers.iter().any(is_traced), failure) {
        (true, None) => Reason::Injected,
        (true, Some(_)) => Reason::PartlyInjected,
        (false, None) => Reason::NoContainerSelected,
        (false, Some(failure)) => {
            report.detail = report.containers.iter().find_map(|container| {
                let detail = container.detail.as_ref()?;
                Some(format!("container {}: {detail}", container.name))
            });
            failure
        }
    };
    match report.reason {
        Reason::Injected | Reason::PartlyInjected => Ok(report),
        _ => Err(Box::new(report)),
    }
}

/// Puts the tracer before what the container runs; its volume has to be mounted too.
pub(super) fn trace(container: &mut Value, tracer: Vec<String>, argv: &[String]) {
    container["command"] = tracer.into();
    container["args"] = argv.into();
}

/// Mounts the volume with the tracer.
pub(super) fn mount(container: &mut Value) {
    let mount = json!({"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": true});
    insert(container, "volumeMounts", None, mount);
}
