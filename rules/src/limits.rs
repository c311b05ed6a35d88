//! How often a rule may report.

use std::collections::HashMap;
use std::time::Duration;

/// Reports a rule may make at once.
const BURST: f64 = 40.0;

/// Reports a rule may make each second in the long run.
const PER_SECOND: f64 = 10.0;

/// Most different values that are limited separately for one rule.
const MAX_TOKENS: usize = 500;

/// The limits of one rule.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    buckets: HashMap<u64, Bucket>,
    /// What values share that come while there are as many others as are limited separately: else
    /// whoever makes values up would have each of them reported.
    others: Option<Bucket>,
}

/// What is left of an allowance.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: i64,
}

/// An allowance: so many at once, and so many each second.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// What a rule has that says nothing of it.
const USUAL: Rate = Rate {
    burst: BURST,
    per_second: PER_SECOND,
};

impl Bucket {
    fn full(rate: Rate, now: i64) -> Self {
        Self {
            left: rate.burst,
            at: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: i64) {
        let seconds = now.saturating_sub(self.at).max(0) as f64 / 1e9;
        self.left = (self.left + seconds * rate.per_second).min(rate.burst);
        self.at = self.at.max(now);
    }

    fn take(&mut self, rate: Rate, now: i64) -> bool {
        self.fill(rate, now);
        let is_allowed = self.left >= 1.0;
        if is_allowed {
            self.left -= 1.0;
        }
        is_allowed
    }
}

impl Limiter {
    /// True when a report may be made now, for this combination of values.
    pub(crate) fn allow(&mut self, every: Option<Duration>, token: u64, now: i64) -> bool {
        let rate = every.map_or(USUAL, |every| Rate {
            burst: 1.0,
            per_second: 1.0 / every.as_secs_f64(),
        });
        let is_known = self.buckets.contains_key(&token);
        if !is_known && self.buckets.len() >= MAX_TOKENS && !self.forget_one(rate, now) {
            let others = self.others.get_or_insert(Bucket::full(USUAL, now));
            return others.take(USUAL, now);
        }
        let bucket = self.buckets.entry(token);
        bucket
            .or_insert_with(|| Bucket::full(rate, now))
            .take(rate, now)
    }

    /// Forgets the value that was longest not seen, if that makes no difference to it any more.
    fn forget_one(&mut self, rate: Rate, now: i64) -> bool {
        let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.at);
        let Some((&token, &(mut bucket))) = oldest else {
            return false;
        };
        bucket.fill(rate, now);
        let is_full = bucket.left >= rate.burst;
        if is_full {
            self.buckets.remove(&token);
        }
        is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_burst_is_allowed_and_then_a_trickle() {
        let mut limiter = Limiter::default();
        let allowed = (0..100).filter(|_| limiter.allow(None, 0, 0)).count();
        assert_eq!(allowed, 40);
        let allowed = (0..100).filter(|_| limiter.allow(None, 0, SECOND)).count();
        assert_eq!(allowed, 10);
    }

    #[test]
    fn every_allows_one_in_that_time_for_each_value() {
        let mut limiter = Limiter::default();
        let every = Some(Duration::from_secs(10));
        assert!(limiter.allow(every, 1, 0) && limiter.allow(every, 2, 0));
        assert!(!limiter.allow(every, 1, 9 * SECOND));
        assert!(limiter.allow(every, 1, 10 * SECOND));
    }

    #[test]
    fn many_values_do_not_pile_up_and_those_beyond_share_what_a_rule_has() {
        // In a second a rule without `every` has made up for what it reported of each value.
        let minute = Some(Duration::from_secs(60));
        for (every, after_a_second) in [(None, MAX_TOKENS + 10), (minute, 10)] {
            let mut limiter = Limiter::default();
            let mut allowed = |tokens: std::ops::Range<u64>, now| {
                tokens
                    .filter(|token| limiter.allow(every, *token, now))
                    .count()
            };
            assert_eq!(allowed(0..10_000, 0), MAX_TOKENS + 40);
            assert_eq!(allowed(10_000..20_000, SECOND), after_a_second);
            // Once they are forgotten, others are limited separately.
            assert_eq!(allowed(20_000..30_000, 100 * SECOND), MAX_TOKENS + 40);
            assert!(limiter.buckets.len() <= MAX_TOKENS);
        }
    }
}
