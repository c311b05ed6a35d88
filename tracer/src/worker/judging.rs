//! From a call to what is to be done about it.

use std::sync::atomic::Ordering;

use picket_events::{EventKind, EventType};

use super::Worker;
use super::closed;
use super::execs;
use crate::asked::Asked;
use crate::confirm;
use crate::debts::Owed;
use crate::decode::{Call, Verdict, filters, process, quarantine};
use crate::denials::Denials;
use crate::processes::Contacts;
use crate::sys::seccomp::Data;
use crate::table::{self, Abi, Row};

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

/// What else than its verdict a call has shown of the caller, to be noted once it is known to be its.
struct Shown {
    /// It goes to this directory.
    goes_to: Option<Vec<u8>>,
    /// It names what is closed to us.
    is_closed: bool,
    /// It sets its timer: whether that rings again and again.
    rings: Option<bool>,
    adds_filter: bool,
    /// What its first exec asks for.
    asked: Option<Asked>,
}

impl Shown {
    fn by(call: &Call<'_>, row: &Row, verdict: &Verdict) -> Self {
        let goes_to = (row.name == "chdir" && call.process.holds_directory())
            .then(|| call.path(0, true))
            .filter(|to| to.fault.is_none() && to.descriptor.is_none())
            .map(|to| to.path);
        Self {
            goes_to,
            is_closed: closed::names_what_is_closed(call, verdict),
            rings: (row.name == "setitimer").then(|| process::rings_again(call)),
            adds_filter: filters::adds_filter(call, row.name),
            asked: match verdict {
                Verdict::Exec { .. } => execs::first_exec(call, row),
                _ => None,
            },
        }
    }
}

impl Worker<'_> {
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
        let pid = self.caller(tid, row, data)?;
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
        let shown = Shown::by(&call, row, &verdict);
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
        let owed = self.note((pid, tid), row, &verdict, shown);
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

    /// The process that makes a call, whose former calls are looked at and which can be read now.
    fn caller(&mut self, tid: u32, row: &Row, data: &Data) -> Option<u32> {
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
        Some(pid)
    }

    /// Notes what a call means for the caller and for others before it is let run, and what is owed
    /// for it.
    fn note(
        &mut self,
        (pid, tid): (u32, u32),
        row: &Row,
        verdict: &Verdict,
        shown: Shown,
    ) -> Option<Owed> {
        if let Some(entry) = self.processes.get_mut(pid) {
            entry.is_hidden |= shown.is_closed;
            entry.has_own_filter |= shown.adds_filter;
            entry.has_timer = shown.rings.unwrap_or(entry.has_timer);
        }
        self.attend_timer(pid, tid);
        let mut owed = self.owed_for(verdict);
        match verdict {
            Verdict::Exec { path } => {
                self.await_exec((pid, tid), path.clone(), shown.asked, owed.take());
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
            entry.leaves_for(shown.goes_to);
        }
        self.note_contacts(pid, row, verdict);
        owed
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
}

/// Whether something is done for a verdict before it is answered that cannot be taken back.
fn has_consequences(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Watch(EventKind::Signal { target, .. }, _) => *target <= 0,
        _ => false,
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
