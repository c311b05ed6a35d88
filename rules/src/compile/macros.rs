//! Macros: named expressions and lists.

use std::collections::HashMap;

use super::operand::{Items, Operand, TextItem};
use super::{Compiler, Result};
use crate::position::Span;
use crate::syntax::ast::Node;
use crate::syntax::{ExpressionError, Problem};

/// What a macro stands for.
#[derive(Debug, Clone)]
pub(crate) enum Macro {
    /// An expression, or a list that is written out.
    Expression(Node),
    /// Texts, each taken literally.
    Values(Vec<String>),
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
            Macro::Values(values) => {
                self.count(values.len(), span)?;
                let items = values.iter().cloned().map(TextItem::Text).collect();
                Ok(Operand::List(Items::Texts(items)))
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
