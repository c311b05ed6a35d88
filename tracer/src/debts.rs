//! Calls that were let run, and that the agent was not told of yet.
//!
//! Between the answer to a call and the event that tells of it, the call is known to one worker
//! only. Should that die, or hang, its successor has to say at least how many there were, and of
//! which type. So each is noted in memory that keeper and workers share, and struck off when it was
//! told or is known to have failed. What the keeper lets run while there is no worker stays there.

use std::sync::atomic::{AtomicU32, Ordering};

use picket_events::EventType;

/// How many calls are owed, by type of event. Everything is zero at first.
#[derive(Debug)]
pub(crate) struct Debts([AtomicU32; EventType::ALL.len()]);

/// Calls that are owed for as long as this is there.
#[derive(Debug)]
#[must_use]
pub(crate) struct Owed {
    of: &'static AtomicU32,
    count: u32,
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.of.fetch_sub(self.count, Ordering::Release);
    }
}

impl Debts {
    fn of(&self, event: EventType) -> &AtomicU32 {
        &self.0[event as usize]
    }

    /// Calls of this type are about to be let run.
    pub(crate) fn owe(&'static self, event: EventType, count: u32) -> Owed {
        let of = self.of(event);
        of.fetch_add(count, Ordering::Release);
        Owed { of, count }
    }

    /// A call of this type is let run that nobody looks at.
    pub(crate) fn never_told(&self, event: EventType) {
        self.of(event).fetch_add(1, Ordering::Release);
    }

    /// What those before have left untold, of the types that are of interest. From now on nothing
    /// is owed.
    pub(crate) fn inherit(
        &self,
        is_of_interest: impl Fn(EventType) -> bool,
    ) -> Vec<(EventType, u64)> {
        let counts = EventType::ALL.iter().map(|event| {
            let count = self.of(*event).swap(0, Ordering::AcqRel);
            (*event, u64::from(count))
        });
        counts
            .filter(|(event, count)| *count > 0 && is_of_interest(*event))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_told_is_inherited_once() {
        let debts: &Debts = Box::leak(Box::new(Debts(std::array::from_fn(|_| AtomicU32::new(0)))));
        let told = debts.owe(EventType::Open, 1);
        let untold = debts.owe(EventType::Dns, 3);
        debts.never_told(EventType::Open);
        debts.never_told(EventType::Signal);
        drop(told);
        let of_interest = |event| event != EventType::Signal;
        let expected = [(EventType::Open, 1), (EventType::Dns, 3)];
        assert_eq!(debts.inherit(of_interest), expected);
        // Its worker is dead: it is never struck off.
        std::mem::forget(untold);
        assert_eq!(debts.inherit(of_interest), []);
    }

    #[test]
    fn each_type_has_its_place() {
        for (at, event) in EventType::ALL.iter().enumerate() {
            assert_eq!(*event as usize, at);
        }
    }
}
