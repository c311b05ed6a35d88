//! Programs with a timer that rings again and again, as nginx has one for `timer_resolution`.
//!
//! Its signal may come while a call of theirs waits for us. Where its handler lacks `SA_RESTART`, the call
//! gives EINTR then ([`super::interrupted`]), which is no answer to an open, or to a connect that need
//! not wait. So the thread that such signals are sent to, the first of its process, is seized: a call
//! that a signal has found waiting for us is made again after the handler, as if the signal had come
//! before it. What waits by itself is interrupted as it was without us.

use super::Worker;
use super::interrupted::{Attended, OPTIONS, TIMES_MAX};
use crate::sys::seccomp::Data;
use crate::table::{self, Abi, Row};

/// A call that a thread makes again, since its timer has rung.
#[derive(Debug, Default)]
pub(super) struct MadeAgain {
    data: Data,
    /// In a row.
    times: u32,
}

impl Worker<'_> {
    /// Whether a process has such a timer.
    pub(super) fn has_timer(&self, pid: u32) -> bool {
        self.processes.get(pid).is_some_and(|entry| entry.has_timer)
    }

    /// A thread of a process makes a call: seizes it where the process has such a timer. It may have been
    /// let go since, to be followed or because it was stopped.
    pub(super) fn attend_timer(&mut self, pid: u32, tid: u32) {
        let Some(entry) = self.processes.get_mut(pid).filter(|entry| entry.has_timer) else {
            return;
        };
        if pid != tid
            || self.start.listener.is_none()
            || self.seized.contains_key(&tid)
            || self.askers.contains_key(&tid)
        {
            return;
        }
        match entry.seize(tid, OPTIONS) {
            Ok(()) => {
                self.seized.insert(tid, pid);
                self.attended.insert(tid, Attended::Timer);
            }
            // Somebody debugs it, or nobody may: not to be tried at each of its calls.
            Err(_) => entry.has_timer = false,
        }
    }

    /// Whether an open or a connect, which may wait by itself, was interrupted while it waited for us, in a
    /// thread that is attended to for its timer.
    pub(super) fn rang_meanwhile(
        &mut self,
        tid: u32,
        (abi, row): (Abi, &Row),
        data: &Data,
    ) -> bool {
        let flags = match row.name {
            "open" => Some(data.args[1]),
            "openat" => Some(data.args[2]),
            _ => None,
        };
        let is_asked = match flags {
            Some(flags) => table::stops_for_open(&self.interest, abi, flags as u32),
            None => row.is_always_stopped_for(&self.interest),
        };
        if !is_asked {
            return false;
        }
        let was_let_go = self
            .processes
            .get(tid)
            .is_some_and(|entry| entry.received == *data);
        // Or it has made the same call before, and was not let go this time. If it was, the call is
        // interrupted once more, and then as it would be without us.
        let times_max = if was_let_go { 1 } else { TIMES_MAX };
        let again = self.made_again.entry(tid).or_default();
        if again.data != *data {
            *again = MadeAgain {
                data: *data,
                times: 0,
            };
        }
        again.times += 1;
        let is_made_again = again.times <= times_max;
        if !is_made_again {
            self.made_again.remove(&tid);
        }
        is_made_again
    }

    /// A thread has stopped for a signal that has interrupted none of its calls.
    pub(super) fn was_not_interrupted(&mut self, tid: u32) {
        if !self.made_again.is_empty() {
            self.made_again.remove(&tid);
        }
    }
}
