//! What a rule does when it matches.

use crate::program::{AnyNode, Program, TextNode};
use crate::value::FieldId;
use crate::value::Scope;
use crate::variable::VariableId;

/// Largest file that is hashed when an action names no other limit: 5 MiB.
pub const DEFAULT_HASH_LIMIT: u64 = 5 * 1024 * 1024;

/// What a signal is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KillScope {
    /// The process of the event.
    Process,
    /// Every process of its container.
    Container,
}

/// A compiled `set`.
#[derive(Debug, Clone)]
pub(crate) struct SetAction {
    pub(crate) variable: VariableId,
    pub(crate) scope: Scope,
    /// A field with the id of the process whose variable is set, instead of the event's.
    pub(crate) scope_field: Option<FieldId>,
    pub(crate) value: AnyNode,
    pub(crate) append: bool,
}

/// An action of a rule, compiled.
#[derive(Debug, Clone)]
pub struct Action {
    pub(crate) filter: Option<Program>,
    pub(crate) kind: ActionKind,
}

/// The kinds of action.
#[derive(Debug, Clone)]
pub(crate) enum ActionKind {
    /// Sets a variable.
    Set(SetAction),
    /// Asks the caller for something that is the same for every event.
    Request(ActionRequest),
    /// Asks the caller to write a line.
    Log {
        /// Level as written.
        level: String,
        /// The text.
        message: TextNode,
    },
}

impl Action {
    /// Whether it refuses calls.
    pub(crate) fn denies(&self) -> bool {
        matches!(self.kind, ActionKind::Request(ActionRequest::Deny))
    }

    /// The word for it in policy files.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            ActionKind::Set(_) => "set",
            ActionKind::Request(ActionRequest::Kill { .. }) => "kill",
            ActionKind::Request(ActionRequest::Hash { .. }) => "hash",
            ActionKind::Request(ActionRequest::Quarantine) => "quarantine",
            ActionKind::Request(ActionRequest::Deny) => "deny",
            ActionKind::Request(ActionRequest::Log { .. }) | ActionKind::Log { .. } => "log",
        }
    }
}

/// What the caller of the evaluator has to do. Setting variables is not among it: the
/// evaluator does that itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionRequest {
    /// Send a signal.
    Kill {
        /// Signal number.
        signal: i32,
        /// To whom.
        scope: KillScope,
    },
    /// Hash the file that this path field names.
    Hash {
        /// The path field.
        field: FieldId,
        /// Larger files are left alone; bytes.
        max_size: u64,
    },
    /// Let nothing in the pod reach out over a network anew.
    Quarantine,
    /// Refuse the call: the tracer has done so by itself ([`RuleSet::denied`](crate::RuleSet::denied)),
    /// or could not.
    Deny,
    /// Write a line to the log.
    Log {
        /// Level as written: `debug`, `info`, `warn`, `error`.
        level: String,
        /// The text, variables and fields filled in.
        message: String,
    },
}
