//! From a notification to its answer.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use picket_events::wire::{Notice, ToAgent};
use picket_events::{EventKind, EventType, Outcome};

use super::Worker;
use super::closed;
use super::denying::ENDED;
use super::execs;
use super::settling::Look;
use crate::confirm;
use crate::confirm::{Check, Pending};
use crate::debts::Owed;
use crate::decode::{self, Call, Verdict, filters, process, quarantine};
use crate::denials::Denials;
use crate::processes::Contacts;
use crate::sys::poll;
use crate::sys::seccomp::{self, Data};
use crate::table::{self, Abi, Row};

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

    /// Decides about a call of a thread, which waits for as long as `still_waits` says so.
    /// `None`: it cannot be attributed or is none of ours; let it run.
    pub(super) fn judge(
        &mut self,
        tid: u32,
        data: &Data,
        still_waits: impl Fn() -> bool,
    ) -> Option<Judged> {
        let (abi, number) = Abi::of(data.arch, data.number as u32)?;
        let row = table::find(abi, number)?;
        if self.connects_on(tid, data) {
            return None;
        }
        if row.is_start() {
            self.begins(tid);
            return None;
        }
        let pid = match row.event {
            EventType::Exec => {
                self.hold_before_exec(tid);
                self.process_before_exec(tid)?
            }
            _ => self.process_of(tid)?,
        };
        self.settle_thread(tid);
        self.settle_exec(pid, tid);
        self.start.board.is_about(pid);
        match row.event {
            EventType::Exit => {}
            // It is about to be replaced.
            EventType::Exec => self.processes.pass_memory(pid, tid),
            _ => self.processes.open_memory(pid, tid),
        }
        if may_hide(row, data) {
            self.processes.keep_memory(pid, tid);
        }
        self.processes.turn_to(pid, tid);
        let entry = self.processes.get_mut(pid)?;
        entry.arrive();
        entry.received = *data;
        // Before the first look: what others change from here on may be what the call meets.
        let time = confirm::call_time();
        let process = self.processes.get(pid)?;
        let call = Call {
            name: row.name,
            abi,
            args: data.args,
            tid,
            process,
            mounts: &self.mounts,
            own: &self.own,
        };
        let mut verdict = (row.decode)(&call);
        let goes_to = (row.name == "chdir" && process.holds_directory())
            .then(|| call.path(0, true))
            .filter(|to| to.fault.is_none() && to.descriptor.is_none())
            .map(|to| to.path);
        let is_closed = closed::names_what_is_closed(&call, &verdict);
        let rings = (row.name == "setitimer").then(|| process::rings_again(&call));
        let adds_filter = filters::adds_filter(&call, row.name);
        let asked = match &verdict {
            Verdict::Exec { .. } => execs::first_exec(&call, row),
            _ => None,
        };
        if self.start.board.quarantined.load(Ordering::Acquire) != 0
            && quarantine::concerns(row.name)
            && quarantine::refuses(&call, row.name)
        {
            verdict = quarantine::refusal(verdict);
        }
        if Denials::concern(self.start.board, row.events()) {
            let mut is_held = false;
            verdict = self.deny(&call, row, verdict, &still_waits, &mut is_held);
            if is_held {
                self.attend_maker(pid, tid);
            }
            let is_unseen = matches!(verdict, Verdict::Exec { .. }) && !self.can_see_exec(pid, tid);
            if is_unseen {
                verdict = Verdict::Refuse {
                    errno: libc::EPERM,
                    event: None,
                    tampering: false,
                };
            }
        }
        // What we read belongs to this call only if its thread still waits for us. For what is
        // only told, or can be taken back, the answer itself shows that, one system call cheaper.
        if has_consequences(&verdict) && !still_waits() {
            return None;
        }
        if is_closed && let Some(entry) = self.processes.get_mut(pid) {
            entry.is_hidden = true;
        }
        if let (Some(rings), Some(entry)) = (rings, self.processes.get_mut(pid)) {
            entry.has_timer = rings;
        }
        self.attend_timer(pid, tid);
        if adds_filter && let Some(entry) = self.processes.get_mut(pid) {
            entry.has_own_filter = true;
        }
        let mut owed = self.owed_for(&verdict);
        match &verdict {
            Verdict::Exec { path } => {
                self.await_exec((pid, tid), path.clone(), asked, owed.take());
            }
            Verdict::ExitGroup(code) => self.about_to_exit(pid, *code, owed.take()),
            Verdict::Watch(EventKind::Signal { signal, target }, _) if *target <= 0 => {
                self.note_group_signal(pid, *signal, *target);
            }
            Verdict::Watch(kind, _) => self.know_target(kind),
            _ => {}
        }
        if row.event == EventType::Chroot {
            self.processes.root_changes(tid);
        }
        if row.event == EventType::Chdir
            && let Some(entry) = self.processes.get_mut(pid)
        {
            entry.leaves_for(goes_to);
        }
        self.note_contacts(pid, row, &verdict);
        let descriptor = data.args[0] as u32 as i32;
        let followed = self.followed_from((pid, tid), abi, row, descriptor, &verdict);
        let is_made_again = followed
            .is_some_and(|following| still_waits() && self.follow_asker(pid, tid, data, following));
        Some(Judged {
            is_made_again,
            row,
            pid,
            tid,
            verdict,
            time,
            owed,
        })
    }

    /// What a call has to be told for, noted before it is let run.
    fn owed_for(&self, verdict: &Verdict) -> Option<Owed> {
        let (event, count) = match verdict {
            Verdict::Watch(kind, _)
            | Verdict::Refuse {
                event: Some(kind), ..
            } => (kind.event_type(), 1),
            Verdict::Tell(events, _) => (events.first()?.event_type(), events.len() as u32),
            Verdict::Done(done) => (done.told.as_ref()?.0.event_type(), 1),
            Verdict::Exec { .. } => (EventType::Exec, 1),
            Verdict::ExitGroup(_) => (EventType::Exit, 1),
            Verdict::Pass | Verdict::Refuse { event: None, .. } => return None,
        };
        let is_told = self.interest.contains(event);
        is_told.then(|| self.start.board.debts.owe(event, count))
    }

    /// Remembers whether a process speaks to services whose traffic is looked at.
    fn note_contacts(&mut self, pid: u32, row: &Row, verdict: &Verdict) {
        if row.name == "recvfrom"
            && !matches!(verdict, Verdict::Pass)
            && let Some(entry) = self.processes.get_mut(pid)
        {
            entry.hears_in_sight = true;
        }
        let found = match verdict {
            Verdict::Watch(EventKind::Connect { address, .. }, _) => Contacts::of(address),
            Verdict::Tell(events, _) => Contacts {
                name_server: events.iter().any(|kind| matches!(kind, EventKind::Dns(_))),
                metadata: false,
            },
            _ => return,
        };
        if let Some(entry) = self.processes.get_mut(pid) {
            entry.contacts.name_server |= found.name_server;
            entry.contacts.metadata |= found.metadata;
        }
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

/// Whether something is done for a verdict before it is answered that cannot be taken back.
fn has_consequences(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Watch(EventKind::Signal { target, .. }, _) => *target <= 0,
        _ => false,
    }
}

/// Whether a call that has returned this is reported.
pub(super) fn is_told(value: i64) -> bool {
    match -value {
        ..=0 | 4096.. => true,
        errno => is_refusal(errno as i32),
    }
}

/// Whether the caller may not be dumpable any more after the call.
fn may_hide(row: &Row, data: &Data) -> bool {
    const SET_DUMPABLE: u32 = 4;
    match row.event {
        EventType::SetUid | EventType::SetGid | EventType::Capset => true,
        // An int: the kernel looks at no more of the register.
        EventType::Prctl => data.args[0] as u32 == SET_DUMPABLE,
        _ => false,
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

/// A decision with all that reporting it takes.
pub(super) struct Judged {
    /// The kernel makes the call again by itself, whatever we answer, and gives it to us once
    /// more.
    pub(super) is_made_again: bool,
    pub(super) row: &'static Row,
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) verdict: Verdict,
    /// When it was made, nanoseconds since the epoch.
    pub(super) time: u64,
    /// Counted as untold until this is gone; with an exec or an end, that is where those wait.
    pub(super) owed: Option<Owed>,
}
