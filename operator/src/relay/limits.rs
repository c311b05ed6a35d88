//! How often a pod may ask, and how much it may tell.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A bucket that fills at a rate, up to a burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// What there is at first.
    pub burst: f64,
    /// What is added a second.
    pub per_second: f64,
}

/// Requests of a pod: one beat in half a minute is usual, and a busy one sends findings.
pub const REQUESTS: Rate = Rate {
    burst: 30.0,
    per_second: 2.0,
};
/// Findings of a pod.
pub const FINDINGS: Rate = Rate {
    burst: 500.0,
    per_second: 20.0,
};

#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Instant,
}

/// One bucket for each pod.
#[derive(Debug)]
pub struct Limits {
    rate: Rate,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Limits {
    /// Every pod has this rate.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// How many of `wanted` the pod with this uid may have now.
    pub fn take(&self, uid: &str, wanted: usize, now: Instant) -> usize {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(uid.to_owned()).or_insert(Bucket {
            left: self.rate.burst,
            filled: now,
        });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.left = (bucket.left + passed * self.rate.per_second).min(self.rate.burst);
        bucket.filled = now;
        // Never negative, and at most the burst.
        let taken = wanted.min(bucket.left as usize);
        bucket.left -= taken as f64;
        taken
    }

    /// Forgets pods that are gone.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.retain(|uid, _| keep(uid));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pod_spends_its_own_and_no_other_s() {
        let limits = Limits::new(Rate {
            burst: 3.0,
            per_second: 1.0,
        });
        let start = Instant::now();
        assert_eq!(limits.take("a", 5, start), 3);
        assert_eq!(limits.take("a", 1, start), 0);
        assert_eq!(limits.take("b", 1, start), 1);
        assert_eq!(limits.take("a", 5, start + Duration::from_secs(2)), 2);
        assert_eq!(limits.take("a", 9, start + Duration::from_secs(99)), 3);
        limits.retain(|uid| uid != "a");
        assert_eq!(limits.take("a", 9, start), 3);
    }
}
