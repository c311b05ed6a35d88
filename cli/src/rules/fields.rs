//! `picket rules fields`: event types and fields, in the manner of `kubectl explain`.

use std::fmt::Write as _;

use picket_rules::Catalogue;
use picket_rules::tools::describe::{self, ListedEvent, ListedField};
use serde::Serialize;

/// What is said about a name; about all event types without one.
pub(super) fn explain(name: Option<&str>, recursive: bool) -> anyhow::Result<String> {
    let catalogue = Catalogue::standard();
    let Some(name) = name else {
        return Ok(events(&catalogue));
    };
    if let Some((field, event)) = describe::field(&catalogue, name) {
        let event = event.map(|event| format!("{}: {}", event.name, event.about));
        return Ok(one(name, &field, event));
    }
    let own = (name != "common").then_some(name);
    let mut out = String::new();
    let (below, prefix) = match describe::fields(&catalogue, own) {
        Some(fields) => {
            let events = describe::events(&catalogue).into_iter();
            let event = events.into_iter().find(|event| event.name == name);
            let _ = match event {
                Some(event) => {
                    let never = event.never.map(|why| format!("\nNEVER:  here: {why}"));
                    let never = never.unwrap_or_default();
                    writeln!(
                        out,
                        "EVENT:  {}\nABOUT:  {}{never}\n",
                        event.name, event.about
                    )
                }
                None => writeln!(out, "Fields that every event has.\n"),
            };
            (
                fields,
                own.map(|name| format!("{name}.")).unwrap_or_default(),
            )
        }
        None => {
            let below = beginning_with(&catalogue, name);
            let prefix = format!("{}.", name.trim_end_matches('.'));
            let whole = below.iter().all(|field| field.name.starts_with(&prefix));
            let cut = name.rfind('.').map_or("", |dot| &name[..=dot]);
            (below, if whole { prefix } else { cut.to_owned() })
        }
    };
    if below.is_empty() {
        return Err(unknown(&catalogue, name));
    }
    out.push_str("FIELDS:\n");
    out.push_str(&level(&below, &prefix, recursive));
    Ok(out)
}

/// Event types and fields for programs: all of them, or what a name stands for.
#[derive(Serialize)]
struct Named {
    events: Vec<ListedEvent>,
    fields: Vec<ListedField>,
}

/// The same as [`explain`] for programs; groups are given with all that is below them.
pub(super) fn json(name: Option<&str>) -> anyhow::Result<String> {
    let catalogue = Catalogue::standard();
    let events = describe::events(&catalogue);
    let named = match name {
        None => Named {
            events,
            fields: describe::all_fields(&catalogue),
        },
        Some(name) => {
            let own = (name != "common").then_some(name);
            let fields = match describe::field(&catalogue, name) {
                Some((field, _)) => vec![field],
                None => describe::fields(&catalogue, own)
                    .unwrap_or_else(|| beginning_with(&catalogue, name)),
            };
            let events = events.into_iter().filter(|event| event.name == name);
            let events: Vec<ListedEvent> = events.collect();
            if fields.is_empty() && events.is_empty() {
                return Err(unknown(&catalogue, name));
            }
            Named { events, fields }
        }
    };
    Ok(serde_json::to_string_pretty(&named)? + "\n")
}

fn beginning_with(catalogue: &Catalogue, name: &str) -> Vec<ListedField> {
    let all = describe::all_fields(catalogue).into_iter();
    all.filter(|field| field.name.starts_with(name)).collect()
}

fn unknown(catalogue: &Catalogue, name: &str) -> anyhow::Error {
    let near = describe::nearest_name(catalogue, name);
    let near = near.map(|near| format!("; did you mean {near}?"));
    anyhow::anyhow!(
        "no event type and no field begins with {name:?}{}",
        near.unwrap_or_else(|| "; `picket rules fields` lists the event types".to_owned())
    )
}

fn events(catalogue: &Catalogue) -> String {
    let mut out = String::from("EVENT TYPES (`common` has the fields of all of them):\n");
    for event in describe::events(catalogue) {
        let never = event.never.map(|why| format!(" (never here: {why})"));
        let never = never.unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {:<22} {}{never}", event.name, event.about);
    }
    out
}

fn type_of(field: &ListedField) -> String {
    let list = if field.iterator.is_some() {
        " of each"
    } else {
        ""
    };
    format!("<{}{list}>", field.value_type)
}

/// The fields below a prefix: all of them, or those of one level and the groups on it.
fn level(fields: &[ListedField], prefix: &str, recursive: bool) -> String {
    let mut out = String::new();
    let mut last_group = "";
    for field in fields {
        let rest = field.name.strip_prefix(prefix).unwrap_or(&field.name);
        let group = rest.split_once('.').map(|(group, _)| group);
        let _ = match group {
            Some(group) if !recursive => {
                if group == last_group {
                    continue;
                }
                last_group = group;
                writeln!(out, "  {:<42} more below", format!("{prefix}{group}."))
            }
            _ => {
                let zero = field.zero.as_ref();
                let zero = zero.map(|why| format!(" (always zero: {why})"));
                let zero = zero.unwrap_or_default();
                let (name, about) = (&field.name, &field.about);
                writeln!(out, "  {name:<42} {:<10} {about}{zero}", type_of(field))
            }
        };
    }
    out
}

fn one(asked: &str, field: &ListedField, event: Option<String>) -> String {
    let mut out = String::new();
    let mut row = |label: &str, text: &str| {
        if !text.is_empty() {
            let _ = writeln!(out, "{:<10} {text}", format!("{label}:"));
        }
    };
    row("FIELD", &format!("{} {}", field.name, type_of(field)));
    if asked != field.name {
        row("ALSO", &format!("{asked}, its older name"));
    }
    row("EVENT", event.as_deref().unwrap_or("every event has it"));
    row("ABOUT", &field.about);
    row(
        "COMPARED",
        match field.matching {
            Some("path") => {
                "as a path: `*` stays inside a part, `**` is the whole last part; no regular expressions"
            }
            Some("nocase") => "as a text, upper and lower case alike; `*` stands for anything",
            Some(_) => "as a text; `*` stands for anything",
            None => "",
        },
    );
    if let Some(list) = &field.iterator {
        row(
            "LIST",
            &format!("any of {list}; {list}[A] ties conditions to one, {list}[0] is the nearest"),
        );
    }
    row(
        "ZERO",
        &field
            .zero
            .as_ref()
            .map(|why| format!("always: {why}"))
            .unwrap_or_default(),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> String {
        explain(Some(name), false).unwrap()
    }

    #[test]
    fn one_level_after_the_other_leads_to_a_field() {
        assert!(explain(None, false).unwrap().contains("  open "));
        let open = text("open");
        assert!(open.starts_with("EVENT:  open\nABOUT:  A file was opened or created\n"));
        assert!(
            open.contains("  open.flags ") && open.contains("  open.file. "),
            "{open}"
        );
        assert!(!open.contains("open.file.path"), "{open}");
        let file = text("open.file");
        assert!(
            file.contains("  open.file.path ") && file.contains("  open.file.package. "),
            "{file}"
        );
        assert_eq!(file, text("open.file."));
        let path = text("open.file.path");
        assert!(
            path.contains("FIELD:     open.file.path <string>"),
            "{path}"
        );
        assert!(path.contains("as a path"), "{path}");
        assert!(text("open.fi").contains("open.file."));
        assert!(text("common").contains("  process. "));
    }

    #[test]
    fn older_names_lists_and_fields_that_stay_empty_say_so() {
        assert!(text("open.filename").contains("open.filename, its older name"));
        assert!(text("process.ancestors.comm").contains("process.ancestors[A]"));
        assert!(text("process.netns").contains("ZERO:      always: "));
        assert!(text("packet").contains("NEVER:"));
        for (name, meant) in [("opne", "open"), ("open.file.pth", "open.file.path")] {
            let error = explain(Some(name), false).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("did you mean {meant}?")),
                "{error}"
            );
        }
        let error = explain(Some("élan"), false).unwrap_err().to_string();
        assert!(error.contains("lists the event types"), "{error}");
    }

    #[test]
    fn programs_get_the_same_as_json() {
        let named = |name: Option<&str>| -> serde_json::Value {
            serde_json::from_str(&json(name).unwrap()).unwrap()
        };
        let all = named(None);
        let count = |of: &serde_json::Value, list: &str| of[list].as_array().unwrap().len();
        assert_eq!(
            count(&all, "events"),
            Catalogue::standard().events().count()
        );
        assert_eq!(
            count(&all, "fields"),
            Catalogue::standard().fields().count()
        );
        let open = named(Some("open"));
        assert_eq!(open["events"][0]["name"], "open");
        let flags = named(Some("open.flags"));
        assert_eq!(flags["fields"][0]["type"], "int");
        let netns = named(Some("process.netns"));
        assert!(netns["fields"][0]["zero"].is_string(), "{netns}");
        assert!(count(&named(Some("process.parent.")), "fields") > 50);
        assert!(json(Some("opne")).is_err());
    }

    #[test]
    fn every_field_is_below_its_event_when_all_are_asked_for() {
        let all = explain(Some("open"), true).unwrap();
        assert!(all.contains("  open.file.package.name "), "{all}");
    }
}
