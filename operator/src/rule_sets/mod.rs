//! RuleSets: from objects of the API to what agents evaluate.
//!
//! * [`compile`]: what is right and what is wrong in a rule set, by the agents' own engine.
//! * [`library`]: the rule sets there are, kept up to date.
//! * [`distribution`]: which bundle a pod gets.
//! * [`status`]: what the operator says of rule sets, and of policies that name them.

pub mod compile;
pub mod distribution;
pub mod library;
pub mod status;

pub use compile::Compiled;
pub use distribution::Distribution;
pub use library::{Library, follow_rule_sets};
