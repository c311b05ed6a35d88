//! A rule as it was loaded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use picket_events::deny::DenyRule;
use picket_events::finding::{Meaning, Severity};

use crate::action::{Action, ActionKind, ActionRequest};
use crate::program::BoolNode;
use crate::value::{EventId, FieldId};

/// A rule, compiled and ready.
///
/// A rule over a pseudo-field (`fim.write.file.path`) becomes several of these, one for each
/// event type, all with the same id.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Id, unique among the rules of a set except for expansions of a pseudo-field.
    pub id: String,
    /// Version as written.
    pub version: String,
    /// What it is about, in a sentence or two.
    pub description: String,
    /// Tags; findings are described in them (see [`Rule::meaning`]).
    pub tags: BTreeMap<String, String>,
    /// Product tags as written.
    pub product_tags: Vec<String>,
    /// The expression as written.
    pub expression: String,
    /// The expression of this event type, where a pseudo-field was expanded.
    pub(crate) expanded: Option<String>,
    /// Name of the policy it comes from.
    pub policy: String,
    /// Version of that policy.
    pub policy_version: String,
    /// The event type it belongs to.
    pub event: EventId,
    /// What happens on a match, in order.
    pub actions: Vec<Action>,
    /// True when a match is not reported.
    pub silent: bool,
    /// At most one report in this time.
    pub every: Option<Duration>,
    /// Fields whose values are limited separately.
    pub limiter_fields: Vec<FieldId>,
    /// Group id as written.
    pub group_id: String,
    /// Higher is evaluated earlier.
    pub priority: i64,
    /// Every field the expression reads.
    pub fields: Vec<FieldId>,
    /// Why it can never fire here although its event happens: what it asks of fields that are
    /// always empty.
    pub never: Option<String>,
    /// What the tracer refuses by itself, where the rule denies.
    pub(crate) deny: Option<DenyRule>,
    pub(crate) program: Arc<crate::program::Program>,
}

impl Rule {
    /// What a match means, from the tags `finding`, `severity`, `title`, `remediation` and
    /// `technique`. Without them the rule's id is the type and its description the title;
    /// the severity is low.
    pub fn meaning(&self) -> Meaning {
        let tag = |name: &str| self.tags.get(name).cloned().unwrap_or_default();
        let or = |text: String, other: &str| {
            if text.is_empty() {
                other.to_owned()
            } else {
                text
            }
        };
        let summary = if self.description.is_empty() {
            &self.id
        } else {
            &self.description
        };
        Meaning {
            finding_type: or(tag("finding"), &self.id),
            severity: Severity::from_name(&tag("severity")).unwrap_or_default(),
            title: or(tag("title"), summary),
            remediation: tag("remediation"),
            technique: or(tag("technique"), &tag("technique_id")),
        }
    }

    /// Whether it cuts the pod off when it matches.
    pub fn quarantines(&self) -> bool {
        let mut kinds = self.actions.iter().map(|action| &action.kind);
        kinds.any(|kind| matches!(kind, ActionKind::Request(ActionRequest::Quarantine)))
    }

    /// True when no event can match: the condition comes out false whatever the event is,
    /// as over an empty list, or here at least ([`Rule::never`]).
    pub fn never_matches(&self) -> bool {
        self.never.is_some() || matches!(self.program.root, BoolNode::Constant(false))
    }

    /// The expression that was compiled: the written one, or its expansion.
    pub fn compiled_expression(&self) -> &str {
        self.expanded.as_deref().unwrap_or(&self.expression)
    }
}
