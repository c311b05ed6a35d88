//! What a rule that matched does beside reporting.

use picket_events::wire::ToTracer;
use picket_events::{File, Outcome};
use picket_rules::{ActionRequest, FieldId, KillScope};

use super::waiting::Waiting;
use super::{ConnectionId, Output, Outputs};
use crate::context::Scene;
use crate::finding::RuleAction;
use crate::hashes::{DONE, FileId, Hashes, Unhashed};
use crate::identity::Mode;
use crate::tree::ProcessNode;

/// Most process ids that a finding lists of a kill.
const MAX_LISTED: usize = 64;

/// How sums of files are come by.
pub(super) struct Summing<'a> {
    pub(super) hashes: &'a mut Hashes,
    pub(super) waiting: &'a mut Waiting,
    pub(super) connection: ConnectionId,
    /// Nanoseconds since the epoch.
    pub(super) now: u64,
}

impl Summing<'_> {
    /// The sums of a file; `None` when a tracer was asked for them.
    pub(super) fn of(
        &mut self,
        file: &File,
        process: Option<u32>,
        limit: u64,
        outputs: &mut dyn Outputs,
    ) -> Option<Result<Vec<String>, Unhashed>> {
        let sums = self.hashes.of(file, process, limit);
        let (Err(Unhashed::OutOfReach), Some(id)) = (&sums, FileId::of(file)) else {
            return Some(sums);
        };
        if let Some(reason) = self.hashes.refused(id, self.now) {
            return Some(Err(reason));
        }
        let process = (process.unwrap_or_default(), limit);
        let asked = self
            .waiting
            .ask(self.connection, (file, id), process, self.now, outputs);
        asked.err().map(Err)
    }
}

/// Does what a match asks for, or says why not. Also gives which of the actions wait for the
/// sums of a file, and of which.
pub(super) fn perform(
    scene: &Scene<'_>,
    requests: &[ActionRequest],
    summing: &mut Summing<'_>,
    outputs: &mut dyn Outputs,
) -> (Vec<RuleAction>, Vec<(usize, FileId)>) {
    let mut waiting = Vec::new();
    let mut done = Vec::with_capacity(requests.len());
    for request in requests {
        let action = one(scene, request, summing, outputs);
        if action.status == PENDING
            && let ActionRequest::Hash { field, .. } = request
            && let Some((file, _)) = scene.accessors.file(scene, *field)
            && let Some(id) = FileId::of(file)
        {
            waiting.push((done.len(), id));
        }
        done.push(action);
    }
    (done, waiting)
}

/// Status of an action that waits for its tracer; no finding is written with it.
const PENDING: &str = "pending";

fn one(
    scene: &Scene<'_>,
    request: &ActionRequest,
    summing: &mut Summing<'_>,
    outputs: &mut dyn Outputs,
) -> RuleAction {
    let connection = summing.connection;
    match request {
        ActionRequest::Kill { signal, scope } => kill(scene, connection, *signal, *scope, outputs),
        ActionRequest::Hash { field, max_size } => hash(scene, *field, *max_size, summing, outputs),
        ActionRequest::Quarantine => quarantine(scene.identity.mode),
        ActionRequest::Deny => deny(scene.identity.mode, scene.event.outcome),
        ActionRequest::Log { level, message } => RuleAction {
            action: "log",
            status: "performed",
            message: format!("{level}: {message}"),
            ..RuleAction::default()
        },
    }
}

/// What a finding says of it; it is done by the pipeline, for all containers.
fn quarantine(mode: Mode) -> RuleAction {
    let (status, message) = match mode {
        Mode::Enforce => ("performed", ""),
        Mode::Monitor => (
            "monitor_only",
            "the policy's mode is Monitor: the network stays open",
        ),
    };
    RuleAction {
        action: "quarantine",
        status,
        message: message.to_owned(),
        ..RuleAction::default()
    }
}

/// What a finding says of it; the tracer has done it by itself, or has not.
fn deny(mode: Mode, outcome: Outcome) -> RuleAction {
    let (status, message) = match (mode, outcome) {
        (_, Outcome::Denied(_)) => ("performed", ""),
        (Mode::Monitor, _) => (
            "monitor_only",
            "the policy's mode is Monitor: the call was let through",
        ),
        (Mode::Enforce, _) => (
            "error",
            "the call was not refused: it was made before the tracer knew the rule, or the \
             container's filter does not stop for it",
        ),
    };
    RuleAction {
        action: "deny",
        status,
        message: message.to_owned(),
        ..RuleAction::default()
    }
}

fn hash(
    scene: &Scene<'_>,
    field: FieldId,
    limit: u64,
    summing: &mut Summing<'_>,
    outputs: &mut dyn Outputs,
) -> RuleAction {
    let action = RuleAction {
        action: "hash",
        ..RuleAction::default()
    };
    let Some((file, process)) = scene.accessors.file(scene, field) else {
        return RuleAction {
            status: "error",
            message: "the event has no such file".to_owned(),
            ..action
        };
    };
    let mut action = RuleAction {
        path: file.path.clone(),
        ..action
    };
    match summing.of(file, process, limit, outputs) {
        Some(sums) => hashed(&mut action, sums),
        None => action.status = PENDING,
    }
    action
}

/// Completes a `hash` action.
pub(super) fn hashed(action: &mut RuleAction, sums: Result<Vec<String>, Unhashed>) {
    match sums {
        Ok(hashes) => {
            action.status = "performed";
            action.hash_state = DONE;
            action.hashes = hashes;
        }
        Err(reason) => {
            action.status = "error";
            action.hash_state = reason.state();
            action.message = reason.to_string();
        }
    }
}

fn kill(
    scene: &Scene<'_>,
    connection: ConnectionId,
    signal: i32,
    scope: KillScope,
    outputs: &mut dyn Outputs,
) -> RuleAction {
    let targets: Vec<&ProcessNode> = match scope {
        KillScope::Process => scene.process.into_iter().collect(),
        KillScope::Container => scene.tree.living().collect(),
    };
    let signal_number = u32::try_from(signal)
        .ok()
        .filter(|signal| (1..=64).contains(signal));
    let status = match (signal_number, targets.is_empty()) {
        (None, _) | (_, true) => "error",
        _ if scene.identity.mode == Mode::Monitor => "monitor_only",
        _ => "kill_queued",
    };
    if let (Some(signal), "kill_queued") = (signal_number, status) {
        for target in &targets {
            let kill = ToTracer::Kill {
                pid: target.pid,
                started_at: target.started_at,
                signal,
            };
            outputs.push(Output::Message(connection, kill));
        }
    }
    RuleAction {
        action: "kill",
        status,
        signal: Some(signal),
        scope: Some(match scope {
            KillScope::Process => "process",
            KillScope::Container => "container",
        }),
        pids: targets
            .iter()
            .take(MAX_LISTED)
            .map(|target| target.pid)
            .collect(),
        message: match status {
            "error" => "there is no such signal, or no process to send it to".to_owned(),
            "monitor_only" => "the policy's mode is Monitor: nothing was sent".to_owned(),
            _ => String::new(),
        },
        ..RuleAction::default()
    }
}
