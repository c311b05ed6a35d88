//! What tracers are to refuse by themselves.

use picket_events::deny::{DenyRule, MAX_ENCODED};
use picket_events::wire::{FrameWriter, ToTracer};
use picket_rules::RuleSet;

use crate::identity::Mode;

/// What the rules deny, in Enforce mode; as many of them, the first first, as a tracer can keep.
pub(super) fn of(rules: &RuleSet, mode: Mode) -> Vec<DenyRule> {
    if mode == Mode::Monitor {
        return Vec::new();
    }
    let mut denials: Vec<DenyRule> = rules.denied().cloned().collect();
    while !denials.is_empty() && encoded(&denials) > MAX_ENCODED {
        let left_out = denials.pop();
        // What it would have refused is reported as not refused.
        if let Some(DenyRule { rule, .. }) = left_out {
            tracing::error!(rule, "more is denied than a tracer can keep; left out");
        }
    }
    denials
}

/// Bytes on the wire; more than fit where they fit no frame.
fn encoded(denials: &[DenyRule]) -> usize {
    let mut writer = FrameWriter::new();
    match writer.push(&ToTracer::Deny(denials.to_vec())) {
        Ok(()) => writer.len(),
        Err(_) => usize::MAX,
    }
}
