//! Signals that a worker keeps back from threads whose calls they have interrupted.
//!
//! They are sent once more when the call was answered. Only the worker knows of them then: so each is
//! noted in memory that keeper and workers share, and whoever stands in for a worker that has died
//! sends them. One may be sent twice, where the worker dies just as it has sent it, but none is lost.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::process;

/// How many there may be at a time. What has no place is not kept back.
const KEPT_MAX: usize = 64;

/// Bits of the number of a process or thread (`PID_MAX_LIMIT` is 2^22), and of a signal.
const ID_BITS: u32 = 24;
const SIGNAL_BITS: u32 = 8;
const ID: u64 = (1 << ID_BITS) - 1;

/// The signals. Everything is zero at first.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct KeptBack([AtomicU64; KEPT_MAX]);

fn word(pid: u32, tid: u32, signal: i32) -> u64 {
    let (pid, tid, signal) = (u64::from(pid), u64::from(tid), signal as u64);
    pid << (ID_BITS + SIGNAL_BITS) | tid << SIGNAL_BITS | signal
}

impl KeptBack {
    /// A signal of a thread is about to be kept back; false where there is no place for it.
    pub(crate) fn note(&self, pid: u32, tid: u32, signal: i32) -> bool {
        let word = word(pid, tid, signal);
        let is_free = |place: &AtomicU64| {
            let taken = place.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed);
            taken.is_ok()
        };
        self.0.iter().any(is_free)
    }

    /// One was sent.
    pub(crate) fn sent(&self, pid: u32, tid: u32, signal: i32) {
        let word = word(pid, tid, signal);
        let is_it = |place: &AtomicU64| {
            let found = place.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
            found.is_ok()
        };
        let _ = self.0.iter().any(is_it);
    }

    /// A thread has ended: nothing of it is sent any more.
    pub(crate) fn forget(&self, tid: u32) {
        for place in &self.0 {
            let is_its = |word: u64| ((word >> SIGNAL_BITS) & ID == u64::from(tid)).then_some(0);
            let _ = place.fetch_update(Ordering::AcqRel, Ordering::Relaxed, is_its);
        }
    }

    /// Sends what a worker that is dead has kept back.
    pub(crate) fn send_all(&self) {
        for place in &self.0 {
            let word = place.swap(0, Ordering::AcqRel);
            if word != 0 {
                let pid = word >> (ID_BITS + SIGNAL_BITS);
                let tid = word >> SIGNAL_BITS & ID;
                let signal = word & ((1 << SIGNAL_BITS) - 1);
                process::signal_thread_of(pid as u32, tid as u32, signal as i32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> KeptBack {
        KeptBack([const { AtomicU64::new(0) }; KEPT_MAX])
    }

    fn count(kept: &KeptBack) -> usize {
        let is_taken = |place: &&AtomicU64| place.load(Ordering::Relaxed) != 0;
        kept.0.iter().filter(is_taken).count()
    }

    #[test]
    fn a_signal_has_a_place_until_it_was_sent() {
        let kept = none();
        assert!(kept.note(4_194_303, 4_194_304, 64));
        assert!(kept.note(1, 2, 17) && kept.note(1, 2, 17));
        kept.sent(1, 2, 17);
        kept.sent(1, 3, 17);
        assert_eq!(count(&kept), 2);
        kept.sent(1, 2, 17);
        kept.sent(4_194_303, 4_194_304, 64);
        assert_eq!(count(&kept), 0);
        assert!(kept.note(1, 2, 17) && kept.note(1, 3, 17));
        kept.forget(2);
        assert_eq!(count(&kept), 1);
    }

    #[test]
    fn what_has_no_place_is_not_kept() {
        let kept = none();
        for tid in 1..=KEPT_MAX as u32 {
            assert!(kept.note(1, tid, 17));
        }
        assert!(!kept.note(1, 100, 17));
        kept.sent(1, 5, 17);
        assert!(kept.note(1, 100, 17));
    }
}
