//! Whether a pod is injected, and which of its containers are traced.

use picket_crds::{
    AGENT_CONTAINER, Containers, MOUNT_PATH, Mode, NativeSidecar, OptOut, ProtectionPolicySpec,
    Provider, SETUP_CONTAINER, annotations, labels,
};
use serde_json::Value;

use super::Context;
use super::argv::{self, Argv};
use super::commands;
use super::datadog;
use super::shape::{self, CONTAINER_LISTS};
use super::strip::{entries, strip};
use crate::entrypoint::{ImageConfig, Platform};
use crate::glob;
use crate::policy::{Selection, select};
use crate::reason::Reason;
use crate::report::{ContainerReport, Decision, ImageReport, Note, PolicyReport, Report};
use crate::settings::Settings;
use crate::status::{AgentKind, Status};
use crate::suspension::fingerprint;

/// A pod that will be injected.
pub(super) struct Injection<'a> {
    /// The pod without anything of ours.
    pub(super) pod: Value,
    /// What its annotation said before.
    pub(super) claimed: Option<Status>,
    /// Our containers as they were in it: setup and agent.
    pub(super) before: [Option<Value>; 2],
    /// The policies.
    pub(super) selection: Selection<'a>,
    /// Whether it runs on Fargate.
    pub(super) fargate: bool,
    /// How the agent runs.
    pub(super) agent: AgentKind,
    /// Uids that images run as.
    pub(super) image_uids: Vec<u32>,
    /// What was decided so far: policy, workload, containers, notes.
    pub(super) report: Report,
}

/// Decides about a pod. A pod that is not injected gives the report that says why.
pub(super) fn decide<'a>(pod: &Value, context: &Context<'a>) -> Result<Injection<'a>, Box<Report>> {
    let skip = |reason| Err(Box::new(Report::of(reason)));
    if !context.settings.enabled {
        return skip(Reason::InjectionDisabled);
    }
    if [Settings::SYSTEM_NAMESPACE, &context.settings.own_namespace].contains(&context.namespace) {
        return skip(Reason::NamespaceExcluded);
    }
    if let Err(fault) = shape::check(pod) {
        return Err(Box::new(Report {
            detail: Some(fault.to_string()),
            ..Report::of(Reason::Malformed)
        }));
    }
    if pod["metadata"]["annotations"]
        .get(annotations::MIRROR)
        .is_some()
    {
        return skip(Reason::MirrorPod);
    }
    if runs_on_windows(pod) {
        return skip(Reason::WindowsPod);
    }
    let label = |key: &str| pod["metadata"]["labels"][key].as_str();
    let fargate = context
        .fargate
        .unwrap_or_else(|| label(labels::FARGATE_PROFILE).is_some());
    let policies = context.policies.iter().map(AsRef::as_ref);
    let namespace = (context.namespace, context.facts);
    let selection = match select(policies, namespace, label, fargate) {
        Ok(selection) => selection,
        Err(reason) => return skip(reason),
    };
    let mut report = Report::of(Reason::Injected);
    report.policy = Some(policy_report(&selection));
    report.workload = Some(
        context
            .workload
            .map_or_else(|| workload(pod), str::to_owned),
    );
    let skip = |report: Report, reason| Err(Box::new(Report { reason, ..report }));
    if selection.winner.spec.mode == Mode::Disabled {
        return skip(report, Reason::PolicyDisabled);
    }
    match label(labels::BREAK_GLASS).filter(|why| !why.is_empty()) {
        Some(why) if context.settings.break_glass => {
            report.detail = Some(why.to_owned());
            return skip(report, Reason::BreakGlass);
        }
        Some(_) => report.notes.push(Note::BreakGlassIgnored),
        None => {}
    }
    if label(labels::PROTECT) == Some("false") {
        match selection.winner.spec.opt_out {
            OptOut::Allowed => return skip(report, Reason::OptedOut),
            OptOut::Audited => return skip(report, Reason::OptedOutAudited),
            OptOut::Forbidden => report.notes.push(Note::OptOutForbidden),
        }
    }
    if let Some(suspension) = context.suspension
        && suspension.holds_for == fingerprint(context.settings, selection.winner)
    {
        report.detail = Some(suspension.message.clone());
        return skip(report, Reason::InjectionSuspended);
    }
    let claimed = Status::of(pod);
    let before = [SETUP_CONTAINER, AGENT_CONTAINER].map(|name| container(pod, name).cloned());
    let baked = argv::baked(pod, claimed.as_ref());
    let mut pod = pod.clone();
    if let Err(conflict) = strip(&mut pod) {
        return skip(report, conflict);
    }
    let spec = &selection.winner.spec;
    if spec.provider == Provider::Datadog
        && let Err(reason) = datadog::obstacle(&pod, spec, context.facts)
    {
        return skip(report, reason);
    }
    let agent = agent_kind(spec.agent.native, context.settings.native_sidecars);
    if agent == AgentKind::Container && is_meant_to_end(&pod) {
        return skip(report, Reason::SidecarWouldBlockEnd);
    }
    let source = argv::ImageSource {
        images: context.images,
        platform: Platform::of_pod(&pod),
        baked: &baked,
        entrypoint: &spec.entrypoint,
    };
    let mut image_uids = Vec::new();
    for list in CONTAINER_LISTS {
        for container in entries(&pod["spec"], list) {
            let init = list == "initContainers";
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let resolved = traced(container, init, &spec.containers)
                .map_err(argv::Unknown::because)
                .and_then(|()| argv::resolve(container, &source));
            let mut entry = ContainerReport {
                name,
                init,
                decision: Decision::Skipped {
                    reason: Reason::EntrypointUnresolved,
                },
                detail: None,
                image: None,
            };
            match resolved {
                Ok(Argv {
                    words,
                    source,
                    image,
                    wanted,
                }) => {
                    report.wanted.extend(wanted);
                    commands::note_gaps(container, &entry.name, &spec.coverage, &mut report.notes);
                    note_setuid(container, &entry.name, &mut report.notes);
                    image_uids.extend(image.as_ref().and_then(|image| image.uid()));
                    entry.image = image.map(|image| image_report(&image, container, spec));
                    entry.decision = Decision::Traced {
                        argv: words,
                        source,
                    };
                }
                Err(unknown) => {
                    report.wanted.extend(unknown.wanted);
                    entry.detail = unknown.detail;
                    entry.decision = Decision::Skipped {
                        reason: unknown.reason,
                    };
                }
            }
            report.containers.push(entry);
        }
    }
    report.wanted.sort();
    report.wanted.dedup();
    let failure = report.failed_containers().next().map(|(_, reason)| reason);
    let any = report
        .containers
        .iter()
        .any(|container| matches!(container.decision, Decision::Traced { .. }));
    match (any, failure) {
        (false, Some(failure)) => {
            let of_failed = report.containers.iter().find_map(|container| {
                let detail = container.detail.as_ref()?;
                Some(format!("container {}: {detail}", container.name))
            });
            report.detail = of_failed;
            return skip(report, failure);
        }
        (false, None) => return skip(report, Reason::NoContainerSelected),
        (true, Some(_)) => report.reason = Reason::PartlyInjected,
        (true, None) => {}
    }
    Ok(Injection {
        pod,
        claimed,
        before,
        selection,
        fargate,
        agent,
        image_uids,
        report,
    })
}

fn container<'p>(pod: &'p Value, name: &str) -> Option<&'p Value> {
    let mut containers = CONTAINER_LISTS
        .into_iter()
        .flat_map(|list| entries(&pod["spec"], list));
    containers.find(|container| container["name"] == name)
}

pub(super) fn policy_report(selection: &Selection<'_>) -> PolicyReport {
    PolicyReport {
        winner: selection.winner.key(),
        losers: selection.losers.iter().map(|policy| policy.key()).collect(),
        mode: selection.winner.spec.mode,
        provider: selection.winner.spec.provider,
        rule_sets: selection.rule_sets.clone(),
        on_inject_failure: selection.winner.spec.on_inject_failure,
        on_entrypoint_failure: selection.winner.spec.entrypoint.on_failure,
    }
}

fn runs_on_windows(pod: &Value) -> bool {
    let selector = &pod["spec"]["nodeSelector"];
    pod["spec"]["os"]["name"] == "windows"
        || selector["kubernetes.io/os"] == "windows"
        || selector["beta.kubernetes.io/os"] == "windows"
}

/// A pod that is not restarted for ever ends when its containers do.
fn is_meant_to_end(pod: &Value) -> bool {
    pod["spec"]["restartPolicy"]
        .as_str()
        .is_some_and(|policy| policy != "Always")
}

fn agent_kind(native: NativeSidecar, cluster_has_them: bool) -> AgentKind {
    match native {
        NativeSidecar::Always => AgentKind::NativeSidecar,
        NativeSidecar::Auto if cluster_has_them => AgentKind::NativeSidecar,
        NativeSidecar::Auto | NativeSidecar::Never => AgentKind::Container,
    }
}

/// `Kind/name` of the workload: the controller, or the Deployment behind a ReplicaSet. Kubelet
/// fills in the name of a pod that nobody controls, because with `generateName` it is not
/// known yet.
fn workload(pod: &Value) -> String {
    let metadata = &pod["metadata"];
    let Some(owner) =
        entries(metadata, "ownerReferences").find(|owner| owner["controller"] == true)
    else {
        return "Pod/$(PICKET_POD_NAME)".to_owned();
    };
    let kind = owner["kind"].as_str().unwrap_or_default();
    let name = owner["name"].as_str().unwrap_or_default();
    let hash = metadata["labels"]["pod-template-hash"].as_str();
    let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
    match deployment {
        Some(deployment) if kind == "ReplicaSet" => format!("Deployment/{deployment}"),
        _ => format!("{kind}/{name}"),
    }
}

/// What is told of the image that said what a container runs.
pub(super) fn image_report(
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

fn note_setuid(container: &Value, name: &str, notes: &mut Vec<Note>) {
    if container["securityContext"]["allowPrivilegeEscalation"] != false {
        notes.push(Note::SetuidPrograms {
            container: name.to_owned(),
        });
    }
}
