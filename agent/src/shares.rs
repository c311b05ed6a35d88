//! Who may wait in a queue of findings.
//!
//! Whoever has broken into a container can have rules match as often as they may report. What that writes
//! may fill a queue that is slow to empty, but never so that there is no room for what another container
//! does.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::finding::Finding;

/// A container may have so many times what it leaves free: three quarters where it is alone. One rule in
/// it may have half.
const SHARE: usize = 3;

/// Whose a finding is, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    container: u64,
    rule: u64,
}

impl Kind {
    pub(crate) fn of(finding: &Finding) -> Self {
        let container = finding.container.as_ref().map(|of| &of.name);
        Self {
            container: number(&container),
            rule: number(&(&container, &finding.agent.rule_id)),
        }
    }
}

fn number(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// How many places are taken.
#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    by_container: HashMap<u64, usize>,
    by_rule: HashMap<u64, usize>,
}

/// The places of a queue, and who has them.
#[derive(Debug)]
pub(crate) struct Shares {
    places: usize,
    waiting: Mutex<Waiting>,
    left: Condvar,
}

impl Shares {
    pub(crate) fn of(places: usize) -> Self {
        Self {
            places,
            waiting: Mutex::default(),
            left: Condvar::new(),
        }
    }

    /// Takes a place; false where there is none for one of this kind.
    pub(crate) fn enter(&self, kind: Kind) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.places.saturating_sub(waiting.all);
        let has = |taken: &HashMap<u64, usize>, of| taken.get(&of).copied().unwrap_or_default();
        if has(&waiting.by_container, kind.container) >= SHARE * free
            || has(&waiting.by_rule, kind.rule) >= free
        {
            return false;
        }
        *waiting.by_container.entry(kind.container).or_default() += 1;
        *waiting.by_rule.entry(kind.rule).or_default() += 1;
        waiting.all += 1;
        true
    }

    /// Gives a place back that was taken.
    pub(crate) fn leave(&self, kind: Kind) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        give_back(&mut waiting.by_container, kind.container);
        give_back(&mut waiting.by_rule, kind.rule);
        waiting.all = waiting.all.saturating_sub(1);
        self.left.notify_all();
    }

    /// Waits until nobody has a place, but no longer than this.
    pub(crate) fn wait(&self, limit: Duration) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it is done or the time is over makes no difference to the caller.
        let _ = self
            .left
            .wait_timeout_while(waiting, limit, |waiting| waiting.all > 0);
    }
}

fn give_back(taken: &mut HashMap<u64, usize>, of: u64) {
    if let Some(count) = taken.get_mut(&of) {
        *count -= 1;
        if *count == 0 {
            taken.remove(&of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(container: u64, rule: u64) -> Kind {
        Kind {
            container,
            rule: container * 1000 + rule,
        }
    }

    #[test]
    fn whatever_one_container_does_leaves_room_for_the_others() {
        let shares = Shares::of(1000);
        let mut held = Vec::new();
        let mut take_all = |kind| {
            let before = held.len();
            while shares.enter(kind) {
                held.push(kind);
            }
            held.len() - before
        };
        assert_eq!(take_all(kind(1, 1)), 500);
        assert_eq!(
            (2..100).map(|rule| take_all(kind(1, rule))).sum::<usize>(),
            250
        );
        assert_eq!(take_all(kind(2, 1)), 125);
        assert!(take_all(kind(3, 1)) > 60);
        for kind in held {
            shares.leave(kind);
        }
        shares.wait(Duration::from_secs(60));
        assert!(shares.enter(kind(1, 1)));
    }
}
