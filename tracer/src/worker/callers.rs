//! Who makes a call, and whom it is aimed at: processes are registered when they are first met.

use picket_events::EventKind;

use super::Worker;
use crate::confirm::{Check, Pending};
use crate::debts::Owed;
use crate::sys::{poll, process};
use crate::{proc, processes};

impl Worker<'_> {
    /// The process of a thread, registered with its ancestors if it is new.
    pub(super) fn process_of(&mut self, tid: u32) -> Option<u32> {
        if tid == 0 {
            return None; // of a PID name space that we cannot see into
        }
        if self.processes.is_another(tid) {
            self.process_ended(tid);
        }
        if let Some(pid) = self.processes.of_thread(tid) {
            return Some(pid);
        }
        let status = proc::status(tid, Some(processes::UNKNOWN_LOGIN)).ok()?;
        let pid = status.tgid;
        self.register_as(pid, (pid == tid).then_some(status));
        self.processes.get(pid)?;
        self.processes.add_thread(tid, pid);
        Some(pid)
    }

    /// The same for a thread that is about to exec: then less has to be read, for all of it is
    /// read when the new program is there.
    pub(super) fn process_before_exec(&mut self, tid: u32) -> Option<u32> {
        if tid == 0 || self.processes.of_thread(tid).is_some() {
            return self.process_of(tid);
        }
        let pending = &self.pending;
        let is_settled = |pid| {
            let of_ids = |call: &Pending| matches!(call.check, Check::Ids);
            !pending.iter().any(|call| call.pid == pid && of_ids(call))
        };
        match self.processes.add_before_exec(tid, is_settled) {
            Ok(true) => {
                self.added(tid);
                Some(tid)
            }
            _ => self.process_of(tid),
        }
    }

    /// Before the process ends, its children have to be known: afterwards they are orphans.
    pub(super) fn about_to_exit(&mut self, pid: u32, code: u32, owed: Option<Owed>) {
        if self.start.listener.is_none() {
            // Its last read may be noticed only after it has gone: with notifications, whatever
            // was before one has been looked at.
            self.reads_noticed();
        }
        for child in self.processes.unknown_children(pid) {
            self.register(child);
        }
        if let Some(entry) = self.processes.get_mut(pid) {
            entry.exit_code = Some(code);
            entry.exit_owed = owed;
        }
    }

    /// Registers the process that a call is aimed at, while it is there: one that only forked, and
    /// has made no call of interest since, is not known yet.
    pub(super) fn know_target(&mut self, kind: &EventKind) {
        let target = match kind {
            EventKind::Signal { target, .. } => u32::try_from(*target).unwrap_or(0),
            EventKind::Ptrace { target, .. }
            | EventKind::MemoryWrite { target }
            | EventKind::TakeDescriptor { target, .. } => *target,
            _ => 0,
        };
        if target != 0 && self.processes.get(target).is_none() && self.processes.is_traced(target) {
            self.process_of(target);
        }
    }

    /// Lets the keeper know that it is about to get a signal which the application gets too.
    pub(super) fn note_group_signal(&self, pid: u32, signal: u32, target: i32) {
        let is_keepers_group = target == -1
            || process::group_of(self.own.keeper as i32)
                .is_ok_and(|group| target == -group || target == 0);
        if is_keepers_group {
            let board = self.start.board;
            board.note_group_signal(signal, pid, poll::monotonic_ms());
        }
    }
}
