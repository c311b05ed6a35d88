//! Reads a catalogue from JSON.

use std::collections::HashMap;
use std::sync::Arc;

use picket_events::Interest;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{Catalogue, EventInfo, Expansion, FieldInfo, IteratorInfo, Matching, Role};
use crate::matcher::Wildcard;
use crate::value::{EventId, FieldId, IteratorId, ValueType};

/// What can be wrong with a catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Not JSON, or not of the expected shape.
    #[error("catalogue: {0}")]
    Json(#[from] serde_json::Error),
    /// A field that cannot be understood.
    #[error("catalogue: field {field:?}: {problem}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// More fields than an id can number.
    #[error("catalogue: more than {} fields", u16::MAX)]
    TooLarge,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    records: HashMap<String, Map<String, Json>>,
    #[serde(default)]
    fields: Map<String, Json>,
    #[serde(default)]
    events: Map<String, Json>,
    #[serde(default)]
    constants: HashMap<String, i64>,
    #[serde(default)]
    constants_aarch64: HashMap<String, i64>,
    #[serde(default)]
    alternatives: HashMap<String, String>,
    #[serde(default)]
    field_about: Vec<(String, String)>,
    #[serde(default)]
    zero: HashMap<String, Vec<String>>,
    #[serde(default)]
    mostly_zero: HashMap<String, Vec<String>>,
    #[serde(default)]
    aliases: HashMap<String, String>,
    #[serde(default)]
    alias_prefixes: HashMap<String, String>,
    #[serde(default)]
    alias_suffixes: HashMap<String, String>,
    #[serde(default)]
    builtins: HashMap<String, String>,
    #[serde(default)]
    expansions: HashMap<String, Vec<ExpansionDocument>>,
}

#[derive(Deserialize)]
struct EventDocument {
    #[serde(default)]
    about: String,
    never: Option<String>,
    needs: Option<String>,
    #[serde(default)]
    fields: Map<String, Json>,
}

#[derive(Deserialize)]
struct ExpansionDocument {
    fields: String,
    and: Option<String>,
}

#[derive(Deserialize, Default)]
struct FieldDocument {
    #[serde(rename = "type")]
    value_type: Option<String>,
    record: Option<String>,
    #[serde(rename = "match")]
    matching: Option<String>,
    resolved: Option<bool>,
    max_length: Option<usize>,
    role: Option<String>,
    needs: Option<String>,
    #[serde(default)]
    fields: Map<String, Json>,
}

impl Catalogue {
    /// Reads a catalogue:
    ///
    /// ```
    /// let catalogue = picket_rules::Catalogue::from_json(r#"{
    ///   "fields": {
    ///     "a.name": {"type": "string", "match": "path"},
    ///     "a.uid": "int",
    ///     "p.list": {"type": "iterator", "fields": {"key": {"type": "int"}}}
    ///   },
    ///   "constants": {"O_RDONLY": 0}
    /// }"#).unwrap();
    /// assert!(catalogue.field("p.list.key").is_some());
    /// ```
    ///
    /// Types are bool, int, string, ip, the same with `[]`, and iterator; `match` is pattern
    /// (default), path or nocase. A field with `match` path whose name ends in `.path` holds
    /// resolved paths, unless `resolved` is false: no regular expression fits it, nor what no such path
    /// can be. `events` maps event types to `{"about", "never",
    /// "fields"}`, whose fields get the event's name as prefix; `records` names groups of
    /// fields for use as `{"record": NAME}`; `alternatives` names ends of fields and those of
    /// fields whose values count as well.
    ///
    /// # Errors
    /// [`CatalogueError`] when the text is not such a document.
    pub fn from_json(text: &str) -> Result<Catalogue, CatalogueError> {
        let document: Document = serde_json::from_str(text)?;
        let mut loader = Loader {
            catalogue: Catalogue::default(),
            records: &document.records,
        };
        loader.fields("", &document.fields, Place::default())?;
        for (name, event) in &document.events {
            let event: EventDocument = serde_json::from_value(event.clone())?;
            let id = EventId(loader.catalogue.events.len() as u16);
            loader.catalogue.events.push(EventInfo {
                name: name.clone(),
                about: event.about,
                never: event.never,
                needs: needs(name, event.needs.as_deref())?,
            });
            loader.catalogue.event_ids.insert(name.clone(), id);
            let place = Place {
                event: Some(id),
                iterator: None,
                depth: 0,
            };
            loader.fields(name, &event.fields, place)?;
        }
        let mut catalogue = loader.catalogue;
        for index in 0..catalogue.fields.len() {
            let name = &catalogue.fields[index].name;
            let also = document.alternatives.iter().find_map(|(end, other)| {
                let other = format!("{}{other}", name.strip_suffix(end.as_str())?);
                catalogue.field_ids.get(&other).copied()
            });
            catalogue.fields[index].also = also;
        }
        for (pattern, about) in document.field_about.iter().rev() {
            // The first that fits counts, so it is written last.
            let pattern = Wildcard::new(pattern, false);
            let about: Arc<str> = Arc::from(about.as_str());
            for field in &mut catalogue.fields {
                if pattern.matches(&field.name) {
                    field.about = Arc::clone(&about);
                }
            }
        }
        note(&mut catalogue.fields, &document.zero, |field| {
            &mut field.zero
        });
        note(&mut catalogue.fields, &document.mostly_zero, |field| {
            &mut field.mostly_zero
        });
        catalogue.constants = document.constants;
        if cfg!(target_arch = "aarch64") {
            catalogue.constants.extend(document.constants_aarch64);
        }
        catalogue.aliases = document.aliases;
        catalogue.alias_prefixes = document.alias_prefixes.into_iter().collect();
        catalogue.alias_suffixes = document.alias_suffixes.into_iter().collect();
        catalogue.builtins = document.builtins;
        catalogue.expansions = document.expansions.into_iter().map(expansion).collect();
        Ok(catalogue)
    }
}

/// Notes a reason at each field that one of its patterns names.
fn note(
    fields: &mut [FieldInfo],
    reasons: &HashMap<String, Vec<String>>,
    place: impl Fn(&mut FieldInfo) -> &mut Option<Arc<str>>,
) {
    for (reason, patterns) in reasons {
        let patterns: Vec<Wildcard> = patterns
            .iter()
            .map(|pattern| Wildcard::new(pattern, false))
            .collect();
        let reason: Arc<str> = Arc::from(reason.as_str());
        for field in fields.iter_mut() {
            if patterns.iter().any(|pattern| pattern.matches(&field.name)) {
                *place(field) = Some(Arc::clone(&reason));
            }
        }
    }
}

fn expansion((prefix, steps): (String, Vec<ExpansionDocument>)) -> (String, Vec<Expansion>) {
    let steps = steps
        .into_iter()
        .map(|step| Expansion {
            fields: step.fields,
            condition: step.and,
        })
        .collect();
    (prefix, steps)
}

/// Where a field stands.
#[derive(Clone, Copy, Default)]
struct Place {
    event: Option<EventId>,
    iterator: Option<IteratorId>,
    depth: usize,
}

struct Loader<'a> {
    catalogue: Catalogue,
    records: &'a HashMap<String, Map<String, Json>>,
}

impl Loader<'_> {
    fn fields(
        &mut self,
        prefix: &str,
        fields: &Map<String, Json>,
        place: Place,
    ) -> Result<(), CatalogueError> {
        for (name, field) in fields {
            let name = match (prefix, name.as_str()) {
                ("", name) => name.to_owned(),
                (prefix, "") => prefix.to_owned(),
                (prefix, name) => format!("{prefix}.{name}"),
            };
            let field = match field {
                Json::String(word) => FieldDocument {
                    value_type: Some(word.clone()),
                    ..FieldDocument::default()
                },
                other => serde_json::from_value(other.clone())
                    .map_err(|error| fault(&name, &error.to_string()))?,
            };
            self.field(name, &field, place)?;
        }
        Ok(())
    }

    fn field(
        &mut self,
        name: String,
        field: &FieldDocument,
        mut place: Place,
    ) -> Result<(), CatalogueError> {
        if place.depth > 4 {
            return Err(fault(&name, "records are nested too deeply"));
        }
        place.depth += 1;
        let is_iterator = field.value_type.as_deref() == Some("iterator");
        if is_iterator {
            if place.iterator.is_some() {
                return Err(fault(&name, "an iterator cannot hold another"));
            }
            let id = IteratorId(self.catalogue.iterators.len() as u16);
            self.catalogue.iterators.push(IteratorInfo {
                name: name.clone(),
                event: place.event,
            });
            self.catalogue.iterator_ids.insert(name.clone(), id);
            place.iterator = Some(id);
        }
        if let Some(record) = &field.record {
            let Some(fields) = self.records.get(record) else {
                return Err(fault(&name, &format!("record {record:?} is not defined")));
            };
            return self.fields(&name, fields, place);
        }
        if is_iterator {
            return self.fields(&name, &field.fields, place);
        }
        let value_type = field.value_type.as_deref().unwrap_or_default();
        let Some(value_type) = ValueType::from_name(value_type) else {
            return Err(fault(
                &name,
                &format!(
                    "type {value_type:?} is not one of bool, int, string, ip, their lists with [], iterator"
                ),
            ));
        };
        let matching = match field.matching.as_deref() {
            None | Some("pattern") => Matching::Pattern,
            Some("path") => Matching::Path,
            Some("nocase") => Matching::NoCase,
            Some(other) => {
                return Err(fault(
                    &name,
                    &format!("match {other:?} is not one of path, pattern, nocase"),
                ));
            }
        };
        let role = match field.role.as_deref() {
            None => None,
            Some("open_flags") => Some(Role::OpenFlags),
            Some("map_protection") => Some(Role::MapProtection),
            Some("rule_tags") => Some(Role::RuleTags),
            Some(other) => return Err(fault(&name, &format!("role {other:?} is not known"))),
        };
        let needs = needs(&name, field.needs.as_deref())?;
        let id = u16::try_from(self.catalogue.fields.len())
            .map(FieldId)
            .map_err(|_| CatalogueError::TooLarge)?;
        if self.catalogue.field_ids.insert(name.clone(), id).is_some() {
            return Err(fault(&name, "is defined twice"));
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        let resolved = matching == Matching::Path && matches!(last, "path" | "cwd");
        let resolved = field.resolved.unwrap_or(resolved);
        self.catalogue.fields.push(FieldInfo {
            name,
            value_type,
            matching,
            resolved,
            event: place.event,
            iterator: place.iterator,
            max_length: field.max_length,
            role,
            also: None,
            needs,
            about: Arc::default(),
            zero: None,
            mostly_zero: None,
        });
        Ok(())
    }
}

/// The text form of an interest.
fn needs(name: &str, text: Option<&str>) -> Result<Option<Interest>, CatalogueError> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(interest) => Ok(Some(interest)),
        Err(_) => Err(fault(name, &format!("needs {text:?} is no interest"))),
    }
}

fn fault(field: &str, problem: &str) -> CatalogueError {
    CatalogueError::Field {
        field: field.to_owned(),
        problem: problem.to_owned(),
    }
}
