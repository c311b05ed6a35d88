//! Keeps what an attacker can cause at will from filling the output.

use std::collections::HashMap;

/// So many in a window are let through.
const BURST: u32 = 5;
/// Length of a window: 30 s.
const WINDOW: u64 = 30_000_000_000;

#[derive(Debug, Default)]
struct Window {
    start: u64,
    passed: u32,
    suppressed: u64,
}

/// Most windows that are kept; those that are over go first.
const MAX_WINDOWS: usize = 1024;

/// Limits each kind of event about Picket to 5 in 30 s for each container.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    windows: HashMap<(&'static str, String), Window>,
}

impl Throttle {
    /// Whether this one may go out; if so, how many of its kind were held back before it.
    pub(super) fn admit(&mut self, kind: &'static str, container: &str, now: u64) -> Option<u64> {
        if self.windows.len() >= MAX_WINDOWS {
            self.windows
                .retain(|_, window| now.saturating_sub(window.start) < WINDOW);
        }
        let window = self
            .windows
            .entry((kind, container.to_owned()))
            .or_default();
        if now.saturating_sub(window.start) >= WINDOW {
            window.start = now;
            window.passed = 0;
        }
        if window.passed == BURST {
            window.suppressed += 1;
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_is_counted() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.admit("a", "another container", WINDOW), Some(0));
        let passed = (0..100)
            .filter(|_| throttle.admit("a", "", WINDOW).is_some())
            .count();
        assert_eq!(passed, 5);
        assert_eq!(throttle.admit("b", "", WINDOW), Some(0));
        assert_eq!(throttle.admit("a", "", 2 * WINDOW), Some(95));
    }
}
