//! Variables that `set` defines, and what it sets them to.

use super::actions::{check_event, expression_fault, unknown_field};
use super::document::{Reader, Result};
use super::yaml::{Node, Yaml};
use crate::action::SetAction;
use crate::catalogue::Catalogue;
use crate::compile::{Environment, compile_value};
use crate::program::AnyNode;
use crate::syntax::parse_expression;
use crate::value::{EventId, Scope, ValueType};
use crate::variable::{Stored, VariableInfo, VariableTable};

/// Elements a list variable keeps when nothing else is said.
const DEFAULT_LIST_SIZE: usize = 100;

/// Most elements a list variable may keep.
const MAX_LIST_SIZE: i64 = 10_000;

/// Adds the variable that an action sets, if it is a `set`.
pub(super) fn define(
    reader: Reader<'_>,
    catalogue: &Catalogue,
    variables: &mut VariableTable,
) -> Result<()> {
    let Some(set) = reader.node.get("set") else {
        return Ok(());
    };
    let set = Reader {
        node: set,
        ..reader
    };
    let info = describe(set, catalogue)?;
    if let Some(id) = variables.find(&info.name) {
        let before = variables.info(id).value_type;
        if before != info.value_type {
            let message = format!(
                "variable {} is set to {} here and to {} elsewhere",
                info.name,
                info.value_type.name(),
                before.name()
            );
            return Err(set.fault(set.node, message));
        }
        return Ok(());
    }
    match variables.insert(info) {
        Some(_) => Ok(()),
        None => Err(set.fault(set.node, "too many variables".to_owned())),
    }
}

fn describe(set: Reader<'_>, catalogue: &Catalogue) -> Result<VariableInfo> {
    set.mapping()?;
    let append = set.flag("append")?;
    let default = match set.node.get("default_value") {
        Some(node) => Some(stored(set, node)?),
        None => None,
    };
    let mut value_type = if let Some(node) = set.node.get("value") {
        stored(set, node)?.value_type()
    } else if let Some(field) = set.text("field")? {
        match catalogue.field(&field) {
            Some(id) => {
                let info = catalogue.info(id);
                match info.iterator {
                    Some(_) => info.value_type.list(),
                    None => info.value_type,
                }
            }
            None => return Err(unknown_field(set, "field", &field, catalogue)),
        }
    } else if let Some(default) = &default {
        default.value_type()
    } else if set.node.get("expression").is_some() {
        let message = "set: an expression needs a default_value, which tells its type";
        return Err(set.fault(set.node, message.to_owned()));
    } else {
        let message = "set needs one of value, field, expression";
        return Err(set.fault(set.node, message.to_owned()));
    };
    if append {
        value_type = value_type.list();
    }
    // A default of one value stands for a list of it.
    let default = match default {
        Some(default) if default.value_type() == value_type => Some(default),
        Some(default) if default.value_type().list() == value_type => Some(default.into_list()),
        Some(default) => {
            let message = format!(
                "set: default_value is {}, but the variable is {}",
                default.value_type().name(),
                value_type.name()
            );
            return Err(set.fault(set.node, message));
        }
        None => None,
    };
    let size = match set.int("size")? {
        Some(size @ 1..=MAX_LIST_SIZE) => size as usize,
        None | Some(0) => DEFAULT_LIST_SIZE,
        Some(_) => {
            let message = format!("size has to be between 1 and {MAX_LIST_SIZE}");
            return Err(set.fault(set.node, message));
        }
    };
    Ok(VariableInfo {
        name: variable_name(set)?,
        scope: scope(set)?,
        value_type,
        inherited: set.flag("inherited")?,
        ttl: set.duration("ttl")?.filter(|ttl| !ttl.is_zero()),
        size,
        private: set.flag("private")?,
        default,
    })
}

/// As in `${process.x}`.
fn variable_name(set: Reader<'_>) -> Result<String> {
    let name = set.text("name")?.unwrap_or_default();
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        let message = format!("set: {name:?} cannot name a variable");
        return Err(set.fault(set.node, message));
    }
    Ok(match set.text("scope")?.as_deref() {
        None | Some("" | "global") => name,
        Some(scope) => format!("{scope}.{name}"),
    })
}

fn scope(set: Reader<'_>) -> Result<Scope> {
    let name = set.text("scope")?.unwrap_or_default();
    Scope::from_name(&name).ok_or_else(|| {
        let message = format!("scope {name:?} is not one of process, container, cgroup");
        set.fault(set.node, message)
    })
}

/// A value that is written out.
fn stored(set: Reader<'_>, node: &Node) -> Result<Stored> {
    Ok(match &node.value {
        Yaml::Bool(value) => Stored::Bool(*value),
        Yaml::Int(value) => Stored::Int(*value),
        Yaml::Text(text) => Stored::Text(text.clone()),
        Yaml::List(list)
            if list.iter().all(|node| matches!(node.value, Yaml::Int(_))) && !list.is_empty() =>
        {
            Stored::Ints(list.iter().filter_map(as_int).collect())
        }
        Yaml::List(list) => {
            let texts = list.iter().map(|node| node.text());
            match texts.collect::<Option<Vec<String>>>() {
                Some(texts) => Stored::Texts(texts),
                None => {
                    return Err(set.fault(node, "set: a list holds texts or numbers".to_owned()));
                }
            }
        }
        _ => {
            return Err(set.fault(
                node,
                format!("set: {} cannot be kept in a variable", node.describe()),
            ));
        }
    })
}

fn as_int(node: &Node) -> Option<i64> {
    match node.value {
        Yaml::Int(value) => Some(value),
        _ => None,
    }
}

impl Stored {
    fn into_node(self) -> AnyNode {
        use crate::program::{AddressNode, BoolNode, IntNode, TextNode};
        match self {
            Stored::Bool(value) => AnyNode::Bool(BoolNode::Constant(value)),
            Stored::Int(value) => AnyNode::Int(IntNode::Constant(value)),
            Stored::Text(value) => AnyNode::Text(TextNode::Constant(value.into())),
            Stored::Address(value) => AnyNode::Address(AddressNode::Constant(value)),
            Stored::Ints(values) => AnyNode::IntConstants(values.into()),
            Stored::Texts(values) => AnyNode::TextConstants(values.into()),
            Stored::Addresses(values) => AnyNode::AddressConstants(values.into()),
            // No list of booleans can be written out.
            Stored::Bools(_) => AnyNode::IntConstants([].into()),
        }
    }
}

pub(super) fn build_set(
    set: Reader<'_>,
    environment: Environment<'_>,
    event: EventId,
) -> Result<SetAction> {
    let catalogue = environment.catalogue;
    let name = variable_name(set)?;
    let Some(variable) = environment.variables.find(&name) else {
        return Err(set.fault(set.node, format!("variable {name} is not defined")));
    };
    let info = environment.variables.info(variable);
    let source = match (set.spanned("field")?, set.spanned("expression")?) {
        (Some(field), None) => Some(field),
        (None, expression) => expression,
        (Some(_), Some(_)) => {
            let message = "set takes a field or an expression, not both".to_owned();
            return Err(set.fault(set.node, message));
        }
    };
    let value = match (set.node.get("value"), source) {
        (Some(node), None) => stored(set, node)?.into_node(),
        (None, Some(source)) => {
            let compiled = parse_expression(&source.text)
                .and_then(|node| compile_value(environment, &node))
                .map_err(|error| expression_fault(set, &source.text, &source.node, &error))?;
            check_event(set, &source.node, catalogue, compiled.1, event)?;
            compiled.0
        }
        _ => {
            let message = "set needs exactly one of value, field, expression".to_owned();
            return Err(set.fault(set.node, message));
        }
    };
    let append = set.flag("append")?;
    let found = value.value_type();
    let fits =
        found == info.value_type || info.value_type.is_list() && found.list() == info.value_type;
    if !fits {
        let message = format!(
            "set: variable {name} is {}, but its value is {}",
            info.value_type.name(),
            found.name()
        );
        return Err(set.fault(set.node, message));
    }
    let scope_field = match set.text("scope_field")? {
        None => None,
        Some(field) => match catalogue.field(&field) {
            Some(id)
                if catalogue.info(id).value_type == ValueType::Int
                    && info.scope == Scope::Process =>
            {
                check_event(set, set.node, catalogue, catalogue.info(id).event, event)?;
                Some(id)
            }
            Some(_) => {
                let message = "scope_field needs scope process and a field with a process id";
                return Err(set.fault(set.node, message.to_owned()));
            }
            None => return Err(unknown_field(set, "scope_field", &field, catalogue)),
        },
    };
    Ok(SetAction {
        variable,
        scope: info.scope,
        scope_field,
        value,
        append,
    })
}
