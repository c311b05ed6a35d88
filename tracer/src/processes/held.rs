//! Processes that are held by a descriptor, which tells of their end, and the others.
//!
//! Descriptors are limited, and how many processes there are is the application's to say. What
//! finds no room is looked at now and then, and told from another that has come to its id by when
//! it was started.

use std::os::fd::AsFd;

use super::Processes;
use crate::proc;
use crate::sys::{poll, process};

/// Time between looks for the ends of processes that no descriptor tells of, milliseconds.
pub(super) const SWEEP_EVERY: u64 = 1_000;

impl Processes {
    /// Whether one more process may be held by a descriptor.
    pub(super) fn has_room(&self) -> bool {
        self.handles < self.handles_max
    }

    /// Whether the process that is known by this id, and that no descriptor holds, has ended, and
    /// the id is another's.
    pub(crate) fn is_another(&self, pid: u32) -> bool {
        let entry = self.entries.get(&pid).filter(|entry| entry.pidfd.is_none());
        entry.is_some_and(|entry| {
            let started = proc::stat(pid).map(|stat| self.started_at(&stat));
            started.is_ok_and(|started| started != entry.started_at)
        })
    }

    /// Whether a process that is known has ended.
    pub(crate) fn has_ended(&self, pid: u32) -> bool {
        let pidfd = self.entries.get(&pid).map(|entry| entry.pidfd.as_ref());
        match pidfd {
            Some(Some(pidfd)) => poll::is_readable(pidfd.as_fd()),
            Some(None) => !process::is_there(pid),
            None => false,
        }
    }

    /// When [`Self::gone`] has something to say (milliseconds, monotonic).
    pub(crate) fn sweep_at(&self) -> Option<u64> {
        self.sweep_at
    }

    /// If it is time to look: processes that no descriptor holds and that are not there any more.
    pub(crate) fn gone(&mut self) -> Vec<u32> {
        let Some(at) = self.sweep_at else {
            return Vec::new();
        };
        let now = poll::monotonic_ms();
        if now < at {
            return Vec::new();
        }
        let mut others = self.entries.values().filter(|entry| entry.pidfd.is_none());
        let others: Vec<u32> = others.by_ref().map(|entry| entry.pid).collect();
        self.sweep_at = (!others.is_empty()).then_some(now + SWEEP_EVERY);
        let is_gone = |pid: &u32| !process::is_there(*pid);
        others.into_iter().filter(is_gone).collect()
    }
}
