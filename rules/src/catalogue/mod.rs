//! The fields, event types and constants that rules can name.
//!
//! The engine knows no field by name: everything it needs to know about one is in the
//! catalogue. The standard one is built from `standard.json`; `picket rules eval --fields`
//! takes another in the same format (see [`Catalogue::from_json`]).

mod load;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use picket_events::Interest;

use crate::value::{EventId, FieldId, IteratorId, ValueType};

pub use load::CatalogueError;

/// How a text field is compared with patterns and literals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Matching {
    /// `*` stands for anything.
    #[default]
    Pattern,
    /// `*` stays inside a path segment.
    Path,
    /// As [`Matching::Pattern`], but upper and lower case are the same.
    NoCase,
}

/// What the engine has to know about a field beyond its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The flags of an open: decides which opens can matter at all.
    OpenFlags,
    /// The protection of a mapping: decides which mappings can matter at all.
    MapProtection,
    /// The tags of the rule that reads it, as `key:value`: known when it is loaded.
    RuleTags,
}

/// What is known about a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldInfo {
    /// Full name, such as `open.file.path`.
    pub name: String,
    /// Type of its value; of one element's value for a field of an iterator.
    pub value_type: ValueType,
    /// How text is compared.
    pub matching: Matching,
    /// True for a resolved path (the name ends in `path`): what no such path can be, and regular
    /// expressions, are refused next to it.
    pub resolved: bool,
    /// The event type that has it; `None` when every event has.
    pub event: Option<EventId>,
    /// The iterator it belongs to.
    pub iterator: Option<IteratorId>,
    /// Longest value the field can have, in bytes.
    pub max_length: Option<usize>,
    /// What else the engine uses it for.
    pub role: Option<Role>,
    /// A field of the same record whose value counts as well, where it has one.
    pub also: Option<FieldId>,
    /// What has to be watched beside the event's own type to fill it.
    pub needs: Option<Interest>,
    /// What it is, in a few words; empty where nothing is said.
    pub about: Arc<str>,
    /// Why it always has its zero value, if so.
    pub zero: Option<Arc<str>>,
    /// When it has another than its zero value, where that is seldom so.
    pub mostly_zero: Option<Arc<str>>,
}

/// What is known about an event type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventInfo {
    /// Name, such as `open`.
    pub name: String,
    /// What it means, in a few words.
    pub about: String,
    /// Why it can never happen here, if so.
    pub never: Option<String>,
    /// What has to be watched for it, where that is not the type of its name.
    pub needs: Option<Interest>,
}

/// What is known about an iterator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IteratorInfo {
    /// Full name, such as `process.ancestors`.
    pub name: String,
    /// The event type that has it; `None` when every event has.
    pub event: Option<EventId>,
}

/// One step of the expansion of a pseudo-field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion {
    /// What takes the place of the pseudo-field's prefix.
    pub fields: String,
    /// A condition that is added, or nothing.
    pub condition: Option<String>,
}

/// All fields, event types, iterators and constants.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    pub(crate) fields: Vec<FieldInfo>,
    pub(crate) events: Vec<EventInfo>,
    pub(crate) iterators: Vec<IteratorInfo>,
    pub(crate) field_ids: HashMap<String, FieldId>,
    pub(crate) event_ids: HashMap<String, EventId>,
    pub(crate) iterator_ids: HashMap<String, IteratorId>,
    pub(crate) constants: HashMap<String, i64>,
    pub(crate) aliases: HashMap<String, String>,
    pub(crate) alias_prefixes: Vec<(String, String)>,
    pub(crate) alias_suffixes: Vec<(String, String)>,
    pub(crate) builtins: HashMap<String, String>,
    pub(crate) expansions: Vec<(String, Vec<Expansion>)>,
}

static STANDARD: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
    let catalogue = Catalogue::from_json(include_str!("standard.json"));
    Arc::new(catalogue.expect("the built-in catalogue is tested"))
});

impl Catalogue {
    /// The built-in catalogue: SECL's fields and those that a system call tracer adds.
    pub fn standard() -> Arc<Catalogue> {
        Arc::clone(&STANDARD)
    }

    /// The field with this name, legacy names included.
    pub fn field(&self, name: &str) -> Option<FieldId> {
        if let Some(id) = self.field_ids.get(name) {
            return Some(*id);
        }
        self.field_ids
            .get(self.current_name(name)?.as_str())
            .copied()
    }

    /// What is known about a field. Panics on an id of another catalogue.
    pub fn info(&self, field: FieldId) -> &FieldInfo {
        &self.fields[usize::from(field.0)]
    }

    /// Every field.
    pub fn fields(&self) -> impl Iterator<Item = (FieldId, &FieldInfo)> {
        self.fields
            .iter()
            .enumerate()
            .map(|(index, info)| (FieldId(index as u16), info))
    }

    /// The event type with this name.
    pub fn event(&self, name: &str) -> Option<EventId> {
        self.event_ids.get(name).copied()
    }

    /// The name of an event type. Panics on an id of another catalogue.
    pub fn event_name(&self, event: EventId) -> &str {
        &self.event_info(event).name
    }

    /// What is known about an event type. Panics on an id of another catalogue.
    pub fn event_info(&self, event: EventId) -> &EventInfo {
        &self.events[usize::from(event.0)]
    }

    /// Every event type.
    pub fn events(&self) -> impl Iterator<Item = (EventId, &EventInfo)> {
        self.events
            .iter()
            .enumerate()
            .map(|(index, info)| (EventId(index as u16), info))
    }

    /// The iterator with this name.
    pub fn iterator(&self, name: &str) -> Option<IteratorId> {
        self.iterator_ids.get(name).copied()
    }

    /// What is known about an iterator. Panics on an id of another catalogue.
    pub fn iterator_info(&self, iterator: IteratorId) -> &IteratorInfo {
        &self.iterators[usize::from(iterator.0)]
    }

    /// Every iterator.
    pub fn iterators(&self) -> impl Iterator<Item = (IteratorId, &IteratorInfo)> {
        self.iterators
            .iter()
            .enumerate()
            .map(|(index, info)| (IteratorId(index as u16), info))
    }

    /// The value of a named constant, such as `O_CREAT`.
    pub fn constant(&self, name: &str) -> Option<i64> {
        self.constants.get(name).copied()
    }

    /// Every named constant.
    pub fn constants(&self) -> impl Iterator<Item = (&str, i64)> {
        self.constants
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
    }

    /// The field behind a built-in variable, such as `${process.pid}`.
    pub(crate) fn builtin(&self, name: &str) -> Option<FieldId> {
        self.field_ids.get(self.builtins.get(name)?).copied()
    }

    /// The expansion of the pseudo-field that this name begins with, and its prefix.
    pub(crate) fn expansion(&self, name: &str) -> Option<(&str, &[Expansion])> {
        self.expansions.iter().find_map(|(prefix, steps)| {
            let rest = name.strip_prefix(prefix.as_str())?;
            rest.starts_with('.')
                .then_some((prefix.as_str(), steps.as_slice()))
        })
    }

    /// Today's name for one from an older version of the language.
    pub(crate) fn current_name(&self, name: &str) -> Option<String> {
        if let Some(current) = self.aliases.get(name) {
            return Some(current.clone());
        }
        let prefix = self
            .alias_prefixes
            .iter()
            .find(|(old, _)| name.starts_with(old));
        let current = match prefix {
            Some((old, new)) => format!("{new}{}", &name[old.len()..]),
            None => name.to_owned(),
        };
        let suffix = self
            .alias_suffixes
            .iter()
            .find(|(old, _)| current.ends_with(old.as_str()));
        let Some((old, new)) = suffix else {
            return prefix.map(|_| current);
        };
        let stem = &current[..current.len() - old.len()];
        // Behind a prefix that already names the file, the suffix names it no more.
        let last = new.rfind('.').map_or(new.as_str(), |dot| &new[dot..]);
        let names = [format!("{stem}{new}"), format!("{stem}{last}")];
        names
            .into_iter()
            .find(|name| self.field_ids.contains_key(name))
    }
}
