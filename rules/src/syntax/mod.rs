//! From text to a syntax tree.

pub(crate) mod ast;
mod error;
mod lexer;
mod parser;
mod values;

pub(crate) use error::nearest;
pub use error::{ExpressionError, Problem};
pub(crate) use parser::{parse_expression, parse_macro};

/// Longest expression, in bytes.
pub const MAX_EXPRESSION: usize = 256 * 1024;

/// How deeply parentheses, operators and macros may be nested.
pub const MAX_DEPTH: usize = 128;
