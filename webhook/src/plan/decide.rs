//! Whether a pod is injected, and which of its containers are traced.

use picket_crds::{
    AGENT_CONTAINER, NativeSidecar, OptOut, Provider, SETUP_CONTAINER, annotations, labels,
};
use serde_json::Value;

use super::Context;
use super::argv;
use super::commands;
use super::container::{self, traced};
use super::datadog;
use super::gate;
use super::shape::{self, CONTAINER_LISTS};
use super::strip::{entries, strip};
use crate::entrypoint::Platform;
use crate::policy::Selection;
use crate::reason::Reason;
use crate::report::{Note, Report};
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
    gate::enter(context)?;
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
        return gate::skip(Reason::MirrorPod);
    }
    if runs_on_windows(pod) {
        return gate::skip(Reason::WindowsPod);
    }
    let label = |key: &str| pod["metadata"]["labels"][key].as_str();
    let fargate = context
        .fargate
        .unwrap_or_else(|| label(labels::FARGATE_PROFILE).is_some());
    let workload = context
        .workload
        .map_or_else(|| workload(pod), str::to_owned);
    let report = Report {
        workload: Some(workload),
        ..Report::of(Reason::Injected)
    };
    let (selection, mut report) = gate::selection(context, label, fargate, report)?;
    let skip = |report: Report, reason| Err(Box::new(Report { reason, ..report }));
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
    let before = [SETUP_CONTAINER, AGENT_CONTAINER].map(|name| container_named(pod, name).cloned());
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
            let resolved = traced(container, init, &spec.containers)
                .map_err(argv::Unknown::because)
                .and_then(|()| argv::resolve(container, &source));
            if let Ok(argv) = &resolved {
                let name = container["name"].as_str().unwrap_or_default();
                commands::note_gaps(container, name, &spec.coverage, &mut report.notes);
                note_setuid(container, name, &mut report.notes);
                image_uids.extend(argv.image.as_ref().and_then(|image| image.uid()));
            }
            let entry = container::report(container, init, resolved, spec, &mut report.wanted);
            report.containers.push(entry);
        }
    }
    let report = container::sum_up(report)?;
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

fn container_named<'p>(pod: &'p Value, name: &str) -> Option<&'p Value> {
    let mut containers = CONTAINER_LISTS
        .into_iter()
        .flat_map(|list| entries(&pod["spec"], list));
    containers.find(|container| container["name"] == name)
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

fn note_setuid(container: &Value, name: &str, notes: &mut Vec<Note>) {
    if container["securityContext"]["allowPrivilegeEscalation"] != false {
        notes.push(Note::SetuidPrograms {
            container: name.to_owned(),
        });
    }
}
