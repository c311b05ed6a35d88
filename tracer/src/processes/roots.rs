//! The roots of processes, and when they may be others than they were.
//!
//! Threads share one, and so may processes (`clone(CLONE_FS)`): one changes it for all, and nobody
//! but the kernel knows who they are; `pivot_root` changes that of everybody. So after each such call
//! every process is looked at again before its next one is judged.

use super::{Entry, Processes};
use crate::races;
use crate::resolve::Root;
use crate::sys::poll;

/// From the look at a call that changes a root, it is done within this time (milliseconds).
const UNSETTLED: u64 = 1_000;

/// Changes of roots.
#[derive(Debug, Default)]
pub(super) struct Changes {
    count: u64,
    /// Until when the last one may still be to come (milliseconds, monotonic).
    unsettled_until: u64,
    /// The thread that has called last, and the one before that was another; when (milliseconds,
    /// monotonic).
    last: [(u32, u64); 2],
}

impl Changes {
    /// A number that is another one wherever a root may be another one.
    pub(super) fn count(&mut self) -> u64 {
        if self.unsettled_until != 0 {
            self.count += 1;
            if poll::monotonic_ms() >= self.unsettled_until {
                self.unsettled_until = 0;
            }
        }
        self.count
    }
}

impl Entry {
    /// Another root than was known.
    pub(crate) fn set_root(&mut self, root: Root) {
        self.is_root_seen = !matches!(root, Root::Unknown);
        self.root = root;
    }

    /// Another root of one of its threads than was known.
    pub(crate) fn set_root_of_thread(&mut self, root: Root) {
        self.has_roots |= races::has_threads(self.pid);
        self.set_root(root);
    }

    /// It runs another program: one that hid can be looked into again, mostly.
    pub(crate) fn look_for_root(&mut self) {
        if !self.is_root_seen
            && let Ok(root) = Root::of(self.pid, &self.credentials)
        {
            self.set_root(root);
        }
    }
}

impl Processes {
    /// A thread is about to change its root.
    pub(crate) fn root_changes(&mut self, tid: u32) {
        let now = poll::monotonic_ms();
        let [last, _] = self.changes.last;
        if last.0 != tid {
            self.changes.last[1] = last;
        }
        self.changes.last[0] = (tid, now);
        self.changes.unsettled_until = now + UNSETTLED;
    }

    /// Whether somebody else may have undone what a thread has done to its root since.
    pub(crate) fn may_have_undone(&self, tid: u32, since: u64) -> bool {
        let mut calls = self.changes.last.iter();
        calls.any(|(other, at)| *other != tid && at + UNSETTLED > since)
    }

    /// A thread is looked at next, which may have a root of its own, or another than it had.
    pub(crate) fn turn_to(&mut self, pid: u32, tid: u32) {
        let count = self.changes.count();
        let Some(entry) = self.entries.get_mut(&pid) else {
            return;
        };
        if !entry.has_roots && entry.root_at == count {
            return;
        }
        entry.root_at = count;
        if let Ok(root) = Root::of(tid, &entry.credentials)
            && !root.is(&entry.root)
        {
            entry.set_root(root);
        }
    }
}
