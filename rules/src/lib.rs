//! SECL, the Security Language of Datadog's Cloud Workload Security: policy files in,
//! matches out.
//!
//! This crate does no I/O and reads no clock: texts and events are handed in, reports and
//! matches are handed out. It knows no field by name: what can be named in a rule is in a
//! [`Catalogue`], which is data.
//!
//! * [`catalogue`]: fields, event types, constants.
//! * [`value`]: values, and the [`Context`] an event is seen through.
//! * [`ruleset`], [`report`]: loading policies, and what is wrong with them.
//! * [`lists`]: addresses, domains, hashes and names that rules compare with.
//! * [`rule`], [`action`]: what was loaded.
//! * [`evaluator`]: evaluating it.
//! * [`defaults`]: Picket's own rules.

pub mod action;
pub mod bundle;
pub mod catalogue;
mod compile;
pub mod defaults;
mod deny;
mod duration;
mod eval;
pub mod evaluator;
mod index;
mod interest;
mod limits;
pub mod lists;
mod matcher;
mod order;
mod policy;
pub mod position;
mod program;
pub mod report;
pub mod rule;
pub mod ruleset;
mod store;
pub mod syntax;
pub mod tools;
pub mod value;
mod variable;
mod watching;

pub use action::{ActionRequest, KillScope};
pub use catalogue::Catalogue;
pub use evaluator::{Evaluator, Match};
pub use lists::{ListKind, ListReport, ListSource};
pub use position::{Position, Span};
pub use report::{LoadError, LoadReport, PolicyReport, PolicySource, RuleReport, Status};
pub use rule::Rule;
pub use ruleset::{LoadOptions, RuleSet};
pub use value::{Context, EventId, FieldId, IteratorId, Scope, Value, ValueType};
