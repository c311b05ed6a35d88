//! The table of processes as the agent is told of it.

use std::os::fd::AsFd;

use picket_events::event::{Exit, ExitCause};
use picket_events::file::FileFault;
use picket_events::wire::{Notice, ToAgent};
use picket_events::{Address, Event, EventKind, EventType, File, Outcome, Process};
use std::sync::atomic::Ordering;

use super::Worker;
use crate::confirm::{Check, Pending};
use crate::image;
use crate::proc;
use crate::processes::{Contacts, UNKNOWN_LOGIN};
use crate::sys::{poll, process};

impl Worker<'_> {
    /// Numbers and queues an event, after whatever the agent has to know about its process.
    /// False when it was dropped and counted.
    pub(super) fn emit(
        &mut self,
        pid: u32,
        tid: u32,
        time: u64,
        outcome: Outcome,
        kind: EventKind,
    ) -> bool {
        if !self.interest.contains(kind.event_type()) {
            return true;
        }
        if self.transport.has_room(kind.event_type()) {
            self.tell_lineage(pid);
        }
        self.tell_if_hidden(pid, &kind);
        if self.transport.has_room(kind.event_type()) {
            for account in self.accounts.of_event(&kind) {
                self.transport.push(&ToAgent::Account(account));
            }
        }
        let event = Event {
            sequence: 0,
            time,
            pid,
            tid,
            outcome,
            kind,
        };
        let is_queued = self.transport.push_event(event);
        self.start
            .board
            .sequence
            .store(self.transport.sequence(), Ordering::Release);
        is_queued
    }

    /// Tells once of a process that does something which we cannot read because it hides its memory.
    /// What it executes is read from the new program.
    fn tell_if_hidden(&mut self, pid: u32, kind: &EventKind) {
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        let is_unreadable = |file: &File| match file.fault {
            Some(FileFault::Unreadable) => entry.is_hidden,
            Some(FileFault::Unresolved) => entry.is_directory_lost(),
            _ => false,
        };
        let is_unread = match kind {
            EventKind::Exec(_) => false,
            EventKind::Connect { address, .. } => {
                entry.is_hidden && *address == Address::Unreadable
            }
            kind => kind.file().is_some_and(is_unreadable),
        };
        if is_unread && !std::mem::replace(&mut entry.is_hidden_told, true) {
            let notice = Notice::Hidden { pid };
            self.transport.push(&ToAgent::Notice(notice));
        }
    }

    /// Registers a process and those of its ancestors that are new, and tells of them.
    pub(super) fn register(&mut self, pid: u32) {
        self.register_as(pid, None);
    }

    /// Does so for a process whose status was read already.
    pub(super) fn register_as(&mut self, pid: u32, status: Option<proc::Status>) {
        let mut added = Vec::new();
        // It may have ended already; then there is nothing to tell but its parent's end.
        let _ = self.processes.add(pid, status, &mut added);
        for pid in added {
            self.added(pid);
        }
    }

    /// Watches a process that is new in the table, and tells of it.
    pub(super) fn added(&mut self, pid: u32) {
        let is_stranger = pid != self.main_pid() && {
            let parent = self.processes.get(pid).map(|entry| entry.parent);
            parent.is_some_and(|parent| self.processes.get(parent).is_none())
        };
        // Made as its parent's sibling (`CLONE_PARENT`), or left behind by one that was killed.
        if is_stranger {
            self.look_at_stranger(pid);
        }
        self.doubt_login(pid);
        self.watch_end(pid);
        self.attend_parent(pid);
        self.announce(pid);
    }

    /// A process is new whose parent has just opened something for writing, and it has not shown
    /// yet what: it may have set the login user id that the new one has inherited.
    fn doubt_login(&mut self, pid: u32) {
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        let writes = |call: &Pending| matches!(call.check, Check::Open { writes: true, .. });
        let mut pending = self.pending.iter();
        entry.may_change_login |= pending.any(|call| call.pid == entry.parent && writes(call));
    }

    /// Tells of a process and of its ancestors, as far as that could not be done before.
    fn tell_lineage(&mut self, pid: u32) {
        let mut untold = Vec::new();
        let mut next = self.processes.get_mut(pid);
        while let Some(entry) = next.filter(|entry| !entry.is_announced) {
            entry.is_announced = true;
            let (pid, parent) = (entry.pid, entry.parent);
            untold.push(pid);
            next = self.processes.get_mut(parent);
        }
        for pid in untold.into_iter().rev() {
            if let Some(process) = self.processes.get(pid).map(|entry| entry.describe()) {
                self.tell_process(process);
            }
        }
    }

    /// Tells of a process, and before it of the users it names.
    pub(super) fn tell_process(&mut self, process: Process) {
        for account in self.accounts.of_process(&process.credentials) {
            self.transport.push(&ToAgent::Account(account));
        }
        self.transport.push(&ToAgent::Process(Box::new(process)));
    }

    fn watch_end(&mut self, pid: u32) {
        self.is_main_known |= pid == self.main_pid();
        let pidfd = self
            .processes
            .get(pid)
            .and_then(|entry| entry.pidfd.as_ref());
        if let Some(pidfd) = pidfd {
            let _ = self.poller.add(pidfd.as_fd(), pid.into());
        }
    }

    fn announce(&mut self, pid: u32) {
        let main = self.main_pid();
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        entry.is_announced = true; // the fork itself announces it
        if pid == main {
            let process = entry.describe();
            self.tell_process(process);
            return;
        }
        let parent = entry.parent;
        if self.transport.has_room(EventType::Fork) {
            self.tell_lineage(parent);
        }
        let Some(entry) = self.processes.get(pid) else {
            return;
        };
        let process = match self.processes.runs_what_parent_was_told_to(entry) {
            true => entry.describe_as_child(),
            false => entry.describe(),
        };
        let time = poll::now();
        let kind = EventKind::Fork(Box::new(process));
        let is_queued = self.emit(pid, pid, time, Outcome::Succeeded, kind);
        if let Some(entry) = self.processes.get_mut(pid) {
            entry.is_announced = is_queued;
        }
    }

    /// Takes a process that a dead worker knew into the table again.
    pub(super) fn find_again(&mut self, pid: u32) {
        if self.own.is(pid) || !self.processes.is_traced(pid) {
            return;
        }
        self.start.board.is_about(pid);
        let mut added = Vec::new();
        let _ = self.processes.add(pid, None, &mut added);
        for pid in added {
            self.watch_end(pid);
            self.start.board.is_about(pid);
            self.look_at_stranger(pid);
            let Some(entry) = self.processes.get_mut(pid) else {
                continue;
            };
            // The snapshot, which goes first on the new connection, tells of it.
            entry.is_announced = true;
            self.transport.assume_told(entry.describe());
        }
    }

    /// Looks for itself at what a process runs, and takes it to have done whatever it may have done:
    /// nobody is known from whom it has that.
    fn look_at_stranger(&mut self, pid: u32) {
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        entry.pass_memory(pid);
        let program = image::Program {
            view: &entry.view(pid),
            memory: entry.memory(),
            named: None,
            is_fresh: false,
            asked: None,
            found: None,
            stat: None,
            may_be_read: entry.caution.allows_memory(poll::monotonic_ms),
        };
        let environments = &mut self.environments;
        let image = image::read(&program, &self.mounts, &mut self.looks, environments).image;
        entry.drop_memory();
        entry.image = self.transport.share(&image);
        entry.contacts = Contacts::ALL;
        entry.may_change_login = true;
        entry.has_own_filter = has_own_filter(pid);
    }

    /// A process has ended.
    pub(super) fn process_ended(&mut self, pid: u32) {
        self.ended_at_time(pid, poll::now());
    }

    /// A process has ended, and this is when (nanoseconds since the epoch).
    pub(super) fn ended_at_time(&mut self, pid: u32, time: u64) {
        self.settle_process(pid);
        self.exec_ended(pid);
        let Some(entry) = self.processes.get(pid) else {
            return;
        };
        let (status, said) = (self.status_of(pid), entry.exit_code);
        let exit = exit_of(status, said);
        self.note_unheard_end(pid, status, said);
        self.emit(pid, pid, time, Outcome::Succeeded, EventKind::Exit(exit));
        // Nobody has a copy of its pidfd: closed, it is not polled any more.
        self.processes.remove(pid);
    }

    /// Raw wait status of a process that has ended, where it is to be had.
    fn status_of(&self, pid: u32) -> Option<i32> {
        let board = self.start.board;
        if pid == self.main_pid() && board.main_ended.load(Ordering::Acquire) != 0 {
            return Some(board.main_status.load(Ordering::Acquire));
        }
        if let Some(status) = self.traced.status_of(pid) {
            return Some(status);
        }
        // Reaped, a recent kernel keeps its status; not reaped yet, it stands in /proc, for
        // those who may see it. It may be reaped between the two looks.
        let kept = || {
            let entry = self.processes.get(pid)?;
            process::ended_status(entry.pidfd.as_ref()?.as_fd())
        };
        let waiting = || {
            let entry = self.processes.get(pid)?;
            let stat = proc::stat_as_tracee(pid, &entry.credentials).ok()?;
            Some(stat.exit_status).filter(|status| *status != 0)
        };
        kept().or_else(waiting).or_else(kept)
    }
}

/// Whether a process may have more seccomp filters than ours, and those that we have as well.
fn has_own_filter(pid: u32) -> bool {
    let filters = |pid| proc::status(pid, Some(UNKNOWN_LOGIN)).ok()?.filters;
    let (own, its) = (filters(process::own_pid()), filters(pid));
    own.zip(its).is_none_or(|(own, its)| its > own + 1)
}

/// How a process ended, from its wait status and from what it said at `exit_group`.
fn exit_of(status: Option<i32>, said: Option<u32>) -> Exit {
    match (status, said) {
        (Some(status), _) if libc::WIFSIGNALED(status) => Exit {
            cause: if status & 0x80 != 0 {
                ExitCause::CoreDumped
            } else {
                ExitCause::Signaled
            },
            code: Some(libc::WTERMSIG(status) as u32),
        },
        (Some(status), _) => Exit {
            cause: ExitCause::Exited,
            code: Some(libc::WEXITSTATUS(status) as u32),
        },
        (None, Some(code)) => Exit {
            cause: ExitCause::Exited,
            code: Some(code),
        },
        // It did not call exit_group, so most likely something killed it.
        (None, None) => Exit {
            cause: ExitCause::Signaled,
            code: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_says_more_than_exit_group_did() {
        let killed = Exit {
            cause: ExitCause::Signaled,
            code: Some(9),
        };
        assert_eq!(exit_of(Some(9), Some(0)), killed);
        let dumped = Exit {
            cause: ExitCause::CoreDumped,
            code: Some(11),
        };
        assert_eq!(exit_of(Some(11 | 0x80), None), dumped);
        let exited = Exit {
            cause: ExitCause::Exited,
            code: Some(7),
        };
        assert_eq!(exit_of(Some(7 << 8), None), exited);
        assert_eq!(exit_of(None, Some(7)), exited);
    }
}
