//! Events written as JSON.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Map, Value as Json};

use crate::catalogue::Catalogue;
use crate::syntax::nearest;
use crate::value::{Context, EventId, FieldId, IteratorId, Scope, Value, ValueType};
use crate::variable::Stored;

/// An event whose fields were written out: `{"type": "open", "open.file.path": "/etc/shadow",
/// "process.ancestors": [{"file.path": "/bin/sh"}]}`. Fields that are not given are zero.
#[derive(Debug, Clone)]
pub struct WrittenEvent {
    catalogue: Arc<Catalogue>,
    event: Option<EventId>,
    fields: Vec<Option<Stored>>,
    /// By iterator: elements, each with its fields.
    iterators: Vec<Vec<Vec<(FieldId, Stored)>>>,
    /// Time of the event, nanoseconds since the epoch.
    pub now: i64,
    /// Key for variables of the process.
    pub process: u64,
    /// Keys of the process's ancestors, nearest first.
    pub ancestors: Vec<u64>,
    /// Key for variables of the container.
    pub container: u64,
}

/// What is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not an object.
    #[error(
        "an event is an object such as {{\"type\": \"open\", \"open.file.path\": \"/etc/passwd\"}}"
    )]
    Shape,
    /// No such event type.
    #[error("unknown event type {name}{}", suggestion.as_ref().map(|s| format!("; did you mean {s}?")).unwrap_or_default())]
    Type {
        /// What was given, as JSON.
        name: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// No such field.
    #[error("unknown field {name:?}{}", suggestion.as_ref().map(|s| format!("; did you mean {s}?")).unwrap_or_default())]
    Field {
        /// The name.
        name: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// Another type than the field has.
    #[error("field {name:?}: expected {expected}, found {found}")]
    Value {
        /// The field.
        name: String,
        /// Its type.
        expected: &'static str,
        /// What was given.
        found: String,
    },
}

impl WrittenEvent {
    /// Reads an event.
    ///
    /// # Errors
    /// [`EventError`] for a field or a type that the catalogue does not have, or a value of
    /// another type.
    pub fn read(catalogue: &Arc<Catalogue>, json: &Json) -> Result<Self, EventError> {
        let Json::Object(object) = json else {
            return Err(EventError::Shape);
        };
        Self::read_at(catalogue, object, 0)
    }

    /// Reads an event that happened `now` (nanoseconds since the epoch), unless it says itself
    /// when: by `now`, or by its `event.timestamp`.
    ///
    /// # Errors
    /// As for [`WrittenEvent::read`].
    pub fn read_at(
        catalogue: &Arc<Catalogue>,
        object: &Map<String, Json>,
        now: i64,
    ) -> Result<Self, EventError> {
        let mut event = Self::empty(catalogue);
        for (name, value) in object {
            event.set(name, value)?;
        }
        let timestamp = catalogue.field("event.timestamp");
        let timestamp = timestamp.and_then(|field| event.fields[usize::from(field.0)].as_ref());
        match (object.contains_key("now"), timestamp) {
            (true, _) => {}
            (false, Some(Stored::Int(timestamp))) => event.now = *timestamp,
            (false, _) => event.now = now,
        }
        Ok(event)
    }

    /// An event without any field.
    pub fn empty(catalogue: &Arc<Catalogue>) -> Self {
        Self {
            event: None,
            fields: vec![None; catalogue.fields().count()],
            iterators: vec![Vec::new(); catalogue.iterators().count()],
            now: 0,
            process: 1,
            ancestors: Vec::new(),
            container: 1,
            catalogue: Arc::clone(catalogue),
        }
    }

    /// The event's type, where it was given.
    pub fn event_type(&self) -> Option<EventId> {
        self.event
    }

    /// Sets a field; nested objects are read as parts of its name.
    ///
    /// # Errors
    /// As for [`WrittenEvent::read`].
    pub fn set(&mut self, name: &str, value: &Json) -> Result<(), EventError> {
        if name == "type" {
            return self.set_type(value);
        }
        if name == "now" && self.catalogue.field(name).is_none() {
            self.now = value
                .as_i64()
                .ok_or_else(|| wrong(name, ValueType::Int, value))?;
            return Ok(());
        }
        if let Some(iterator) = self.catalogue.iterator(name) {
            let Json::Array(elements) = value else {
                let expected = "an array of objects";
                return Err(EventError::Value {
                    name: name.to_owned(),
                    expected,
                    found: value.to_string(),
                });
            };
            let catalogue = Arc::clone(&self.catalogue);
            let read = |element| read_element(&catalogue, iterator, name, element);
            let elements = elements.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            self.ancestors = (0..elements.len() as u64)
                .map(|index| u64::MAX - index)
                .collect();
            self.iterators[usize::from(iterator.0)] = elements;
            return Ok(());
        }
        match (self.catalogue.field(name), value) {
            // Nothing is what a field has that is not given.
            (Some(field), Json::Null) if self.catalogue.info(field).iterator.is_none() => Ok(()),
            (Some(field), _) if self.catalogue.info(field).iterator.is_none() => {
                let value_type = self.catalogue.info(field).value_type;
                self.fields[usize::from(field.0)] = Some(owned(name, value_type, value)?);
                Ok(())
            }
            (None, Json::Object(object)) => {
                for (key, value) in object {
                    self.set(&format!("{name}.{key}"), value)?;
                }
                Ok(())
            }
            _ => Err(unknown(&self.catalogue, name)),
        }
    }

    fn set_type(&mut self, value: &Json) -> Result<(), EventError> {
        let name = value.as_str().unwrap_or_default();
        self.event = self.catalogue.event(name);
        // A catalogue without event types leaves the word without meaning.
        match self.event.is_none() && self.catalogue.events().next().is_some() {
            true => Err(EventError::Type {
                suggestion: nearest(
                    name,
                    self.catalogue.events().map(|(_, info)| info.name.as_str()),
                ),
                name: value.to_string(),
            }),
            false => Ok(()),
        }
    }
}

/// An element of an iterator; names may be given with or without the iterator's.
fn read_element(
    catalogue: &Catalogue,
    iterator: IteratorId,
    prefix: &str,
    element: &Json,
) -> Result<Vec<(FieldId, Stored)>, EventError> {
    let Json::Object(object) = element else {
        return Err(EventError::Value {
            name: prefix.to_owned(),
            expected: "an array of objects",
            found: element.to_string(),
        });
    };
    let mut fields = Vec::new();
    read_fields(catalogue, iterator, prefix, object, &mut fields)?;
    Ok(fields)
}

fn read_fields(
    catalogue: &Catalogue,
    iterator: IteratorId,
    prefix: &str,
    object: &Map<String, Json>,
    fields: &mut Vec<(FieldId, Stored)>,
) -> Result<(), EventError> {
    for (key, value) in object {
        let name = match key.starts_with(&format!("{prefix}.")) {
            true => key.clone(),
            false => format!("{prefix}.{key}"),
        };
        match (catalogue.field(&name), value) {
            (Some(field), Json::Null) if catalogue.info(field).iterator == Some(iterator) => {}
            (Some(field), value) if catalogue.info(field).iterator == Some(iterator) => {
                fields.push((
                    field,
                    owned(&name, catalogue.info(field).value_type, value)?,
                ));
            }
            (None, Json::Object(inner)) => {
                read_fields(catalogue, iterator, &name, inner, fields)?;
            }
            _ => return Err(unknown(catalogue, &name)),
        }
    }
    Ok(())
}

fn unknown(catalogue: &Catalogue, name: &str) -> EventError {
    let suggestion = nearest(name, catalogue.fields().map(|(_, info)| info.name.as_str()));
    EventError::Field {
        name: name.to_owned(),
        suggestion,
    }
}

fn wrong(name: &str, expected: ValueType, found: &Json) -> EventError {
    EventError::Value {
        name: name.to_owned(),
        expected: expected.name(),
        found: found.to_string(),
    }
}

fn owned(name: &str, value_type: ValueType, value: &Json) -> Result<Stored, EventError> {
    let fault = || wrong(name, value_type, value);
    let list = |value: &Json| match value {
        Json::Array(values) => Some(values.clone()),
        Json::Null => Some(Vec::new()),
        _ => None,
    };
    let many = || list(value).ok_or_else(fault);
    Ok(match value_type {
        ValueType::Bool => Stored::Bool(value.as_bool().ok_or_else(fault)?),
        ValueType::Int => Stored::Int(as_int(value).ok_or_else(fault)?),
        ValueType::String => Stored::Text(value.as_str().ok_or_else(fault)?.to_owned()),
        ValueType::Ip => Stored::Address(as_address(value).ok_or_else(fault)?),
        ValueType::Bools => {
            let values = many()?.iter().map(Json::as_bool).collect::<Option<_>>();
            Stored::Bools(values.ok_or_else(fault)?)
        }
        ValueType::Ints => {
            let values = many()?.iter().map(as_int).collect::<Option<_>>();
            Stored::Ints(values.ok_or_else(fault)?)
        }
        ValueType::Strings => {
            let values = many()?
                .iter()
                .map(|v| v.as_str().map(str::to_owned))
                .collect::<Option<_>>();
            Stored::Texts(values.ok_or_else(fault)?)
        }
        ValueType::Ips => {
            let values = many()?.iter().map(as_address).collect::<Option<_>>();
            Stored::Addresses(values.ok_or_else(fault)?)
        }
    })
}

/// A number; one that does not fit into 63 bits is taken bit for bit.
pub(crate) fn as_int(value: &Json) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_u64().map(|value| value as i64))
}

fn as_address(value: &Json) -> Option<IpNet> {
    let text = value.as_str()?;
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl Context for WrittenEvent {
    fn value(&self, field: FieldId) -> Value<'_> {
        match self.fields.get(usize::from(field.0)) {
            Some(Some(value)) => value.borrow(),
            _ => self.catalogue.info(field).value_type.zero(),
        }
    }

    fn length(&self, iterator: IteratorId) -> usize {
        self.iterators[usize::from(iterator.0)].len()
    }

    fn element(&self, field: FieldId, index: usize) -> Value<'_> {
        let info = self.catalogue.info(field);
        let elements = info
            .iterator
            .and_then(|iterator| self.iterators.get(usize::from(iterator.0)));
        let element = elements.and_then(|elements| elements.get(index));
        let value = element.and_then(|fields| fields.iter().find(|(id, _)| *id == field));
        match value {
            Some((_, value)) => value.borrow(),
            None => info.value_type.zero(),
        }
    }

    fn now(&self) -> i64 {
        self.now
    }

    fn scope_key(&self, scope: Scope) -> Option<u64> {
        Some(match scope {
            Scope::Global => 0,
            Scope::Process => self.process,
            Scope::Container => self.container,
        })
    }

    fn ancestor_key(&self, scope: Scope, generation: usize) -> Option<u64> {
        match scope {
            Scope::Process => self.ancestors.get(generation).copied(),
            _ => None,
        }
    }

    fn process_key(&self, pid: i64) -> Option<u64> {
        u64::try_from(pid).ok()
    }
}
