//! What a rule that matched does beside reporting.

use picket_events::wire::ToTracer;
use picket_rules::{ActionRequest, FieldId, KillScope};

use super::{ConnectionId, Output, Outputs};
use crate::context::Scene;
use crate::finding::RuleAction;
use crate::hashes::{Hashes, Unhashed};
use crate::identity::Mode;
use crate::tree::ProcessNode;

/// Most process ids that a finding lists of a kill.
const MAX_LISTED: usize = 64;

/// Does what a match asks for, or says why not.
pub(super) fn perform(
    scene: &Scene<'_>,
    connection: ConnectionId,
    requests: &[ActionRequest],
    hashes: &mut Hashes,
    outputs: &mut dyn Outputs,
) -> Vec<RuleAction> {
    requests
        .iter()
        .map(|request| one(scene, connection, request, hashes, outputs))
        .collect()
}

fn one(
    scene: &Scene<'_>,
    connection: ConnectionId,
    request: &ActionRequest,
    hashes: &mut Hashes,
    outputs: &mut dyn Outputs,
) -> RuleAction {
    match request {
        ActionRequest::Kill { signal, scope } => kill(scene, connection, *signal, *scope, outputs),
        ActionRequest::Hash { field, max_size } => hash(scene, *field, *max_size, hashes),
        ActionRequest::Quarantine => quarantine(scene.identity.mode),
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

fn hash(scene: &Scene<'_>, field: FieldId, limit: u64, hashes: &mut Hashes) -> RuleAction {
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
    let path = file.path.clone();
    match hashes.of(file, process, limit) {
        Ok(hashes) => RuleAction {
            status: "performed",
            path,
            hashes,
            ..action
        },
        Err(reason) => RuleAction {
            status: match reason {
                Unhashed::OutOfReach => "unsupported",
                _ => "error",
            },
            path,
            message: reason.to_string(),
            ..action
        },
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
