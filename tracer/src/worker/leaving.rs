//! Processes that have said that they end.
//!
//! The end of a process wakes us, which on a busy machine costs more than telling of it. One that
//! has called `exit_group` ends in a moment, so its end is looked for when we are awake for
//! something else, or a little later.

use std::os::fd::AsFd;

use super::Worker;
use crate::sys::poll;

/// How long an end that was announced may take before it is waited for like any other,
/// milliseconds: as long as other events wait for each other.
const PATIENCE: u64 = 5;

/// A process that has called `exit_group`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving {
    pid: u32,
    /// When it was let go (milliseconds, monotonic).
    since: u64,
    /// The same, nanoseconds since the epoch.
    time: u64,
}

impl Leaving {
    /// When to look at the latest (milliseconds, monotonic).
    pub(super) fn due(&self) -> u64 {
        self.since + PATIENCE
    }
}

impl Worker<'_> {
    /// A process was let run into its end.
    pub(super) fn leaves(&mut self, pid: u32, time: u64) {
        let is_main = pid == self.main_pid(); // its end comes with its status
        if is_main || self.start.listener.is_none() || !self.processes.has_many_ids() {
            return;
        }
        let pidfd = self
            .processes
            .get(pid)
            .and_then(|entry| entry.pidfd.as_ref());
        if let Some(pidfd) = pidfd {
            self.poller.remove(pidfd.as_fd());
            let since = poll::monotonic_ms();
            self.leaving.push(Leaving { pid, since, time });
        }
    }

    /// Tells of those that have ended; waits for those that take longer.
    pub(super) fn look_at_leaving(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let now = poll::monotonic_ms();
        for leaving in std::mem::take(&mut self.leaving) {
            let entry = self.processes.get(leaving.pid);
            let Some(pidfd) = entry.and_then(|entry| entry.pidfd.as_ref()) else {
                continue;
            };
            let pidfd = pidfd.as_fd();
            if poll::is_readable(pidfd) {
                self.ended_at_time(leaving.pid, leaving.time);
            } else if now >= leaving.due() {
                let _ = self.poller.add(pidfd, leaving.pid.into());
            } else {
                self.leaving.push(leaving);
            }
        }
    }
}
