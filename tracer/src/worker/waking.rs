//! Where a thread goes on after its answer.
//!
//! With `SYNC_WAKE_UP` the kernel wakes us on the caller's processor, and the caller on ours: with
//! nobody else about, both stay where they are, which is many times cheaper than a wake-up on
//! another processor. But a call that comes in while we deal with another one's was made on another
//! processor; answered so, its thread would be drawn over to ours, and wait there for the other to
//! be done with whatever it computes. Two compilers at work then share one processor, and the
//! other idles.

use std::os::fd::BorrowedFd;

use super::Worker;
use crate::sys::seccomp;

/// What a wait that found something there takes at most, nanoseconds: to sleep and to be woken
/// takes longer. Where it does not, threads that make their calls in turns may be taken to be
/// on other processors, which costs them a slower wake-up.
const AT_ONCE: u64 = 1_500;
/// Who was answered this recently does little but calls that we stop for, nanoseconds: such threads
/// are better off together.
const BUSY: u64 = 100_000;
/// Threads whose last answers are remembered, each where its low bits say.
const THREADS: usize = 256;

/// What is known of the places of threads.
#[derive(Debug)]
pub(super) struct Waking {
    /// Whether the kernel wakes where it is told to.
    is_synchronous: bool,
    /// The last wait ended at once.
    was_there: bool,
    /// Thread that was answered last.
    last: u32,
    /// When threads were answered (nanoseconds, monotonic).
    answered: Box<[u64]>,
}

impl Waking {
    /// Asks for wake-ups on the same processor, where there is a listener and the kernel has them.
    pub(super) fn new(listener: Option<BorrowedFd<'_>>) -> Self {
        Self {
            is_synchronous: listener.is_some_and(|listener| seccomp::wake_here(listener, true)),
            was_there: false,
            last: 0,
            answered: vec![0; THREADS].into_boxed_slice(),
        }
    }

    /// A wait is over that began and ended at these times (nanoseconds, monotonic).
    pub(super) fn waited(&mut self, began: u64, ended: u64) {
        self.was_there = ended.saturating_sub(began) < AT_ONCE;
    }

    /// Whether a thread that is answered now is to go on where it was.
    fn stays_apart(&mut self, tid: u32, now: u64) -> bool {
        let is_other = std::mem::replace(&mut self.last, tid) != tid;
        let answered = &mut self.answered[tid as usize % THREADS];
        let is_busy = now < std::mem::replace(answered, now) + BUSY;
        self.is_synchronous && self.was_there && is_other && !is_busy
    }
}

impl Worker<'_> {
    /// Answers a thread, so that it goes on on the right processor.
    pub(super) fn answer_where_it_is<T>(
        &mut self,
        listener: BorrowedFd<'_>,
        tid: u32,
        answer: impl FnOnce() -> T,
    ) -> T {
        if !self.waking.stays_apart(tid, self.woken_at) {
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

    const LATE: u64 = 1_000_000_000;

    #[test]
    fn a_thread_whose_call_came_during_anothers_stays_where_it_was() {
        let mut waking = synchronous();
        waking.waited(LATE, LATE + 50_000);
        assert!(
            !waking.stays_apart(7, LATE),
            "we slept: it woke us on its own"
        );
        waking.waited(LATE, LATE + 300);
        assert!(waking.stays_apart(8, LATE));
    }

    #[test]
    fn one_thread_alone_is_never_sent_away() {
        let mut waking = synchronous();
        waking.waited(LATE, LATE + 300);
        waking.stays_apart(7, LATE);
        assert!(!waking.stays_apart(7, LATE + 10 * BUSY));
    }

    #[test]
    fn threads_that_do_little_else_stay_together() {
        let mut waking = synchronous();
        waking.waited(LATE, LATE + 300);
        for tid in [7, 8] {
            waking.stays_apart(tid, LATE);
        }
        assert!(!waking.stays_apart(7, LATE + BUSY / 2));
        assert!(waking.stays_apart(8, LATE + 2 * BUSY));
    }

    #[test]
    fn where_the_kernel_cannot_it_is_not_asked() {
        let mut waking = Waking::new(None);
        waking.waited(LATE, LATE + 300);
        assert!(!waking.stays_apart(7, LATE));
    }
}
