//! Commands that kubelet runs in a container beside its own: exec probes and lifecycle hooks.
//! Probes by HTTP, TCP and gRPC run nothing there.

use picket_crds::Coverage;
use serde_json::Value;

use super::wrapper;
use crate::report::Note;

/// Fields that may hold a probe.
const PROBES: [&str; 3] = ["startupProbe", "livenessProbe", "readinessProbe"];
/// Fields of `lifecycle` that may hold a hook.
const HOOKS: [&str; 2] = ["postStart", "preStop"];

/// Where such commands are in a container: JSON pointer, what it belongs to, and whether that is
/// a probe.
pub(super) fn places() -> impl Iterator<Item = (String, &'static str, bool)> {
    let probes = PROBES.map(|probe| (format!("/{probe}/exec/command"), probe, true));
    let hooks = HOOKS.map(|hook| (format!("/lifecycle/{hook}/exec/command"), hook, false));
    probes.into_iter().chain(hooks)
}

/// Puts the tracer before those that are covered; `tracer` is told what it will trace.
pub(super) fn wrap(
    container: &mut Value,
    coverage: &Coverage,
    tracer: impl Fn(&str) -> Vec<String>,
) {
    for (place, part, is_probe) in places() {
        if !is_covered(coverage, is_probe) {
            continue;
        }
        if let Some(Value::Array(words)) = container.pointer_mut(&place)
            && !words.is_empty()
        {
            words.splice(0..0, tracer(part).into_iter().map(Value::from));
        }
    }
}

/// Takes our tracer out of all of them.
pub(super) fn unwrap(container: &mut Value) {
    for (place, _, _) in places() {
        if let Some(command) = container.pointer_mut(&place) {
            let words = wrapper::strings(command);
            if let Some(own) = wrapper::without_tracer(words) {
                *command = own.into();
            }
        }
    }
}

/// Says which of them run untraced.
pub(super) fn note_gaps(container: &Value, name: &str, coverage: &Coverage, notes: &mut Vec<Note>) {
    for (place, part, is_probe) in places() {
        let there = container
            .pointer(place.trim_end_matches("/command"))
            .is_some_and(Value::is_object);
        if !there || is_covered(coverage, is_probe) {
            continue;
        }
        let container = name.to_owned();
        notes.push(if is_probe {
            Note::ExecProbeUntraced {
                container,
                probe: part,
            }
        } else {
            Note::LifecycleHookUntraced {
                container,
                hook: part,
            }
        });
    }
}

fn is_covered(coverage: &Coverage, is_probe: bool) -> bool {
    if is_probe {
        coverage.exec_probes
    } else {
        coverage.lifecycle_hooks
    }
}
