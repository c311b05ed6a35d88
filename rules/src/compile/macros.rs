//! Macros: named expressions and lists.

use std::collections::HashMap;
use std::sync::Arc;

use super::operand::{AddressItem, Items, Operand, TextItem};
use super::{Compiler, Result};
use crate::lists::Content;
use crate::position::Span;
use crate::syntax::ast::Node;
use crate::syntax::{ExpressionError, Problem};

/// What a macro stands for.
#[derive(Debug, Clone)]
pub(crate) enum Macro {
    /// An expression, or a list that is written out.
    Expression(Node),
    /// Values that are written out, and list files beside them.
    Values {
        /// Texts, each taken literally.
        values: Vec<String>,
        /// Lists of addresses or lists of texts; not both.
        lists: Vec<Content>,
    },
    /// It could not be read; that is reported where it is defined.
    Faulty,
}

/// All macros by name.
pub(crate) type MacroTable = HashMap<String, Macro>;

impl<'a> Compiler<'a> {
    /// What a macro stands for at this place.
    pub(super) fn expand_macro(
        &mut self,
        name: &'a str,
        body: &'a Macro,
        span: Span,
    ) -> Result<Operand> {
        match body {
            Macro::Values { values, lists } => {
                self.count(values.len() + lists.len(), span)?;
                if values.is_empty() && lists.iter().all(Content::is_empty) {
                    self.empty.push(name.to_owned());
                }
                let mut texts: Vec<TextItem> = values.iter().cloned().map(TextItem::Text).collect();
                let mut addresses = Vec::new();
                for list in lists {
                    match list {
                        Content::Texts(table) => texts.push(TextItem::Table(Arc::clone(table))),
                        Content::Addresses(set) => {
                            addresses.push(AddressItem::Table(Arc::clone(set)));
                        }
                    }
                }
                Ok(Operand::List(match addresses.is_empty() {
                    true => Items::Texts(texts),
                    false => Items::Addresses(addresses),
                }))
            }
            Macro::Faulty => Err(ExpressionError::new(
                Problem::FaultyMacro(name.to_owned()),
                span,
            )),
            Macro::Expression(node) => {
                if self.open_macros.contains(&name) {
                    return Err(ExpressionError::new(
                        Problem::MacroLoop(name.to_owned()),
                        span,
                    ));
                }
                self.open_macros.push(name);
                let operand = self.operand(node);
                self.open_macros.pop();
                operand.map_err(|error| in_macro(name, error, span))
            }
        }
    }
}

/// Moves an error to where the macro is used.
fn in_macro(name: &str, error: ExpressionError, span: Span) -> ExpressionError {
    let problem = match error.problem {
        problem @ (Problem::InMacro { .. } | Problem::MacroLoop(_) | Problem::TooLarge) => problem,
        problem => Problem::InMacro {
            name: name.to_owned(),
            problem: Box::new(problem),
        },
    };
    ExpressionError {
        problem,
        span,
        suggestion: error.suggestion,
    }
}
