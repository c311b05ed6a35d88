//! Rules on fields that always, or mostly, have their zero value here.

use crate::catalogue::FieldInfo;
use crate::compile::{Compiled, Environment, Zeros, compile};
use crate::program::BoolNode;
use crate::syntax::ast::Node;

/// What is to be said of a rule because of such fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Emptiness {
    /// One sentence for each such field.
    pub(super) warnings: Vec<String>,
    /// Why the rule can never fire, if it cannot.
    pub(super) never: Option<String>,
}

/// Looks at a condition that was compiled from `node`.
pub(super) fn of(environment: Environment<'_>, node: &Node, compiled: &Compiled) -> Emptiness {
    let fields = compiled.fields.iter();
    let fields = fields.map(|field| environment.catalogue.info(*field));
    // It compiled before; where it does not with constants in it, no more is known.
    let is_never = |zeros| {
        compile(
            Environment {
                zeros,
                ..environment
            },
            node,
        )
        .is_ok_and(|compiled| matches!(compiled.program.root, BoolNode::Constant(false)))
    };
    let said: Vec<String> = fields.clone().filter_map(always).collect();
    if !said.is_empty() && is_never(Zeros::Always) {
        return Emptiness {
            never: Some(said.join("; ")),
            warnings: said,
        };
    }
    let mut emptiness = Emptiness {
        warnings: said,
        never: None,
    };
    let mostly: Vec<String> = fields.filter_map(mostly).collect();
    if !mostly.is_empty() && is_never(Zeros::Mostly) {
        emptiness.warnings.extend(mostly);
    }
    emptiness
}

fn always(field: &FieldInfo) -> Option<String> {
    let why = field.zero.as_ref()?;
    Some(format!("{} is always empty here: {why}", field.name))
}

fn mostly(field: &FieldInfo) -> Option<String> {
    let when = field.mostly_zero.as_ref()?;
    Some(format!(
        "it waits for another {} than 0, which is seldom: {when}",
        field.name
    ))
}
