//! Many threads that wait at once.
//!
//! Asked whether anybody waits for the listener, the kernel goes through all who do, each of them on
//! the stack of a thread of its own, until it has found one that was not received and one that was
//! (`seccomp_notify_poll`): where ten thousand processes end at once, 1.8 ms for each of their calls.
//! To receive the first in line takes no such look. So where a look has gone through many, it counts
//! for some of them.

use crate::sys::alarm::Alarm;
use crate::sys::poll::Direct;

/// A look that takes longer may have gone through many, nanoseconds. It may have slept as well.
const LONG: u64 = 50_000;
/// So many long waits in a row that have found somebody, and it is tried what they were.
const IN_A_ROW: u32 = 16;
/// What a look takes for one who waits, nanoseconds: so long only where none is in a cache.
const EACH: u64 = 1_000;
/// How many are received for one look at the most.
const AT_ONCE: u64 = 256;
/// Where those have gone who waited, the kernel has us wait for others: for so long, milliseconds.
const PATIENCE: u32 = 50;

/// Whether many wait.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Long waits that found somebody, in a row.
    long: u32,
    /// So many are known to wait.
    known: u64,
    /// Interrupts us where they have gone.
    alarm: Option<Alarm>,
}

/// How to wait next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Until somebody is there, or something is due.
    Usual,
    /// Not at all: is somebody there already?
    Look,
    /// Not for the listener: somebody is known to be there.
    Known,
}

impl Backlog {
    /// How to wait next.
    pub(super) fn next_wait(&self) -> Wait {
        match (self.known, self.long) {
            (1.., _) => Wait::Known,
            (0, IN_A_ROW..) => Wait::Look,
            _ => Wait::Usual,
        }
    }

    /// A wait is over that took so many nanoseconds; `found` is what became of the listener. Gives
    /// what is known of it now.
    pub(super) fn waited(&mut self, wait: Wait, time: u64, found: Direct) -> Direct {
        match (wait, found) {
            (Wait::Known, _) => {
                self.known -= 1;
                if self.known == 0 {
                    self.has_gone();
                }
                return Direct::Readable;
            }
            (Wait::Usual, Direct::Readable) if time >= LONG => self.long += 1,
            // It did not sleep.
            (Wait::Look, Direct::Readable) if time >= LONG => {
                self.alarm = self.alarm.take().or_else(|| Alarm::new().ok());
                if let Some(alarm) = &self.alarm {
                    alarm.set(PATIENCE);
                    self.known = (time / EACH).min(AT_ONCE);
                }
            }
            _ => self.long = 0,
        }
        found
    }

    /// Nobody is known to wait any more.
    pub(super) fn has_gone(&mut self) {
        self.known = 0;
        if let Some(alarm) = &self.alarm {
            alarm.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits as the worker would: what each takes and finds.
    fn wait(backlog: &mut Backlog, time: u64, found: Direct) -> (Wait, Direct) {
        let wait = backlog.next_wait();
        (wait, backlog.waited(wait, time, found))
    }

    fn after_long_waits() -> Backlog {
        let mut backlog = Backlog::default();
        for _ in 0..IN_A_ROW {
            let usual = wait(&mut backlog, LONG, Direct::Readable);
            assert_eq!(usual, (Wait::Usual, Direct::Readable));
        }
        backlog
    }

    #[test]
    fn a_look_that_goes_through_many_counts_for_some_of_them() {
        let mut backlog = after_long_waits();
        let look = wait(&mut backlog, 100 * EACH, Direct::Readable);
        assert_eq!(look, (Wait::Look, Direct::Readable));
        for _ in 0..100 {
            let known = wait(&mut backlog, 500, Direct::Nothing);
            assert_eq!(known, (Wait::Known, Direct::Readable));
        }
        assert_eq!(backlog.next_wait(), Wait::Look);
    }

    #[test]
    fn the_others_are_never_left_for_long() {
        let mut backlog = after_long_waits();
        wait(&mut backlog, 1_000_000_000, Direct::Readable);
        assert_eq!(backlog.known, AT_ONCE);
    }

    #[test]
    fn who_slept_until_somebody_came_goes_on_sleeping() {
        let mut backlog = after_long_waits();
        let look = wait(&mut backlog, 500, Direct::Nothing);
        assert_eq!(look, (Wait::Look, Direct::Nothing));
        assert_eq!(backlog.next_wait(), Wait::Usual);
        // One who has just come is no crowd.
        let mut backlog = after_long_waits();
        wait(&mut backlog, 500, Direct::Readable);
        assert_eq!(backlog.next_wait(), Wait::Usual);
    }

    #[test]
    fn where_those_who_waited_have_gone_it_is_looked_again() {
        let mut backlog = after_long_waits();
        wait(&mut backlog, 100 * EACH, Direct::Readable);
        assert_eq!(backlog.next_wait(), Wait::Known);
        backlog.has_gone();
        assert_ne!(backlog.next_wait(), Wait::Known);
    }
}
