//! Fields of the event itself.

/// Picks fields out of one kind of event.
macro_rules! of {
    ($pattern:pat => $value:expr) => {
        |scene| match &scene.event.kind {
            $pattern => Some($value),
            _ => None,
        }
    };
}

mod files;
mod kernel;
mod network;
mod processes;

use picket_rules::Value;

use super::{Scene, clock};

/// Answers a field of an event; `None` where this event does not have it.
pub(super) type EventField = for<'a> fn(&'a Scene<'a>) -> Option<Value<'a>>;

/// Fields and their answers.
type Fields = &'static [(&'static str, EventField)];

fn int(number: impl Into<i64>) -> Value<'static> {
    Value::Int(number.into())
}

/// An unsigned number bit for bit, as rules see it.
fn bits(number: u64) -> Value<'static> {
    Value::Int(number as i64)
}

/// Fields that every event has.
const COMMON: Fields = &[
    ("event.async", |_| Some(Value::Bool(false))),
    ("event.hostname", |scene| {
        Some(Value::Str(scene.identity.hostname()))
    }),
    ("event.origin", |_| Some(Value::Str("ebpfless"))),
    ("event.os", |_| Some(Value::Str("linux"))),
    // A rule knows its own tags from where it was loaded.
    ("event.rule.tags", |_| Some(Value::Strs(&[]))),
    ("event.service", |scene| {
        Some(Value::Str(scene.identity.service()))
    }),
    ("event.source", |_| Some(Value::Str("runtime"))),
    ("event.timestamp", |scene| {
        Some(Value::Int(clock(scene.event.time)))
    }),
    ("container.id", |scene| {
        Some(Value::Str(&scene.container.id))
    }),
    ("container.created_at", |scene| {
        Some(Value::Int(clock(scene.container.started_at)))
    }),
    ("container.tags", |scene| {
        Some(Value::Strs(&scene.container.tags))
    }),
    ("cgroup.id", |scene| Some(Value::Str(&scene.container.id))),
    ("cgroup.created_at", |scene| {
        Some(Value::Int(clock(scene.container.started_at)))
    }),
];

/// Fields of one event type, by full name.
const OWN: [Fields; 5] = [
    COMMON,
    files::FIELDS,
    processes::FIELDS,
    kernel::FIELDS,
    network::FIELDS,
];

/// What answers a field, by its full name.
pub(super) fn find(name: &str) -> Option<EventField> {
    OWN.iter().find_map(|fields| find_in(fields, name))
}

/// What answers a field that several event types have, by the name behind the event's.
pub(super) fn find_shared(name: &str) -> Option<EventField> {
    if name == "retval" {
        return Some(|scene| Some(Value::Int(scene.event.outcome.retval())));
    }
    find_in(network::SHARED, name)
}

fn find_in(fields: Fields, name: &str) -> Option<EventField> {
    let found = fields.iter().find(|(field, _)| *field == name);
    found.map(|(_, answer)| *answer)
}

fn user<'a>(scene: &'a Scene<'_>, id: u32) -> Value<'a> {
    Value::Str(scene.container.accounts.user(id))
}

fn group<'a>(scene: &'a Scene<'_>, id: u32) -> Value<'a> {
    Value::Str(scene.container.accounts.group(id))
}
