//! Ends: of children and stops of tracees, of the main process, and of the worker itself.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::Worker;
use crate::proc;
use crate::sys::ptrace::Stop;
use crate::sys::shared::{WORKER_ENDS, WORKER_STAYS};
use crate::sys::{poll, process, ptrace, signals};

/// How long after the main process' end other processes may take to be gone as well, before
/// the keeper is let go and we stay behind for them.
pub(super) const LINGER_AFTER: u64 = 5;

impl Worker<'_> {
    /// Deals with whatever our children and tracees have done.
    pub(super) fn children_changed(&mut self) {
        let main = self.main_pid();
        if self.start.listener.is_none() {
            self.tracees_changed();
            return;
        }
        while let Some(change) = process::peek_change() {
            let pid = change.pid as u32;
            if ptrace::stop_of(change.status) == Stop::Exec {
                // Let go, or killed meanwhile, it is not stopped any more: mostly there is no
                // need to take the stop.
                self.seized.retain(|_, process| *process != pid);
                self.askers.remove(&pid);
                self.attends_no_more(pid, pid);
                self.executed(pid);
                if ptrace::detach(pid, 0).is_err() && process::peek_change() == Some(change) {
                    // A thread that has taken over its leader's id takes no orders before.
                    match process::take_change(change.pid) {
                        Some(change) if change.ended() => self.child_ended(change),
                        _ => drop(ptrace::detach(pid, 0)),
                    }
                }
                continue;
            }
            // The main process' status is told before it is reaped: if we die in between,
            // the keeper reaps it itself.
            if change.ended() && pid == main {
                self.main_ended(change.status);
            }
            let Some(change) = process::take_change(change.pid) else {
                continue;
            };
            if change.ended() {
                self.child_ended(change);
                continue;
            }
            if !change.stopped() {
                continue;
            }
            let stop = ptrace::stop_of(change.status);
            if matches!(stop, Stop::Signal(_) | Stop::Group(_) | Stop::Trap) {
                self.put_answer(pid);
            }
            let is_kept = matches!(stop, Stop::Signal(signal) if self.keeps(pid, signal));
            if is_kept || self.asker_stopped(pid, stop) {
            } else if let Some(process) = self.seized.remove(&pid) {
                // A thread that we were still attached to after an exec that failed.
                let signal = if let Stop::Signal(signal) = stop {
                    signal
                } else {
                    0
                };
                let _ = ptrace::detach(pid, signal);
                self.attends_no_more(process, pid);
            } else if pid == main {
                self.start.board.main_stops.fetch_add(1, Ordering::AcqRel);
                poll::notify(self.start.wake);
            }
        }
    }

    fn child_ended(&mut self, change: process::Change) {
        let pid = change.pid as u32;
        self.seized.remove(&pid);
        self.askers.remove(&pid);
        self.attended.remove(&pid);
        self.made_again.remove(&pid);
        self.given.remove(&pid);
        self.unclaimed.remove(&pid);
        self.drop_kept_back(pid);
        if pid == self.main_pid() {
            self.main_ended(change.status);
        }
    }

    /// Looks for the ends of processes that no descriptor tells of.
    pub(super) fn look_for_ends(&mut self) {
        for pid in self.processes.gone() {
            self.process_ended(pid);
        }
    }

    pub(super) fn main_ended(&mut self, status: i32) {
        self.note_main_status(status);
        self.process_ended(self.main_pid());
    }

    fn note_main_status(&mut self, status: i32) {
        let board = self.start.board;
        board.main_status.store(status, Ordering::Release);
        board.main_ended.store(1, Ordering::Release);
        self.ended_at.get_or_insert_with(poll::monotonic_ms);
    }

    /// The main process of the application is a child of the first worker. Where that hangs and
    /// does not get to die, it reaps nobody, and the keeper is told nothing: the status (raw, or
    /// what `exit_group` was given) is then noted by us.
    pub(super) fn note_unheard_end(&mut self, pid: u32, status: Option<i32>, said: Option<u32>) {
        let is_heard = pid != self.main_pid()
            || self.start.generation == 0
            || self.start.board.main_ended.load(Ordering::Acquire) != 0;
        if is_heard {
            return;
        }
        let heard_by = [self.own.keeper, self.own.spare, self.own.worker];
        let is_unheard = proc::stat(pid).is_ok_and(|stat| !heard_by.contains(&stat.parent));
        if is_unheard {
            let said = said.map(|code| (code as i32 & 0xff) << 8);
            self.note_main_status(status.or(said).unwrap_or(libc::SIGKILL));
            poll::notify(self.start.wake);
        }
    }

    /// Whoever kills the keeper means the process that it stands for: that dies of it too, and
    /// whatever it has started goes on. A keeper that has failed by itself takes nobody along.
    pub(super) fn keeper_ended(&mut self) {
        self.keeper = None;
        let board = self.start.board;
        let [ended, failed] =
            [&board.main_ended, &board.keeper_failed].map(|flag| flag.load(Ordering::Acquire) != 0);
        if ended || failed {
            return;
        }
        let main = self.main_pid();
        let entry = self.processes.get(main);
        let _ = match entry.and_then(|entry| entry.pidfd.as_ref()) {
            Some(pidfd) => process::signal_pidfd(pidfd.as_fd(), libc::SIGKILL),
            None => signals::kill(main as i32, libc::SIGKILL),
        };
    }

    /// Ends when there is nothing left to trace.
    pub(super) fn finish_if_done(&mut self) {
        let board = self.start.board;
        if board.main_ended.load(Ordering::Acquire) == 0 {
            // Without a keeper nobody may be left to tell the main process' status.
            if self.all_gone && ![self.own.keeper, self.own.spare].contains(&process::parent_pid())
            {
                self.say_goodbye();
                process::exit(0);
            }
            return;
        }
        let ended_at = *self.ended_at.get_or_insert_with(poll::monotonic_ms);
        // The end of process 1 ends all the others.
        if self.all_gone || self.own.keeper == 1 {
            self.say_goodbye();
            board.worker_done.store(WORKER_ENDS, Ordering::Release);
            poll::notify(self.start.wake);
            process::exit(0);
        }
        let is_late = poll::monotonic_ms() >= ended_at + LINGER_AFTER;
        if is_late && board.worker_done.swap(WORKER_STAYS, Ordering::AcqRel) == 0 {
            // Some go on after the main process: they still need our answers. The keeper
            // ends, as a shell would.
            poll::notify(self.start.wake);
        }
        if is_late {
            // Not due again; the end of the last process wakes us.
            self.ended_at = Some(u64::MAX / 2);
        }
    }
}
