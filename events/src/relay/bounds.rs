//! How much a body may hold.

/// What a body must not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Too many entries.
    #[error("{field}: more than {limit} entries")]
    Entries {
        /// The field.
        field: &'static str,
        /// Most that are taken.
        limit: usize,
    },
    /// A text that is too long.
    #[error("{field}: a text of more than {limit} bytes")]
    Text {
        /// The field.
        field: &'static str,
        /// Longest that is taken.
        limit: usize,
    },
}

pub(super) fn entries(field: &'static str, count: usize, limit: usize) -> Result<(), Excess> {
    match count > limit {
        true => Err(Excess::Entries { field, limit }),
        false => Ok(()),
    }
}

pub(super) fn text(field: &'static str, text: &str, limit: usize) -> Result<(), Excess> {
    match text.len() > limit {
        true => Err(Excess::Text { field, limit }),
        false => Ok(()),
    }
}
