//! Commands that kubelet runs in a container beside its own: exec probes and lifecycle hooks.
//! Probes by HTTP, TCP and gRPC run nothing there.

use picket_crds::Coverage;
use serde_json::Value;

use super::wrapper;
use crate::report::Note;

/// Where a container may have such a command.
#[derive(Debug)]
pub(super) struct Place {
    /// What it belongs to: a probe or a hook.
    pub(super) part: &'static str,
    /// The fields that lead to what holds the command.
    fields: &'static [&'static str],
    is_probe: bool,
}

/// All of them.
pub(super) const PLACES: [Place; 5] = [
    Place::of_probe("startupProbe", &["startupProbe", "exec"]),
    Place::of_probe("livenessProbe", &["livenessProbe", "exec"]),
    Place::of_probe("readinessProbe", &["readinessProbe", "exec"]),
    Place::of_hook("postStart", &["lifecycle", "postStart", "exec"]),
    Place::of_hook("preStop", &["lifecycle", "preStop", "exec"]),
];

const COMMAND: &str = "command";

impl Place {
    const fn of_probe(part: &'static str, fields: &'static [&'static str]) -> Self {
        Self {
            part,
            fields,
            is_probe: true,
        }
    }

    const fn of_hook(part: &'static str, fields: &'static [&'static str]) -> Self {
        Self {
            part,
            fields,
            is_probe: false,
        }
    }

    /// What holds the command.
    fn holder<'c>(&self, container: &'c Value) -> Option<&'c Value> {
        let mut fields = self.fields.iter();
        fields.try_fold(container, |value, field| value.get(field))
    }

    /// The command.
    pub(super) fn command<'c>(&self, container: &'c Value) -> Option<&'c Value> {
        self.holder(container)?.get(COMMAND)
    }

    fn command_mut<'c>(&self, container: &'c mut Value) -> Option<&'c mut Value> {
        let mut fields = self.fields.iter();
        let holder = fields.try_fold(container, |value, field| value.get_mut(field))?;
        holder.get_mut(COMMAND)
    }

    /// The way to the command, for people.
    pub(super) fn path(&self) -> String {
        format!("{}.{COMMAND}", self.fields.join("."))
    }

    fn is_covered(&self, coverage: &Coverage) -> bool {
        match self.is_probe {
            true => coverage.exec_probes,
            false => coverage.lifecycle_hooks,
        }
    }
}

/// Puts the tracer before those that are covered; `tracer` is told what it will trace.
pub(super) fn wrap(
    container: &mut Value,
    coverage: &Coverage,
    tracer: impl Fn(&str) -> Vec<String>,
) {
    for place in PLACES.iter().filter(|place| place.is_covered(coverage)) {
        if let Some(Value::Array(words)) = place.command_mut(container)
            && !words.is_empty()
        {
            words.splice(0..0, tracer(place.part).into_iter().map(Value::from));
        }
    }
}

/// Takes our tracer out of all of them.
pub(super) fn unwrap(container: &mut Value) {
    for place in &PLACES {
        if let Some(command) = place.command_mut(container)
            && wrapper::names_tracer(command)
        {
            let words = wrapper::strings(command);
            if let Some(own) = wrapper::without_tracer(words) {
                *command = own.into();
            }
        }
    }
}

/// Says which of them run untraced.
pub(super) fn note_gaps(container: &Value, name: &str, coverage: &Coverage, notes: &mut Vec<Note>) {
    for place in &PLACES {
        let there = place.holder(container).is_some_and(Value::is_object);
        if !there || place.is_covered(coverage) {
            continue;
        }
        let (container, part) = (name.to_owned(), place.part);
        notes.push(match place.is_probe {
            true => Note::ExecProbeUntraced {
                container,
                probe: part,
            },
            false => Note::LifecycleHookUntraced {
                container,
                hook: part,
            },
        });
    }
}
