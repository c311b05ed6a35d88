//! Patterns on texts and paths, as rules write them.

mod glob;
mod wildcard;

pub use glob::Glob;
pub use wildcard::Wildcard;
