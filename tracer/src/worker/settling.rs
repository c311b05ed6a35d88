//! What became of a call that was let go: looked for until it shows.

use std::os::fd::AsFd;

use picket_events::Outcome;

use super::Worker;
use crate::confirm::{self, Check, Pending, Settled};
use crate::sys::poll;

/// Of looks that are due so many are made before others have their turn: thousands of threads may sleep in
/// `accept`, and each is looked at again and again.
const AT_ONCE: usize = 16;

/// A look at the effect: how it came to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The thread has made another call, or has ended: the first has returned.
    Returned,
    /// Time has passed.
    Due,
    /// The kernel has returned this value.
    Known(i64),
}

impl Worker<'_> {
    /// The thread makes another call: its earlier ones have returned.
    pub(super) fn settle_thread(&mut self, tid: u32) {
        self.settle_where(Look::Returned, usize::MAX, |pending| pending.tid == tid);
    }

    /// The process has ended, or runs another program.
    pub(super) fn settle_process(&mut self, pid: u32) {
        self.settle_where(Look::Returned, usize::MAX, |pending| pending.pid == pid);
    }

    /// Time has passed.
    pub(super) fn settle_due(&mut self) {
        if self.pending.is_empty() && self.execs.is_empty() {
            return;
        }
        let now = poll::lately_ms();
        self.settle_where(Look::Due, AT_ONCE, |pending| pending.due() <= now);
        self.settle_due_execs(now);
    }

    /// Looks at those, as many as are to be looked at now.
    fn settle_where(&mut self, look: Look, most: usize, which: impl Fn(&Pending) -> bool) {
        let (mut at, mut left) = (0, most);
        while at < self.pending.len() && left > 0 {
            if which(&self.pending[at]) {
                let pending = self.pending.remove(at);
                self.look(pending, look);
                left -= 1;
            } else {
                at += 1;
            }
        }
    }

    /// Looks once; what stays open goes back in line.
    pub(super) fn look(&mut self, mut pending: Pending, look: Look) {
        self.processes.turn_to(pending.pid, pending.tid);
        let Some(entry) = self.processes.get_mut(pending.pid) else {
            return;
        };
        self.start.board.is_about(pending.pid);
        let returned = look != Look::Due;
        let view = entry.view(pending.tid);
        let pidfd = entry.pidfd.as_ref().map(AsFd::as_fd);
        let settled = pending.settle(&view, pidfd, &self.mounts, &mut self.looks, returned);
        let Pending { pid, tid, time, .. } = pending;
        let is_unseen = matches!(settled, Settled::Wait | Settled::Drop)
            || matches!(
                (&pending.check, &settled),
                (Check::Connected { .. }, Settled::Emit(Outcome::Unconfirmed))
            );
        let known = match look {
            // It did what it was asked, and nothing of what we read shows it: another thread
            // may have written something else there.
            Look::Known(0..) if is_unseen => Some(Outcome::Unconfirmed),
            Look::Known(value) => Some(Outcome::Returned(value)),
            Look::Returned | Look::Due => None,
        };
        let outcome = match settled {
            Settled::Drop
                if matches!(pending.check, Check::Root(_))
                    && self.processes.may_have_undone(tid, pending.since) =>
            {
                Outcome::Unconfirmed
            }
            Settled::Wait | Settled::Drop if known.is_some() => Outcome::Unconfirmed,
            Settled::Wait => {
                self.pending.push(pending);
                return;
            }
            Settled::Drop | Settled::Nothing => return,
            Settled::Emit(outcome) => outcome,
            Settled::Ids(credentials) => {
                confirm::set_ids(&mut pending.kind, credentials.clone());
                if let Some(entry) = self.processes.get_mut(pid) {
                    entry.credentials = credentials;
                }
                Outcome::Succeeded
            }
            Settled::Root(root) => {
                if let Some(entry) = self.processes.get_mut(pid) {
                    entry.set_root_of_thread(root);
                }
                Outcome::Succeeded
            }
        };
        self.note_open(pid, tid, &mut pending.kind);
        self.emit(pid, tid, time, known.unwrap_or(outcome), pending.kind);
    }
}
