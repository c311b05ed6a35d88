//! Bounds how often anything is told.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Told;

/// The same is told again about the same object after this time.
const AGAIN: Duration = Duration::from_secs(60);
/// How many objects are remembered for that.
const REMEMBERED: usize = 4096;
/// Events that may be written at once, and how many a second after that.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;

type Key = (Option<String>, Option<String>, Option<String>, &'static str);

/// Bounds how often anything, and how often the same, is told.
pub(super) struct Limit {
    tokens: f64,
    filled: Instant,
    told: HashMap<Key, Instant>,
}

impl Limit {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            filled: now,
            told: HashMap::new(),
        }
    }

    pub(super) fn allows(&mut self, told: &Told, now: Instant) -> bool {
        let object = &told.object;
        let key = (
            object.namespace.clone(),
            object.kind.clone(),
            object.name.clone(),
            told.reason,
        );
        let recent = |at: &Instant| now.saturating_duration_since(*at) < AGAIN;
        if self.told.get(&key).is_some_and(recent) {
            return false;
        }
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * PER_SECOND).min(BURST);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        if self.told.len() >= REMEMBERED {
            self.told.retain(|_, at| recent(at));
        }
        if self.told.len() < REMEMBERED {
            self.told.insert(key, now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    #[test]
    fn the_same_and_too_much_are_held_back() {
        let start = Instant::now();
        let mut limit = Limit::new(start);
        let told = Told::about(
            ObjectReference::default(),
            (false, "Injected"),
            "Admission",
            String::new(),
        );
        assert!(limit.allows(&told, start));
        assert!(!limit.allows(&told, start + AGAIN / 2));
        assert!(limit.allows(&told, start + AGAIN));
        let now = start + 2 * AGAIN;
        let mut allowed = 0;
        for number in 0..100 {
            let mut other = told.clone();
            other.object.name = Some(format!("web-{number}"));
            allowed += usize::from(limit.allows(&other, now));
        }
        assert_eq!(allowed, 50);
    }
}
