//! Rules on fields that always have their zero value here.

use crate::catalogue::FieldInfo;
use crate::compile::{Compiled, Environment, compile};
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
    let said: Vec<String> = fields.filter_map(sentence).collect();
    if said.is_empty() {
        return Emptiness::default();
    }
    let with_zeros = Environment {
        zeros: true,
        ..environment
    };
    // It compiled before; where it does not with constants in it, no more is known.
    let never = compile(with_zeros, node)
        .is_ok_and(|compiled| matches!(compiled.program.root, BoolNode::Constant(false)));
    Emptiness {
        never: never.then(|| said.join("; ")),
        warnings: said,
    }
}

fn sentence(field: &FieldInfo) -> Option<String> {
    let why = field.zero.as_ref()?;
    Some(format!("{} is always empty here: {why}", field.name))
}
