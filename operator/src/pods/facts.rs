//! What is kept of a pod.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use picket_crds::{
    AGENT_CONTAINER, MOUNT_PATH, SESSION_KEYS_VARIABLE, SETUP_CONTAINER, VOLUME, annotations,
    labels,
};
use picket_webhook::status::Status;

use super::wire::{self, WatchedPod};

/// The longest message that is kept, in bytes.
const MESSAGE: usize = 200;
/// How many words of a container's command line are looked at for the tracer.
const LOOKED_AT: usize = 8;

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodFacts {
    /// Its uid.
    pub uid: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its labels; of a pod in quarantine those that it had, too.
    pub labels: BTreeMap<String, String>,
    /// Its controller, if it has one.
    pub owner: Option<Owner>,
    /// Its service account.
    pub service_account: Box<str>,
    /// The node that it was given to.
    pub node: Option<Box<str>>,
    /// Its address.
    pub ip: Option<Box<str>>,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether kubelet calls it ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Why no node takes it, as the scheduler says, if none does.
    pub unschedulable: Option<Box<str>>,
    /// What the webhook wrote on it; `None` where it wrote nothing, or nothing that is
    /// understood.
    pub status: Option<Box<Status>>,
    /// Its containers, ours among them: init containers, then containers, then ephemeral ones.
    pub containers: Vec<ContainerFacts>,
    /// The public keys by which its agent knows who opens a session in it, as they were put into
    /// its environment; `None` where there are none.
    pub session_keys: Option<Box<str>>,
    /// What AWS provisioned for it: the annotation `CapacityProvisioned`.
    pub capacity_provisioned: Option<Box<str>>,
    /// Whether somebody wants it in quarantine: the annotation `picket.dev/quarantine: "true"`.
    pub quarantine_wanted: bool,
    /// What its labels were before quarantine changed them: the annotation
    /// `picket.dev/quarantined-labels`, as it is.
    pub quarantined_labels: Option<Box<str>>,
}

/// The object that controls another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Its kind, with the group and version that it was referred to by.
    pub api_version: Box<str>,
    /// Its kind.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Arc<str>,
}

impl Owner {
    /// The controller among an object's owners.
    #[must_use]
    pub fn controlling(owners: &[OwnerReference]) -> Option<Self> {
        let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
        Some(Self {
            api_version: owner.api_version.as_str().into(),
            kind: owner.kind.as_str().into(),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
        })
    }
}

impl Owner {
    /// From an owner reference as an object has it.
    #[must_use]
    pub fn of_reference(reference: &serde_json::Value) -> Option<Self> {
        let text = |field: &str| reference[field].as_str();
        Some(Self {
            api_version: text("apiVersion")?.into(),
            kind: text("kind")?.into(),
            name: text("name")?.into(),
            uid: text("uid")?.into(),
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not all of its containers have been started.
    #[default]
    Pending,
    /// It runs.
    Running,
    /// Its containers have ended well.
    Succeeded,
    /// A container has ended badly, and is not started again.
    Failed,
    /// Its node does not answer.
    Unknown,
}

impl Phase {
    /// Whether it is over.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// Which list a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// An init container that ends before the pod's containers start.
    Init,
    /// An init container that keeps running.
    NativeSidecar,
    /// One of the pod's containers.
    Container,
    /// One that was added to the running pod.
    Ephemeral,
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Its name.
    pub name: Box<str>,
    /// Which list it is in.
    pub kind: ContainerKind,
    /// Whether it mounts our volume.
    pub mounts_ours: bool,
    /// Whether the tracer stands before its command, and our volume is there to run it from.
    pub traced: bool,
    /// Whether kubelet runs a probe's command in it without the tracer.
    pub untraced_probe: bool,
    /// Whether kubelet runs a hook's command in it without the tracer.
    pub untraced_hook: bool,
    /// Whether kubelet calls it ready.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// What it does now.
    pub state: ContainerState,
    /// Since when it runs, in seconds since 1970, if it does.
    pub running_since: Option<i64>,
    /// How it ended last, if it was started again.
    pub ended_before: Option<Ending>,
}

/// What a container does now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// Kubelet has said nothing of it.
    #[default]
    Unknown,
    /// It waits.
    Waiting(Ending),
    /// It runs.
    Running,
    /// It has ended.
    Terminated(Ending),
}

/// Why a container waits, or how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Kubelet's word, for example `ImagePullBackOff` or `OOMKilled`.
    pub reason: Box<str>,
    /// More about it, cut to 200 bytes.
    pub message: Option<Box<str>>,
    /// What the process ended with; 0 for one that waits.
    pub exit_code: i32,
}

impl ContainerFacts {
    /// Whether the container is Picket's.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        [SETUP_CONTAINER, AGENT_CONTAINER].contains(&&*self.name)
    }
}

impl PodFacts {
    /// What is kept of a pod.
    #[must_use]
    pub fn of(pod: &WatchedPod) -> Self {
        let metadata = &pod.metadata;
        let annotation = |key: &str| metadata.annotations.as_ref()?.get(key);
        let condition = |kind: &str| {
            let conditions = &pod.status.conditions;
            conditions.iter().find(|condition| condition.type_ == kind)
        };
        let unschedulable = condition("PodScheduled")
            .filter(|condition| condition.status == "False")
            .map(|condition| {
                let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
                match &condition.message {
                    Some(message) => cut(&format!("{reason}: {message}")),
                    None => reason.into(),
                }
            });
        Self {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            namespace: metadata.namespace.as_deref().unwrap_or_default().into(),
            name: metadata.name.as_deref().unwrap_or_default().into(),
            labels: own_labels(metadata),
            owner: Owner::controlling(metadata.owner_references.as_deref().unwrap_or_default()),
            service_account: or_empty(pod.spec.service_account_name.as_ref()),
            node: boxed(pod.spec.node_name.as_ref()),
            ip: boxed(pod.status.pod_ip.as_ref()),
            created: metadata
                .creation_timestamp
                .as_ref()
                .map_or(0, |time| time.0.as_second()),
            phase: match pod.status.phase.as_deref() {
                Some("Running") => Phase::Running,
                Some("Succeeded") => Phase::Succeeded,
                Some("Failed") => Phase::Failed,
                Some("Unknown") => Phase::Unknown,
                _ => Phase::Pending,
            },
            ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
            deleting: metadata.deletion_timestamp.is_some(),
            unschedulable,
            status: annotation(annotations::STATUS)
                .and_then(|text| serde_json::from_str(text).ok())
                .map(Box::new),
            containers: containers(pod),
            session_keys: session_keys(pod),
            capacity_provisioned: boxed(annotation(annotations::CAPACITY_PROVISIONED)),
            quarantine_wanted: annotation(annotations::QUARANTINE).is_some_and(|v| v == "true"),
            quarantined_labels: boxed(annotation(annotations::QUARANTINED_LABELS)),
        }
    }

    /// Whether AWS runs it.
    #[must_use]
    pub fn is_on_fargate(&self) -> bool {
        self.labels.contains_key(labels::FARGATE_PROFILE)
    }

    /// Whether it is injected: the agent is in it, and the webhook's annotation says how.
    #[must_use]
    pub fn is_injected(&self) -> bool {
        self.status.is_some() && self.container(AGENT_CONTAINER).is_some()
    }

    /// A container by its name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerFacts> {
        let mut containers = self.containers.iter();
        containers.find(|container| &*container.name == name)
    }
}

/// The labels, with those that quarantine has moved away.
fn own_labels(metadata: &ObjectMeta) -> BTreeMap<String, String> {
    let mut labels = metadata.labels.clone().unwrap_or_default();
    let annotations = metadata.annotations.as_ref();
    let moved = annotations.and_then(|all| all.get(annotations::QUARANTINED_LABELS));
    if let Some(moved) = moved.and_then(|text| serde_json::from_str(text).ok()) {
        let moved: BTreeMap<String, String> = moved;
        labels.extend(moved);
    }
    labels
}

fn containers(pod: &WatchedPod) -> Vec<ContainerFacts> {
    let (spec, status) = (&pod.spec, &pod.status);
    let lists = [
        (
            ContainerKind::Init,
            &spec.init_containers,
            &status.init_container_statuses,
        ),
        (
            ContainerKind::Container,
            &spec.containers,
            &status.container_statuses,
        ),
        (
            ContainerKind::Ephemeral,
            &spec.ephemeral_containers,
            &status.ephemeral_container_statuses,
        ),
    ];
    let mut facts = Vec::with_capacity(lists.iter().map(|(_, list, _)| list.len()).sum());
    for (kind, containers, statuses) in lists {
        for container in containers {
            let status = statuses.iter().find(|status| status.name == container.name);
            facts.push(container_facts(kind, container, status));
        }
    }
    facts
}

fn container_facts(
    kind: ContainerKind,
    container: &wire::Container,
    status: Option<&wire::ContainerStatus>,
) -> ContainerFacts {
    let mut mounts = container.volume_mounts.iter();
    let mounts_ours = mounts.any(|mount| mount.name == VOLUME && mount.mount_path == MOUNT_PATH);
    let always = container.restart_policy.as_deref() == Some("Always");
    let probes = [
        &container.startup_probe,
        &container.liveness_probe,
        &container.readiness_probe,
    ];
    let hooks = container.lifecycle.as_ref();
    let hooks = hooks.map_or([&None, &None], |hooks| [&hooks.post_start, &hooks.pre_stop]);
    ContainerFacts {
        name: container.name.as_str().into(),
        kind: match kind {
            ContainerKind::Init if always => ContainerKind::NativeSidecar,
            kind => kind,
        },
        mounts_ours,
        traced: mounts_ours && runs_tracer(container.command.iter().chain(&container.args)),
        untraced_probe: probes.into_iter().any(runs_untraced),
        untraced_hook: hooks.into_iter().any(runs_untraced),
        ready: status.is_some_and(|status| status.ready),
        restarts: status.map_or(0, |status| status.restart_count),
        state: status
            .and_then(|status| status.state.as_ref())
            .map_or(ContainerState::Unknown, state),
        running_since: status.and_then(running_since),
        ended_before: status
            .and_then(|status| status.last_state.as_ref()?.terminated.as_ref())
            .map(ending),
    }
}

/// Whether a program of our volume stands before the command: the tracer, whose ever it is.
fn runs_tracer<'a>(words: impl Iterator<Item = &'a String>) -> bool {
    let mut words = words.take(LOOKED_AT);
    words.any(|word| {
        let program = word
            .strip_prefix(MOUNT_PATH)
            .and_then(|rest| rest.strip_prefix('/'));
        matches!(program, Some("picket-tracer" | "cws-instrumentation"))
    })
}

fn runs_untraced(handler: &Option<wire::Handler>) -> bool {
    handler
        .as_ref()
        .and_then(|handler| handler.exec.as_ref())
        .is_some_and(|exec| !runs_tracer(exec.command.iter()))
}

fn state(state: &wire::State) -> ContainerState {
    match (&state.running, &state.waiting, &state.terminated) {
        (Some(_), _, _) => ContainerState::Running,
        (_, Some(waiting), _) => ContainerState::Waiting(ending(waiting)),
        (_, _, Some(terminated)) => ContainerState::Terminated(ending(terminated)),
        _ => ContainerState::Unknown,
    }
}

fn running_since(status: &wire::ContainerStatus) -> Option<i64> {
    let running = status.state.as_ref()?.running.as_ref()?;
    let started: Timestamp = running.started_at.as_deref()?.parse().ok()?;
    Some(started.as_second())
}

fn ending(ended: &wire::Ended) -> Ending {
    Ending {
        reason: or_empty(ended.reason.as_ref()),
        message: ended.message.as_deref().map(cut),
        exit_code: ended.exit_code,
    }
}

fn boxed(text: Option<&String>) -> Option<Box<str>> {
    text.map(|text| text.as_str().into())
}

/// The agent's variable with the session keys.
fn session_keys(pod: &WatchedPod) -> Option<Box<str>> {
    let mut containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    let agent = containers.find(|container| container.name == AGENT_CONTAINER)?;
    let variable = agent
        .env
        .iter()
        .find(|one| one.name == SESSION_KEYS_VARIABLE)?;
    boxed(variable.value.as_ref())
}

fn or_empty(text: Option<&String>) -> Box<str> {
    boxed(text).unwrap_or_default()
}

fn cut(text: &str) -> Box<str> {
    let mut end = text.len().min(MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}
