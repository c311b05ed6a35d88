//! Builds the injected pod.
//!
//! Every field that the API server would fill in with a default is written out in our own
//! containers, so that a pod which comes back on re-invocation is recognised as current.

use picket_crds::{Coverage, Startup, VOLUME, annotations};
use serde_json::{Map, Value, json};

use super::Context;
use super::commands;
use super::container;
use super::decide::Injection;
use super::kit::Kit;
use super::limits;
use super::resources;
use super::shape::CONTAINER_LISTS;
use super::strip::entries;
use crate::capacity::{FargateSize, Need, Qos};
use crate::quantity;
use crate::reason::Reason;
use crate::report::{Added, ContainerReport, Decision, Note, Report};
use crate::status::{AgentKind, Change, ContainerStatus, Status};
use crate::suspension::fingerprint;

/// Builds the injected pod and completes the report.
///
/// # Errors
/// A report with [`Reason::FargateTooLarge`] when AWS would run the pod, but not the injected
/// one, and with [`Reason::QuotaWouldRefuse`] when the namespace would refuse the injected one.
pub(super) fn build(
    injection: Injection<'_>,
    context: &Context<'_>,
) -> Result<(Value, Report), Box<Report>> {
    let Injection {
        mut pod,
        claimed,
        before: [setup_before, agent_before],
        selection,
        fargate,
        agent: kind,
        image_uids,
        mut report,
    } = injection;
    let settings = context.settings;
    let spec = &selection.winner.spec;
    let kit = Kit::of(spec, &selection.rule_sets, settings);
    let uid = kit.uid(&pod, &image_uids);
    let need = fargate.then(|| Need::of(&pod));
    let memory = resources::agent_memory(&spec.agent, kit.sizes, &pod, need);
    let requirements = resources::requirements(&spec.agent, kit.sizes, &pod, memory);
    let fitted = limits::fit(requirements.clone(), kit.sizes, &pod, kind, context.facts);
    let Some(fitted) = fitted else {
        return Err(Box::new(Report {
            reason: Reason::QuotaWouldRefuse,
            containers: Vec::new(),
            notes: Vec::new(),
            ..report
        }));
    };
    if fitted != requirements {
        report.notes.push(Note::FitsNamespaceLimits);
    }
    let qos_before = Qos::of(&pod);
    let containers = trace_containers(&mut pod, &report.containers, &kit, &spec.coverage);

    let mut setup = kit.setup(uid);
    setup["resources"] = resources::with_defaults_of(fitted.clone(), setup_before.as_ref());
    let mut sidecar = kit.agent(uid, &report);
    sidecar["resources"] = resources::with_defaults_of(fitted, agent_before.as_ref());
    let memory = quantity::bytes(&sidecar["resources"]["requests"]["memory"]).unwrap_or(0) >> 20;
    insert(&mut pod["spec"], "initContainers", Some(0), setup);
    match kind {
        AgentKind::NativeSidecar => {
            sidecar["restartPolicy"] = "Always".into();
            if spec.agent.startup == Startup::Require {
                sidecar["startupProbe"] = kit.startup_probe();
            }
            insert(&mut pod["spec"], "initContainers", Some(1), sidecar);
        }
        AgentKind::Container => insert(&mut pod["spec"], "containers", None, sidecar),
    }
    let shares = kit.shares_processes && pod["spec"]["shareProcessNamespace"] != true;
    if shares {
        pod["spec"]["shareProcessNamespace"] = true.into();
    }
    let volume = json!({"name": VOLUME, "emptyDir": {"sizeLimit": kit.volume_size}});
    insert(&mut pod["spec"], "volumes", None, volume);
    if let Some(volume) = kit.token_volume() {
        insert(&mut pod["spec"], "volumes", None, volume);
    }
    let image_pull_secrets = add_pull_secrets(&mut pod, kit.pull_secrets, claimed.as_ref());

    let added = Added {
        agent: kind,
        uid,
        agent_memory: memory,
        fargate: need.map(|need| Change {
            before: FargateSize::holding(need),
            after: FargateSize::holding(Need::of(&pod)),
        }),
        qos: Change {
            before: qos_before,
            after: Qos::of(&pod),
        },
    };
    if let Some(Change {
        before: Some(_),
        after: None,
    }) = added.fargate
    {
        return Err(Box::new(Report {
            reason: Reason::FargateTooLarge,
            containers: Vec::new(),
            notes: Vec::new(),
            ..report
        }));
    }
    note_costs(&added, &mut report.notes);
    let status = Status {
        revision: settings.revision.clone(),
        fingerprint: fingerprint(settings, selection.winner),
        policy: selection.winner.key(),
        mode: selection.winner.spec.mode,
        agent: kind,
        containers,
        image_pull_secrets,
        share_process_namespace: shares,
        fargate: added.fargate,
        qos: added.qos,
    };
    annotate(&mut pod, &status);
    report.added = Some(added);
    Ok((pod, report))
}

/// Puts the tracer before every traced container; says what is needed to undo it.
fn trace_containers(
    pod: &mut Value,
    reports: &[ContainerReport],
    kit: &Kit<'_>,
    coverage: &Coverage,
) -> Vec<ContainerStatus> {
    let mut reports = reports.iter();
    let mut statuses = Vec::new();
    for list in CONTAINER_LISTS {
        for container in pod["spec"]
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let Some(report) = reports.next() else { break };
            let mut status = ContainerStatus {
                name: report.name.clone(),
                argv_source: None,
                command: None,
                args: None,
                image: None,
                pinned: false,
                skipped: None,
            };
            match &report.decision {
                Decision::Skipped { reason } => status.skipped = Some(reason.word().to_owned()),
                Decision::Traced { argv, source } => {
                    status.argv_source = Some(*source);
                    status.command = length(&container["command"]);
                    status.args = length(&container["args"]);
                    container::trace(container, kit.traced_command(&report.name), argv);
                    if let Some(image) = &report.image {
                        status.image =
                            Some(image.digest.clone()).filter(|digest| !digest.is_empty());
                        status.pinned = image.pinned;
                        if image.pinned {
                            container["image"] = pinned(&container["image"], &image.digest);
                        }
                    }
                    container::mount(container);
                    commands::wrap(container, coverage, |part| {
                        kit.traced_command(&format!("{}:{part}", report.name))
                    });
                }
            }
            statuses.push(status);
        }
    }
    statuses
}

/// The reference with the digest behind it; the tag stays, for people.
fn pinned(image: &Value, digest: &str) -> Value {
    format!("{}@{digest}", image.as_str().unwrap_or_default()).into()
}

fn length(list: &Value) -> Option<usize> {
    list.as_array().map(Vec::len).filter(|length| *length > 0)
}

/// Appends what is missing. Says which of the pod's secrets are ours, now or from before.
fn add_pull_secrets(pod: &mut Value, wanted: &[String], claimed: Option<&Status>) -> Vec<String> {
    let mut ours = Vec::new();
    for name in wanted {
        let there =
            entries(&pod["spec"], "imagePullSecrets").any(|secret| secret["name"] == name.as_str());
        if !there {
            insert(
                &mut pod["spec"],
                "imagePullSecrets",
                None,
                json!({ "name": name }),
            );
        }
        if !there || claimed.is_some_and(|status| status.image_pull_secrets.contains(name)) {
            ours.push(name.clone());
        }
    }
    ours
}

fn note_costs(added: &Added, notes: &mut Vec<Note>) {
    if added.fargate.is_some_and(|size| size.before != size.after) {
        notes.push(Note::FargateSizeGrows);
    }
    if added.qos.before != added.qos.after {
        notes.push(Note::QosChanges);
    }
}

fn annotate(pod: &mut Value, status: &Status) {
    // A status holds strings, numbers and lists: writing it cannot fail.
    let text = serde_json::to_string(status).unwrap_or_default();
    if !pod["metadata"].is_object() {
        pod["metadata"] = Value::Object(Map::new());
    }
    let annotations = &mut pod["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = Value::Object(Map::new());
    }
    annotations[annotations::STATUS] = text.into();
}

/// Puts an entry into a list, or at its end; makes the list where there is none.
pub(super) fn insert(parent: &mut Value, field: &str, index: Option<usize>, entry: Value) {
    match &mut parent[field] {
        Value::Array(entries) => entries.insert(index.unwrap_or(entries.len()), entry),
        missing => *missing = json!([entry]),
    }
}
