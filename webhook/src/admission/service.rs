//! A review in, an answer out.

use std::sync::Arc;

use json_patch::PatchOperation;
use serde_json::Value;

use super::review::{Malformed, Refusal, Request, Response, text};
use super::trial::Trial;
use crate::entrypoint::Images;
use crate::namespace::Namespace;
use crate::plan::{Context, Plan, plan, plan_ephemeral, plan_exec};
use crate::policy::Policy;
use crate::reason::{Outcome, Reason};
use crate::report::{Note, Report};
use crate::sessions::{Issue, RunningPod, User};
use crate::settings::Settings;
use crate::suspension::Suspension;

/// Which entry of the webhook configuration asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// The one that never stands in the way.
    Ignore,
    /// The one for namespaces that the platform labelled for enforcement.
    Enforce,
}

impl Entry {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Enforce => "enforce",
        }
    }
}

/// A decision, for metrics, logs and events.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// Which entry asked.
    pub entry: Entry,
    /// The namespace of the pod.
    pub namespace: String,
    /// The pod's name, or the beginning of it (`generateName`).
    pub name: String,
    /// True when `name` is only the beginning.
    pub generated_name: bool,
    /// The pod's uid; there is none before it is created.
    pub uid: Option<String>,
    /// The reference to the object that controls the pod, as the pod has it.
    pub controller: Option<Value>,
    /// True when nothing will be stored: then nothing may be recorded anywhere either.
    pub dry_run: bool,
    /// False when the pod was refused.
    pub allowed: bool,
    /// Who runs a command in the pod, if that is what was asked about.
    pub command: Option<CommandRun>,
    /// What was decided.
    pub report: Report,
}

/// A command that somebody runs in a running pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRun {
    /// The caller's name.
    pub username: String,
    /// The container that was named; empty for the pod's only one.
    pub container: String,
}

/// Takes note of decisions, for example as events on the workload. Not asked on dry runs.
pub trait Recorder: Send + Sync + 'static {
    /// Must not block: the API server waits.
    fn record(&self, decided: &Decided);
}

/// What an answer is made from besides the request.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The policies there are.
    pub policies: &'a [Arc<Policy>],
    /// What is known about the request's namespace.
    pub facts: &'a Namespace,
    /// What the installation decides.
    pub settings: &'a Settings,
    /// What is known about images.
    pub images: &'a Images,
    /// Set while injection is suspended for the pod's workload.
    pub suspension: Option<&'a Suspension>,
}

impl<'a> Known<'a> {
    fn context(&self, namespace: &'a str) -> Context<'a> {
        Context {
            namespace,
            facts: self.facts,
            policies: self.policies,
            settings: self.settings,
            workload: None,
            fargate: None,
            images: self.images,
            suspension: self.suspension,
        }
    }
}

/// Answers a request. Images that would have to be known for a better answer are in the
/// decision's [`Report::wanted`].
///
/// # Errors
/// [`Malformed`] when the answer cannot be written.
pub fn answer(
    request: &Request,
    entry: Entry,
    known: &Known<'_>,
) -> Result<(Response, Decided), Malformed> {
    let pod = &request.object;
    let metadata = &pod["metadata"];
    let namespace = request.namespace();
    let context = known.context(&namespace);
    let trial = Trial::of(request);
    let Plan { operations, report } = if let Some(trial) = trial {
        trial.plan(pod, &context)
    } else if request.creates_a_pod() {
        plan(pod, &context)
    } else if request.adds_ephemeral_containers() {
        plan_ephemeral(pod, &request.old_object, &context)
    } else {
        Plan {
            operations: Vec::new(),
            report: Report::of(Reason::NotAPodCreation),
        }
    };
    let controller = controller(pod);
    // A trial wants to be told, not refused.
    let refused = entry == Entry::Enforce && trial.is_none() && report.wants_refusal();
    let mut response = match refused {
        true => Response {
            allowed: false,
            status: Some(Refusal {
                code: 403,
                message: format!("picket: {}", report.summary()),
            }),
            ..Response::allowed(request.uid.clone())
        },
        false => patched(request, &operations)?,
    };
    if controller.is_none() && response.allowed {
        response.warnings = warnings(&report);
    }
    response.audit_annotations = audit(&report);
    let name = request
        .name
        .clone()
        .filter(|name| !name.is_empty())
        .or_else(|| text(&metadata["name"]));
    let decided = Decided {
        entry,
        namespace,
        generated_name: name.is_none(),
        name: name
            .or_else(|| text(&metadata["generateName"]))
            .unwrap_or_default(),
        uid: text(&metadata["uid"]),
        controller,
        dry_run: request.dry_run.unwrap_or(false),
        allowed: response.allowed,
        command: None,
        report,
    };
    Ok((response, decided))
}

/// Answers whether a command may run in a pod, which it always may, traced or not.
///
/// # Errors
/// [`Malformed`] when the answer cannot be written.
pub fn answer_exec(
    request: &Request,
    user: &User,
    pod: Option<&RunningPod>,
    issue: Issue<'_>,
    entry: Entry,
    known: &Known<'_>,
) -> Result<(Response, Decided), Malformed> {
    let namespace = request.namespace();
    let context = known.context(&namespace);
    let Plan { operations, report } = plan_exec(&request.object, pod, issue, &context);
    let mut response = patched(request, &operations)?;
    response.audit_annotations = audit(&report);
    let decided = Decided {
        entry,
        generated_name: false,
        name: request.name.clone().unwrap_or_default(),
        uid: pod.map(|pod| pod.uid.clone()),
        controller: None,
        dry_run: request.dry_run.unwrap_or(false),
        allowed: true,
        command: Some(CommandRun {
            username: user.username.clone(),
            container: text(&request.object["container"]).unwrap_or_default(),
        }),
        report,
        namespace,
    };
    Ok((response, decided))
}

fn patched(request: &Request, operations: &[PatchOperation]) -> Result<Response, Malformed> {
    // Operations are JSON to begin with, so writing them cannot fail; if it did, the API server
    // would do what this entry's failure policy says.
    Response::allowed(request.uid.clone())
        .with_patch(operations)
        .map_err(|error| Malformed {
            path: "request.object".into(),
            message: error.to_string(),
        })
}

/// The reference of a pod to the object that controls it.
pub(super) fn controller(pod: &Value) -> Option<Value> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    owners
        .iter()
        .find(|owner| owner["controller"] == true)
        .cloned()
}

/// What whoever creates a pod by hand should read. Warnings on pods that a controller makes
/// reach nobody.
fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let loud = [Reason::PartlyInjected, Reason::BreakGlass].contains(&report.reason);
    if report.outcome() == Outcome::Failed || loud {
        warnings.push(format!("picket: {}", report.summary()));
    }
    let worth_it = |note: &&Note| {
        matches!(
            note,
            Note::OptOutForbidden
                | Note::BreakGlassIgnored
                | Note::SetuidPrograms { .. }
                | Note::FargateSizeGrows
        )
    };
    warnings.extend(
        report
            .notes
            .iter()
            .filter(worth_it)
            .map(|note| format!("picket: {}: {note}", note.word())),
    );
    warnings
}

fn audit(report: &Report) -> std::collections::BTreeMap<&'static str, String> {
    let mut annotations = std::collections::BTreeMap::from([
        ("outcome", report.outcome().word().to_owned()),
        ("reason", report.reason.word().to_owned()),
    ]);
    if report.reason == Reason::BreakGlass
        && let Some(why) = &report.detail
    {
        annotations.insert("break-glass", why.clone());
    }
    if let Some(policy) = &report.policy {
        annotations.insert("policy", policy.winner.clone());
    }
    annotations
}
