//! How many events of a container never arrived.
//!
//! Every event has a number, the dropped ones too, so a gap is a loss. The tracer also says
//! what it dropped and why. Both tell of the same losses: the larger count holds.

use std::collections::BTreeMap;

use picket_events::EventType;
use picket_events::wire::{LossReason, Lost};
use serde_json::{Value, json};

/// Loss accounting of one container.
#[derive(Debug, Clone, Default)]
pub(super) struct Loss {
    /// Number of the last event, once it is known where counting starts.
    last: Option<u64>,
    missing: u64,
    told: u64,
    by_type: BTreeMap<EventType, u64>,
    by_reason: BTreeMap<&'static str, u64>,
    /// The same since the start.
    all_by_reason: BTreeMap<&'static str, u64>,
    reported: u64,
}

impl Loss {
    /// Counting starts at this number: the next event must have the one after it.
    pub(super) fn start_after(&mut self, sequence: u64) {
        self.last = Some(sequence);
    }

    /// A new worker counts anew; what is missing at its start is not known.
    pub(super) fn restart(&mut self) {
        self.last = None;
    }

    /// An event arrived.
    pub(super) fn arrived(&mut self, sequence: u64) {
        if let Some(last) = self.last {
            if sequence <= last {
                return;
            }
            self.missing = self.missing.saturating_add(sequence - last - 1);
        }
        self.last = Some(sequence);
    }

    /// This was the last event that there was.
    pub(super) fn ended(&mut self, last_sequence: u64) {
        if let Some(last) = self.last {
            self.missing = self
                .missing
                .saturating_add(last_sequence.saturating_sub(last));
            self.last = Some(last_sequence.max(last));
        }
    }

    /// The tracer told of a loss.
    pub(super) fn told(&mut self, lost: &Lost) {
        self.told = self.told.saturating_add(lost.count);
        for (event_type, count) in &lost.by_type {
            let sum = self.by_type.entry(*event_type).or_default();
            *sum = sum.saturating_add(*count);
        }
        let reason = match lost.reason {
            LossReason::BufferFull => "buffer_full",
            LossReason::WorkerDied => "worker_died",
            LossReason::TooLarge => "too_large",
            LossReason::AgentGone => "agent_gone",
        };
        for sums in [&mut self.by_reason, &mut self.all_by_reason] {
            let sum = sums.entry(reason).or_default();
            *sum = sum.saturating_add(lost.count);
        }
    }

    /// Events lost so far, by reason; those that nobody told a reason of are `missing`.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let untold = self.missing.saturating_sub(self.told);
        let untold = (untold > 0).then_some(("missing", untold));
        let told = self.all_by_reason.iter();
        told.map(|(reason, count)| (*reason, *count)).chain(untold)
    }

    /// All events lost so far.
    pub(super) fn total(&self) -> u64 {
        self.missing.max(self.told)
    }

    /// True when there are losses that no report told of.
    pub(super) fn is_unreported(&self) -> bool {
        self.total() > self.reported
    }

    /// What to report of the losses since the last report; `None` when there were none.
    pub(super) fn report(&mut self) -> Option<Value> {
        let total = self.total();
        let count = total - self.reported;
        if count == 0 {
            return None;
        }
        self.reported = total;
        let by_type = std::mem::take(&mut self.by_type);
        let by_reason = std::mem::take(&mut self.by_reason);
        let named: BTreeMap<_, _> = by_type
            .into_iter()
            .map(|(event_type, count)| (event_type.name(), count))
            .collect();
        let mut body = json!({"count": count, "total": total});
        if !named.is_empty() {
            body["by_type"] = json!(named);
        }
        if !by_reason.is_empty() {
            body["by_reason"] = json!(by_reason);
        }
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(count: u64) -> Lost {
        Lost {
            count,
            by_type: vec![(EventType::Open, count)],
            reason: LossReason::BufferFull,
        }
    }

    #[test]
    fn a_gap_and_what_the_tracer_tells_of_it_are_one_loss() {
        for told_first in [true, false] {
            let mut loss = Loss::default();
            loss.start_after(0);
            loss.arrived(1);
            if told_first {
                loss.told(&lost(5));
            }
            loss.arrived(7);
            if !told_first {
                loss.told(&lost(5));
            }
            let report = loss.report().unwrap();
            assert_eq!(
                report,
                json!({
                    "count": 5, "total": 5, "by_type": {"open": 5}, "by_reason": {"buffer_full": 5},
                })
            );
            assert_eq!(loss.report(), None);
        }
    }

    #[test]
    fn what_is_missing_at_the_end_counts() {
        let mut loss = Loss::default();
        loss.start_after(0);
        loss.arrived(1);
        loss.ended(4);
        assert_eq!(loss.total(), 3);
    }

    #[test]
    fn where_counting_starts_unknown_the_first_event_is_no_loss() {
        let mut loss = Loss::default();
        loss.arrived(1000);
        loss.arrived(1001);
        loss.restart();
        loss.arrived(1);
        loss.arrived(u64::MAX);
        loss.arrived(5);
        assert_eq!(loss.total(), u64::MAX - 2);
    }
}
