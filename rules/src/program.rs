//! Compiled expressions.

/// A compiled rule.
#[derive(Debug, Default)]
pub(crate) struct Program {}

/// A condition.
#[derive(Debug, Clone, Default)]
pub(crate) struct BoolNode {}

/// A text.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextNode {}

/// A compiled `set`.
#[derive(Debug, Clone, Default)]
pub(crate) struct SetAction {}
