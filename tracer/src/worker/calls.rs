//! From a notification to its answer.

use std::os::fd::BorrowedFd;

use picket_events::wire::{Notice, ToAgent};
use picket_events::{EventKind, Outcome};

use super::Worker;
use super::denying::ENDED;
use super::judging::Judged;
use super::settling::Look;
use crate::confirm;
use crate::confirm::{Check, Pending};
use crate::decode::{self, Verdict};
use crate::sys::poll;
use crate::sys::seccomp::{self, Data};

impl Worker<'_> {
    /// Takes one notification and answers it.
    pub(super) fn notified(&mut self, listener: BorrowedFd<'_>) {
        let board = self.start.board;
        if seccomp::receive(listener, board.slot()).is_err() {
            // The call was interrupted before we came; it will be made again.
            board.answered();
            self.backlog.has_gone();
            return;
        }
        self.decide(listener);
    }

    /// Answers what the worker before has taken and was stuck with.
    pub(super) fn take_over(&mut self) {
        let board = self.start.board;
        if let (Some(listener), Some(held)) = (self.start.listener, board.unanswered()) {
            board.begins(poll::monotonic_ms());
            match seccomp::is_valid(listener, held.id) {
                true => self.decide(listener),
                false => board.answered(),
            }
        }
    }

    /// Answers the notification that was taken.
    fn decide(&mut self, listener: BorrowedFd<'_>) {
        let board = self.start.board;
        let notification = *board.slot();
        let id = notification.id;
        if !self.given.is_empty() {
            self.given.remove(&notification.pid);
        }
        if let Some((done, at)) = self.claimed(notification.pid, &notification.data) {
            self.answer_in_its_place(listener, (id, notification.data), done, at);
            return;
        }
        self.gives_up_claim(notification.pid);
        let verdict = self.judge(notification.pid, &notification.data, || {
            seccomp::is_valid(listener, id)
        });
        let errno = match &verdict {
            Some(Judged {
                verdict: Verdict::Refuse { errno, .. },
                ..
            }) => Some(*errno),
            _ => None,
        };
        let verdict = match verdict {
            Some(Judged {
                verdict: Verdict::Done(done),
                pid,
                tid,
                time,
                owed: _owed, // until it was told
                ..
            }) => {
                let at = (pid, tid, time);
                self.answer_in_its_place(listener, (id, notification.data), *done, at);
                return;
            }
            other => other,
        };
        if verdict.as_ref().is_some_and(|judged| judged.is_made_again) {
            // An answer could still be faster than the interruption: then the call would be made
            // now, and told by nobody.
            board.answered();
            return;
        }
        // A failed answer means that the thread is gone.
        let answered = self
            .waking
            .answer(listener, notification.pid, || match errno {
                Some(errno) => seccomp::answer_errno(listener, id, errno),
                None => seccomp::answer_continue(listener, id),
            });
        board.answered();
        if answered.is_ok() {
            self.send_kept_back(notification.pid);
        }
        match (verdict, answered) {
            (Some(judged), Ok(())) => self.follow_up(judged),
            (Some(judged), Err(_)) => self.take_back(&judged),
            _ => {}
        }
    }

    /// The thread did not wait for our answer any more: what was prepared for its call was for
    /// nothing, and may not even have been its.
    fn take_back(&mut self, judged: &Judged) {
        if let Some(entry) = self.processes.get_mut(judged.pid) {
            entry.received = Data::default();
        }
        match judged.verdict {
            Verdict::Exec { .. } => self.forget_exec(judged.pid, judged.tid),
            Verdict::ExitGroup(_) => {
                if let Some(entry) = self.processes.get_mut(judged.pid) {
                    entry.exit_code = None;
                    entry.exit_owed = None;
                }
            }
            _ => {}
        }
    }

    /// A call whose value is known has returned: tells what became of it.
    pub(super) fn returned(
        &mut self,
        (pid, tid, time): (u32, u32, u64),
        kind: EventKind,
        check: Check,
        value: i64,
    ) {
        let Some(mut pending) = self
            .watched(pid, tid, time, kind, check)
            .filter(|_| is_told(value))
        else {
            return;
        };
        let gives_descriptor = matches!(
            pending.check,
            Check::Open { .. } | Check::Opened(_) | Check::Descriptor(_)
        );
        if gives_descriptor
            && value >= 0
            && let Some(entry) = self.processes.get(pid)
            && let resolved = entry.view(tid).descriptor(value as i32)
            // The link cannot be read where the path is too long for it.
            && !resolved.path.is_empty()
        {
            // No need to follow the path again: here is what the kernel opened.
            let file = decode::file_of(&resolved, &self.mounts);
            let is_ended = self.start.listener.is_none() && {
                let kind = &pending.kind;
                self.end_if_opened(pid, &file, kind)
            };
            let outcome = match is_ended {
                true => ENDED,
                false => Outcome::Returned(value),
            };
            confirm::set_file(&mut pending.kind, file);
            self.note_open(pid, tid, &mut pending.kind);
            self.emit(pid, tid, time, outcome, pending.kind);
            return;
        }
        self.look(pending, Look::Known(value));
    }

    /// After the answer: reports, or remembers to look.
    pub(super) fn follow_up(&mut self, judged: Judged) {
        let Judged {
            row,
            pid,
            tid,
            verdict,
            time,
            owed,
            ..
        } = judged;
        match verdict {
            Verdict::Pass | Verdict::Exec { .. } | Verdict::Done(_) => {}
            Verdict::ExitGroup(_) => self.leaves(pid, time),
            Verdict::Refuse {
                errno,
                event,
                tampering,
            } => {
                if tampering {
                    let notice = Notice::Tampering {
                        pid,
                        syscall: row.name.to_owned(),
                    };
                    self.transport.push(&ToAgent::Notice(notice));
                }
                if let Some(kind) = event {
                    self.emit(pid, tid, time, Outcome::Denied(errno), kind);
                }
            }
            Verdict::Tell(events, outcome) => {
                for kind in events {
                    self.emit(pid, tid, time, outcome, kind);
                }
            }
            Verdict::Watch(kind, check) => {
                let Some(mut pending) = self.watched(pid, tid, time, kind, check) else {
                    return;
                };
                pending.owed = owed;
                if matches!(pending.check, Check::Nothing | Check::Exists(_)) {
                    // No later look would tell more.
                    self.look(pending, Look::Due);
                } else {
                    self.pending.push(pending);
                }
            }
        }
    }

    /// A call to be reported once its effect was looked for; `None` for one that is of no
    /// interest.
    pub(super) fn watched(
        &self,
        pid: u32,
        tid: u32,
        time: u64,
        kind: EventKind,
        check: Check,
    ) -> Option<Pending> {
        let check = match (check, self.processes.get(pid)) {
            (Check::Nothing, Some(entry)) if enters_mounts(&kind) => {
                Check::Root(entry.root.clone())
            }
            (check, _) => check,
        };
        let is_upkeep = matches!(check, Check::Ids | Check::Root(_));
        if !is_upkeep && !self.interest.contains(kind.event_type()) {
            return None;
        }
        Some(Pending {
            pid,
            tid,
            time,
            kind,
            check,
            looks: 0,
            since: poll::monotonic_ms(),
            owed: None,
        })
    }
}

/// Whether a call that has returned this is reported.
pub(super) fn is_told(value: i64) -> bool {
    match -value {
        ..=0 | 4096.. => true,
        errno => is_refusal(errno as i32),
    }
}

/// Whether a failure tells more about the caller than that something was not there: it was not
/// allowed to.
fn is_refusal(errno: i32) -> bool {
    matches!(errno, libc::EACCES | libc::EPERM)
}

/// Whether the process may see another file system tree after the call.
fn enters_mounts(kind: &EventKind) -> bool {
    const NEW_MOUNTS: u64 = 0x0002_0000; // CLONE_NEWNS
    matches!(kind, EventKind::Unshare { flags, .. } if flags & NEW_MOUNTS != 0)
}
