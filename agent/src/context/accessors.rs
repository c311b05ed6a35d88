//! From field names to the functions that answer them.

use picket_events::{EventType, File};
use picket_rules::{Catalogue, FieldId, IteratorId, Value, ValueType};

use super::event_fields::{self, EventField};
use super::file_fields::{self, FileField};
use super::process_fields::{self, ProcessField};
use super::{Scene, Second};
use crate::tree::ProcessNode;

/// Which chain of processes an iterator runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lineage {
    /// Of the process that did it.
    Process,
    /// Of the process that it was aimed at.
    Target,
}

/// Which process a field is about.
#[derive(Debug, Clone, Copy)]
enum Who {
    Process,
    Executed,
    Parent,
    Ancestor,
    Target,
    TargetParent,
    TargetAncestor,
}

impl Who {
    fn find<'a>(self, scene: &Scene<'a>, index: usize) -> Option<&'a ProcessNode> {
        match self {
            Who::Process => scene.process,
            Who::Executed => scene.executed,
            Who::Parent => scene.ancestor(Lineage::Process, 0),
            Who::Ancestor => scene.ancestor(Lineage::Process, index),
            Who::Target => scene.target,
            Who::TargetParent => scene.ancestor(Lineage::Target, 0),
            Who::TargetAncestor => scene.ancestor(Lineage::Target, index),
        }
    }
}

/// Which file a field is about.
#[derive(Debug, Clone, Copy)]
enum Which {
    Event,
    Destination,
    Executable(Who),
    Interpreter(Who),
}

impl Which {
    fn find<'a>(self, scene: &Scene<'a>, index: usize) -> Option<&'a File> {
        match self {
            Which::Event => scene.event.kind.file(),
            Which::Destination => scene.event.kind.destination(),
            Which::Executable(who) => who
                .find(scene, index)
                .map(|process| &process.program.image.file),
            Which::Interpreter(who) => who
                .find(scene, index)
                .and_then(|process| process.program.image.interpreter.as_ref()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// Nothing that we see tells it.
    Nothing,
    Event(EventField),
    Process(Who, ProcessField),
    File(Which, FileField),
}

#[derive(Debug, Clone, Copy)]
struct Accessor {
    value_type: ValueType,
    source: Source,
}

/// For every field of a catalogue, how it is answered.
#[derive(Debug)]
pub struct Accessors {
    fields: Vec<Accessor>,
    lineages: Vec<Option<Lineage>>,
}

/// Prefixes of process fields; a longer one stands before those that it begins with.
const PROCESSES: &[(&str, Who)] = &[
    ("process.ancestors.", Who::Ancestor),
    ("process.parent.", Who::Parent),
    ("process.", Who::Process),
    ("exec.", Who::Executed),
    ("exit.", Who::Process),
    ("target.ancestors.", Who::TargetAncestor),
    ("target.parent.", Who::TargetParent),
    ("target.", Who::Target),
];

impl Accessors {
    /// Works out the accessors of every field of a catalogue.
    pub fn new(catalogue: &Catalogue) -> Self {
        let fields = catalogue
            .fields()
            .map(|(_, info)| Accessor {
                value_type: info.value_type,
                source: source(&info.name),
            })
            .collect();
        let lineages = catalogue
            .iterators()
            .map(|(_, info)| lineage(&info.name))
            .collect();
        Self { fields, lineages }
    }

    /// Names of fields that nothing answers: they always have their zero value.
    pub fn unanswered<'a>(&self, catalogue: &'a Catalogue) -> Vec<&'a str> {
        let answers = catalogue.fields().zip(&self.fields);
        let without = answers.filter(|(_, accessor)| matches!(accessor.source, Source::Nothing));
        without.map(|((_, info), _)| info.name.as_str()).collect()
    }

    pub(super) fn value<'a>(
        &self,
        scene: &'a Scene<'_>,
        field: FieldId,
        index: usize,
    ) -> Value<'a> {
        let Some(accessor) = self.fields.get(usize::from(field.0)) else {
            return Value::Int(0);
        };
        let value = match accessor.source {
            Source::Nothing => None,
            Source::Event(get) => get(scene),
            Source::Process(who, get) => who.find(scene, index).map(|process| get(scene, process)),
            Source::File(which, get) => which.find(scene, index).map(|file| get(scene, file)),
        };
        value.unwrap_or_else(|| accessor.value_type.zero())
    }

    /// The file that a field is about, and a process through which it may be read.
    pub(crate) fn file<'a>(
        &self,
        scene: &Scene<'a>,
        field: FieldId,
    ) -> Option<(&'a File, Option<u32>)> {
        let accessor = self.fields.get(usize::from(field.0))?;
        let Source::File(which, _) = accessor.source else {
            return None;
        };
        let file = which.find(scene, 0)?;
        let running = match which {
            Which::Executable(who) => who.find(scene, 0).map(|process| process.pid),
            // Its root is where the path begins.
            _ => Some(scene.event.pid),
        };
        Some((file, running))
    }

    pub(super) fn lineage(&self, iterator: IteratorId) -> Option<Lineage> {
        self.lineages
            .get(usize::from(iterator.0))
            .copied()
            .flatten()
    }
}

fn lineage(iterator: &str) -> Option<Lineage> {
    match iterator {
        "process.ancestors" => Some(Lineage::Process),
        _ => local_name(iterator)
            .filter(|name| *name == "target.ancestors")
            .map(|_| Lineage::Target),
    }
}

/// The name behind the event's, with `tracee`, which is `ptrace`'s word for its target, as
/// `target`.
fn local_name(name: &str) -> Option<&str> {
    let (event, rest) = name.split_once('.')?;
    EventType::from_name(event)?;
    Some(match rest {
        "tracee.ancestors" => "target.ancestors",
        _ => rest,
    })
}

fn source(name: &str) -> Source {
    if let Some(field) = event_fields::find(name) {
        return Source::Event(field);
    }
    process_source(name)
        .or_else(|| event_source(name))
        .unwrap_or(Source::Nothing)
}

fn process_source(name: &str) -> Option<Source> {
    let (who, field) = PROCESSES
        .iter()
        .find_map(|(prefix, who)| name.strip_prefix(prefix).map(|field| (*who, field)))?;
    if let Some(field) = process_fields::find(field) {
        return Some(Source::Process(who, field));
    }
    let (which, field) = match field.strip_prefix("interpreter.file.") {
        Some(field) => (Which::Interpreter(who), field),
        None => (Which::Executable(who), field.strip_prefix("file.")?),
    };
    file_fields::find(field).map(|field| Source::File(which, field))
}

fn event_source(name: &str) -> Option<Source> {
    let (event, rest) = name.split_once('.')?;
    let second = [Second::Sysctl, Second::CgroupWrite];
    if !second.iter().any(|second| second.name() == event) {
        EventType::from_name(event)?;
    }
    if let Some(field) = event_fields::find_shared(rest) {
        return Some(Source::Event(field));
    }
    if let Some(field) = rest.strip_prefix("file.destination.") {
        return file_fields::find(field).map(|field| Source::File(Which::Destination, field));
    }
    if let Some(field) = rest.strip_prefix("file.") {
        return file_fields::find(field).map(|field| Source::File(Which::Event, field));
    }
    match rest.strip_prefix("tracee.") {
        Some(target) => process_source(&format!("target.{target}")),
        None => process_source(rest).filter(|_| rest.starts_with("target.")),
    }
}
