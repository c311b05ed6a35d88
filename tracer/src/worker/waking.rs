//! Where a thread goes on after its answer.
//!
//! With `SYNC_WAKE_UP` the kernel wakes us on the caller's processor, and the caller on ours: with
//! nobody else about, both stay where they are, which is many times cheaper than a wake-up on
//! another processor. But a call that comes in while we deal with another one's was made on another
//! processor; answered so, its thread would be drawn over to ours, and wait there for the other to
//! be done with whatever it computes. Two compilers at work then share one processor, and the
//! other idles.

use std::os::fd::BorrowedFd;

use crate::sys::seccomp;

/// What a wait that found something there takes at most, nanoseconds: to sleep and to be woken takes
/// longer, if not by much.
const AT_ONCE: u64 = 1_500;
/// Where waits take less than this on the average, nanoseconds, threads do little but calls that we
/// stop for: they are better off together.
const BUSY: u64 = 8_000;
/// The longest that counts for the average.
const LONG: u64 = 200_000;
/// Waits that the average is about, more or less.
const WAITS: u64 = 16;

/// What is known of the places of threads.
#[derive(Debug)]
pub(crate) struct Waking {
    /// Whether the kernel wakes where it is told to.
    is_synchronous: bool,
    /// The last wait ended at once.
    was_there: bool,
    /// What waits have taken lately, nanoseconds.
    average: u64,
    /// Thread that was answered last.
    last: u32,
}

impl Waking {
    /// Asks for wake-ups on the same processor, where there is a listener and the kernel has them.
    pub(crate) fn new(listener: Option<BorrowedFd<'_>>) -> Self {
        Self {
            is_synchronous: listener.is_some_and(|listener| seccomp::wake_here(listener, true)),
            was_there: false,
            average: 0,
            last: 0,
        }
    }

    /// A wait is over that took so many nanoseconds.
    pub(crate) fn waited(&mut self, time: u64) {
        self.was_there = time < AT_ONCE;
        self.average += time.min(LONG) / WAITS;
        self.average -= self.average / WAITS;
    }

    /// Whether a thread that is answered now is to go on where it was.
    fn stays_apart(&mut self, tid: u32) -> bool {
        let is_other = std::mem::replace(&mut self.last, tid) != tid;
        self.is_synchronous && self.was_there && is_other && self.average >= BUSY
    }

    /// Answers a thread, so that it goes on on the right processor.
    pub(crate) fn answer<T>(
        &mut self,
        listener: BorrowedFd<'_>,
        tid: u32,
        answer: impl FnOnce() -> T,
    ) -> T {
        if !self.stays_apart(tid) {
            return answer();
        }
        seccomp::wake_here(listener, false);
        let answered = answer();
        seccomp::wake_here(listener, true);
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synchronous() -> Waking {
        Waking {
            is_synchronous: true,
            ..Waking::new(None)
        }
    }

    /// Threads that compute between their calls.
    fn computing() -> Waking {
        let mut waking = synchronous();
        for _ in 0..WAITS {
            waking.waited(10 * BUSY);
        }
        waking
    }

    #[test]
    fn a_thread_whose_call_came_during_anothers_stays_where_it_was() {
        let mut waking = computing();
        assert!(!waking.stays_apart(7), "we slept: it woke us on its own");
        waking.waited(AT_ONCE / 2);
        assert!(waking.stays_apart(8));
    }

    #[test]
    fn one_thread_alone_is_never_sent_away() {
        let mut waking = computing();
        waking.stays_apart(7);
        waking.waited(AT_ONCE / 2);
        assert!(!waking.stays_apart(7));
    }

    #[test]
    fn threads_that_do_little_else_stay_together() {
        let mut waking = computing();
        for tid in 0..10 * WAITS as u32 {
            waking.waited(AT_ONCE / 2);
            waking.stays_apart(tid);
        }
        waking.waited(AT_ONCE / 2);
        assert!(!waking.stays_apart(0));
    }

    #[test]
    fn where_the_kernel_cannot_it_is_not_asked() {
        let mut waking = Waking {
            is_synchronous: false,
            ..computing()
        };
        waking.waited(AT_ONCE / 2);
        assert!(!waking.stays_apart(7));
    }
}
