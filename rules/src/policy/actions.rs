//! Actions: what a rule does when it matches.

use super::document::{Reader, Result};
use super::set::build_set;
use super::yaml::Node;
use crate::action::{Action, ActionKind, ActionRequest, DEFAULT_HASH_LIMIT, KillScope};
use crate::catalogue::Catalogue;
use crate::compile::{Environment, compile, compile_text};
use crate::report::LoadError;
use crate::syntax::{ExpressionError, parse_expression};
use crate::value::EventId;

/// What an action compiles to; `Err` in the outer result is a mistake, a text in the inner
/// one says what this engine does not do.
pub(super) fn build(
    reader: Reader<'_>,
    environment: Environment<'_>,
    event: EventId,
) -> Result<std::result::Result<Action, String>> {
    reader.mapping()?;
    let filter = match reader
        .spanned("filter")?
        .filter(|text| !text.text.trim().is_empty())
    {
        Some(filter) => {
            let compiled = parse_expression(&filter.text)
                .and_then(|node| compile(environment, &node))
                .map_err(|error| expression_fault(reader, &filter.text, &filter.node, &error))?;
            check_event(
                reader,
                &filter.node,
                environment.catalogue,
                compiled.event,
                event,
            )?;
            Some(compiled.program)
        }
        None => None,
    };
    let inside = |node| Reader { node, ..reader };
    let kind = if let Some(set) = reader.node.get("set") {
        ActionKind::Set(build_set(inside(set), environment, event)?)
    } else if let Some(kill) = reader.node.get("kill") {
        build_kill(inside(kill), environment.catalogue)?
    } else if let Some(hash) = reader.node.get("hash") {
        build_hash(inside(hash), environment.catalogue, event)?
    } else if let Some(quarantine) = reader.node.get("quarantine") {
        inside(quarantine).mapping()?;
        ActionKind::Request(ActionRequest::Quarantine)
    } else if let Some(deny) = reader.node.get("deny") {
        inside(deny).mapping()?;
        if filter.is_some() {
            // The tracer judges before there is an event that a filter could be held against.
            let message = "deny takes no filter: write it into the expression".to_owned();
            return Err(reader.fault(reader.node, message));
        }
        ActionKind::Request(ActionRequest::Deny)
    } else if let Some(log) = reader.node.get("log") {
        let log = inside(log);
        let message = log.spanned("message")?;
        let text = message
            .as_ref()
            .map(|text| text.text.as_str())
            .unwrap_or_default();
        let node = message.as_ref().map_or(log.node, |text| &text.node);
        let compiled = compile_text(environment, text)
            .map_err(|error| expression_fault(log, text, node, &error))?;
        let level = log.text("level")?.unwrap_or_else(|| "info".to_owned());
        ActionKind::Log {
            level,
            message: compiled,
        }
    } else {
        for name in ["coredump", "network_filter"] {
            if reader.node.get(name).is_some() {
                return Ok(Err(format!(
                    "action {name} cannot be done here and is left out"
                )));
            }
        }
        let message = "an action is one of set, kill, deny, quarantine, hash, log".to_owned();
        return Err(reader.fault(reader.node, message));
    };
    Ok(Ok(Action { filter, kind }))
}

fn build_kill(kill: Reader<'_>, catalogue: &Catalogue) -> Result<ActionKind> {
    let name = kill.text("signal")?.unwrap_or_default();
    let signal = catalogue
        .constant(&name)
        .filter(|_| name.starts_with("SIG"));
    let Some(signal) = signal.and_then(|signal| i32::try_from(signal).ok()) else {
        let message = format!("kill: signal {name:?} is not one such as SIGKILL");
        return Err(kill.fault(kill.node, message));
    };
    let scope = match kill.text("scope")?.as_deref() {
        None | Some("" | "process") => KillScope::Process,
        Some("container" | "cgroup") => KillScope::Container,
        Some(other) => {
            let message = format!("kill: scope {other:?} is not one of process, container, cgroup");
            return Err(kill.fault(kill.node, message));
        }
    };
    Ok(ActionKind::Request(ActionRequest::Kill { signal, scope }))
}

fn build_hash(hash: Reader<'_>, catalogue: &Catalogue, event: EventId) -> Result<ActionKind> {
    let event_name = catalogue.event_name(event);
    let asked = hash.text("field")?;
    let field = match &asked {
        Some(name) => catalogue
            .field(&format!("{name}.path"))
            .or_else(|| catalogue.field(name)),
        None => catalogue
            .field(&format!("{event_name}.file.path"))
            .or_else(|| catalogue.field("process.file.path")),
    };
    let Some(field) = field else {
        let name = asked.unwrap_or_default();
        return Err(unknown_field(hash, "field", &name, catalogue));
    };
    check_event(
        hash,
        hash.node,
        catalogue,
        catalogue.info(field).event,
        event,
    )?;
    let max_size = match hash.int("max_file_size")? {
        Some(size) if size > 0 => size as u64,
        _ => DEFAULT_HASH_LIMIT,
    };
    Ok(ActionKind::Request(ActionRequest::Hash { field, max_size }))
}

pub(super) fn check_event(
    reader: Reader<'_>,
    node: &Node,
    catalogue: &Catalogue,
    found: Option<EventId>,
    event: EventId,
) -> Result<()> {
    match found {
        Some(found) if found != event => {
            let (found, event) = (catalogue.event_name(found), catalogue.event_name(event));
            let message = format!("{found} fields cannot be used in a rule on {event}");
            Err(reader.fault(node, message))
        }
        _ => Ok(()),
    }
}

pub(super) fn unknown_field(
    reader: Reader<'_>,
    key: &str,
    name: &str,
    catalogue: &Catalogue,
) -> LoadError {
    let fields = catalogue.fields();
    let suggestion = crate::syntax::nearest(name, fields.map(|(_, info)| info.name.as_str()));
    LoadError {
        suggestion,
        ..reader.fault(reader.node, format!("{key}: unknown field {name:?}"))
    }
}

/// An error in an expression, with its place in the file.
pub(super) fn expression_fault(
    reader: Reader<'_>,
    text: &str,
    node: &Node,
    error: &ExpressionError,
) -> LoadError {
    LoadError {
        id: reader.id.to_owned(),
        message: error.problem.to_string(),
        suggestion: error.suggestion.clone(),
        file: Some(node.position_in(text, error.span.start)),
        expression: Some(error.position(text)),
    }
}
