//! Policy files: YAML in, documents out, merged into rules.

mod actions;
mod document;
mod emptiness;
mod filters;
mod load;
mod merge;
mod set;
mod yaml;

pub(crate) use load::load;
