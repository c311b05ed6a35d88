//! Pseudo-fields: one rule over `fim.write.file.path` stands for several.

use crate::catalogue::{Catalogue, Expansion};
use crate::syntax::ast::{Kind, Node};
use crate::syntax::{ExpressionError, parse_expression};

/// An expression without pseudo-fields.
#[derive(Debug)]
pub(crate) struct Expanded {
    pub(crate) node: Node,
    /// Its text, where it differs from what was written.
    pub(crate) text: Option<String>,
}

/// The expressions that one stands for: itself, unless it names a pseudo-field.
pub(crate) fn expand(
    catalogue: &Catalogue,
    text: &str,
    node: Node,
) -> Result<Vec<Expanded>, ExpressionError> {
    let mut found = None;
    visit(&node, &mut |name| {
        found = found.or_else(|| catalogue.expansion(name))
    });
    let Some((prefix, steps)) = found else {
        return Ok(vec![Expanded { node, text: None }]);
    };
    steps
        .iter()
        .map(|step| apply(prefix, step, text, &node))
        .collect()
}

fn apply(
    prefix: &str,
    step: &Expansion,
    text: &str,
    node: &Node,
) -> Result<Expanded, ExpressionError> {
    let mut node = node.clone();
    rename(&mut node, prefix, &step.fields);
    let mut text = text.replace(&format!("{prefix}."), &format!("{}.", step.fields));
    if let Some(condition) = &step.condition {
        let span = node.span;
        let operands = vec![node, parse_expression(condition)?];
        node = Node {
            kind: Kind::Logical {
                all: true,
                operands,
            },
            span,
        };
        text = format!("({text}) && {condition}");
    }
    Ok(Expanded {
        node,
        text: Some(text),
    })
}

fn visit<'a>(node: &'a Node, see: &mut impl FnMut(&'a str)) {
    match &node.kind {
        Kind::Name(name) | Kind::FieldReference(name) => see(name),
        Kind::Logical { operands, .. } | Kind::List(operands) => {
            operands.iter().for_each(|operand| visit(operand, see));
        }
        Kind::Compare { left, right, .. }
        | Kind::Member { left, right, .. }
        | Kind::Arithmetic { left, right, .. } => {
            visit(left, see);
            visit(right, see);
        }
        Kind::Not(inner) | Kind::Negate(inner) | Kind::Complement(inner) => visit(inner, see),
        _ => {}
    }
}

fn rename(node: &mut Node, prefix: &str, fields: &str) {
    match &mut node.kind {
        Kind::Name(name) | Kind::FieldReference(name) => {
            if let Some(rest) = name.strip_prefix(prefix)
                && rest.starts_with('.')
            {
                *name = format!("{fields}{rest}");
            }
        }
        Kind::Logical { operands, .. } | Kind::List(operands) => {
            operands
                .iter_mut()
                .for_each(|operand| rename(operand, prefix, fields));
        }
        Kind::Compare { left, right, .. }
        | Kind::Member { left, right, .. }
        | Kind::Arithmetic { left, right, .. } => {
            rename(left, prefix, fields);
            rename(right, prefix, fields);
        }
        Kind::Not(inner) | Kind::Negate(inner) | Kind::Complement(inner) => {
            rename(inner, prefix, fields);
        }
        _ => {}
    }
}
