//! Builds the injected pod.
//!
//! Every field that the API server would fill in with a default is written out in our own
//! containers, so that a pod which comes back on re-invocation is recognised as current.

use picket_crds::{AGENT_CONTAINER, MOUNT_PATH, SETUP_CONTAINER, Startup, VOLUME, annotations};
use serde_json::{Map, Value, json};

use super::Context;
use super::argv;
use super::decide::Injection;
use super::resources;
use super::shape::CONTAINER_LISTS;
use super::strip::entries;
use crate::capacity::{FargateSize, Need, Qos};
use crate::reason::Reason;
use crate::report::{Added, ContainerReport, Decision, Note, Report};
use crate::status::{AgentKind, Change, ContainerStatus, Status};

/// Limit of the shared volume: the tracer, a socket and a small file.
const VOLUME_SIZE: &str = "32Mi";

/// Builds the injected pod and completes the report.
///
/// # Errors
/// A report with [`Reason::FargateTooLarge`] when AWS would run the pod, but not the injected
/// one.
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
    let agent = &selection.winner.spec.agent;
    let uid = resources::unused_uid(&pod, &image_uids);
    let memory = resources::agent_memory(agent, &pod, fargate);
    let requirements = resources::requirements(agent, &pod, memory);
    let size_before = FargateSize::holding(Need::of(&pod));
    let qos_before = Qos::of(&pod);
    let containers = trace_containers(&mut pod, &report.containers, &settings.interest);

    let setup_requirements =
        resources::with_defaults_of(requirements.clone(), setup_before.as_ref());
    let mut setup = container(
        SETUP_CONTAINER,
        &settings.sidecar_image,
        uid,
        setup_requirements,
    );
    setup["command"] = json!([SETUP_PROGRAM, "setup", "--dir", MOUNT_PATH]);
    let agent_requirements = resources::with_defaults_of(requirements, agent_before.as_ref());
    let mut sidecar = container(
        AGENT_CONTAINER,
        &settings.sidecar_image,
        uid,
        agent_requirements,
    );
    sidecar["command"] = json!([AGENT_PROGRAM, "run"]);
    sidecar["env"] = environment(&report, &settings.revision);
    sidecar["livenessProbe"] = probe(30, 3);
    insert(&mut pod["spec"], "initContainers", Some(0), setup);
    match kind {
        AgentKind::NativeSidecar => {
            sidecar["restartPolicy"] = "Always".into();
            if agent.startup == Startup::Require {
                sidecar["startupProbe"] = probe(1, 60);
            }
            insert(&mut pod["spec"], "initContainers", Some(1), sidecar);
        }
        AgentKind::Container => insert(&mut pod["spec"], "containers", None, sidecar),
    }
    let volume = json!({"name": VOLUME, "emptyDir": {"sizeLimit": VOLUME_SIZE}});
    insert(&mut pod["spec"], "volumes", None, volume);
    let image_pull_secrets =
        add_pull_secrets(&mut pod, &settings.image_pull_secrets, claimed.as_ref());

    let added = Added {
        agent: kind,
        uid,
        agent_memory: memory,
        fargate: fargate.then(|| Change {
            before: size_before,
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
        policy: selection.winner.key(),
        mode: selection.winner.spec.mode,
        agent: kind,
        containers,
        image_pull_secrets,
        fargate: added.fargate,
        qos: added.qos,
    };
    annotate(&mut pod, &status);
    report.added = Some(added);
    Ok((pod, report))
}

const SETUP_PROGRAM: &str = "/picket-tracer";
const AGENT_PROGRAM: &str = "/picket-agent";

/// Puts the tracer before every traced container; says what is needed to undo it.
fn trace_containers(
    pod: &mut Value,
    reports: &[ContainerReport],
    interest: &str,
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
                    container["command"] = argv::traced_command(&report.name, interest).into();
                    container["args"] = argv.clone().into();
                    if let Some(image) = &report.image {
                        status.image =
                            Some(image.digest.clone()).filter(|digest| !digest.is_empty());
                        status.pinned = image.pinned;
                        if image.pinned {
                            container["image"] = pinned(&container["image"], &image.digest);
                        }
                    }
                    let mount = json!({"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": true});
                    insert(container, "volumeMounts", None, mount);
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

/// A container of ours. It passes the `restricted` Pod Security Standard whatever the pod
/// says.
fn container(name: &str, image: &str, uid: u32, resources: Value) -> Value {
    json!({
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": uid,
            "runAsNonRoot": true,
            "runAsUser": uid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT_PATH}],
    })
}

fn probe(period_seconds: u32, failure_threshold: u32) -> Value {
    json!({
        "exec": {"command": [AGENT_PROGRAM, "health"]},
        "failureThreshold": failure_threshold,
        "periodSeconds": period_seconds,
        "successThreshold": 1,
        "timeoutSeconds": 5,
    })
}

/// Who the agent speaks for. The order matters: kubelet expands `$(NAME)` of earlier ones.
fn environment(report: &Report, revision: &str) -> Value {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let value = |name: &str, value: &str| json!({"name": name, "value": value});
    let policy = report.policy.as_ref();
    json!([
        field("PICKET_POD_NAME", "metadata.name"),
        field("PICKET_POD_UID", "metadata.uid"),
        field("PICKET_POD_NAMESPACE", "metadata.namespace"),
        field("PICKET_NODE_NAME", "spec.nodeName"),
        value(
            "PICKET_WORKLOAD",
            report.workload.as_deref().unwrap_or_default()
        ),
        value("PICKET_POLICY", policy.map_or("", |policy| &policy.winner)),
        value(
            "PICKET_MODE",
            &policy.map_or_else(String::new, |policy| format!("{:?}", policy.mode))
        ),
        value("PICKET_REVISION", revision),
    ])
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
fn insert(parent: &mut Value, field: &str, index: Option<usize>, entry: Value) {
    match &mut parent[field] {
        Value::Array(entries) => entries.insert(index.unwrap_or(entries.len()), entry),
        missing => *missing = json!([entry]),
    }
}
