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
}

/// What is left of an allowance.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: i64,
}

impl Limiter {
    /// True when a report may be made now, for this combination of values.
    pub(crate) fn allow(&mut self, every: Option<Duration>, token: u64, now: i64) -> bool {
        let (burst, per_second) = match every {
            Some(every) => (1.0, 1.0 / every.as_secs_f64()),
            None => (BURST, PER_SECOND),
        };
        if self.buckets.len() >= MAX_TOKENS && !self.buckets.contains_key(&token) {
            self.forget_oldest();
        }
        let bucket = self.buckets.entry(token).or_insert(Bucket {
            left: burst,
            at: now,
        });
        let seconds = now.saturating_sub(bucket.at).max(0) as f64 / 1e9;
        bucket.left = (bucket.left + seconds * per_second).min(burst);
        bucket.at = bucket.at.max(now);
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }

    fn forget_oldest(&mut self) {
        let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.at);
        if let Some(token) = oldest.map(|(token, _)| *token) {
            self.buckets.remove(&token);
        }
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
    fn many_values_do_not_pile_up() {
        let mut limiter = Limiter::default();
        for token in 0..10_000 {
            assert!(limiter.allow(None, token, token as i64));
        }
        assert!(limiter.buckets.len() <= MAX_TOKENS);
    }
}
