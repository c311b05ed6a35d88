//! Execs that a signal interrupts while they wait for our answer.
//!
//! Before Linux 5.19 any signal ends a thread's wait for us. The kernel then makes the call again by
//! itself, but not where the signal has a handler without `SA_RESTART`, as a shell's for SIGCHLD:
//! there the program gets EINTR, which it has no reason to expect of an exec (`kill $!; exec ...`).
//!
//! A thread that is about to exec is seized before it is answered, so its signals come to us first.
//! One that has interrupted the exec is kept back: the kernel, which finds nothing to handle, makes
//! the call again. As soon as that was answered, the signal is sent once more, and goes where it
//! would have gone had it come a moment later: to the new program, or to the handler after an exec
//! that fails.

use super::Worker;
use crate::proc;
use crate::sys::process;
use crate::sys::ptrace::{self, SignalInfo};

/// A thread whose exec was interrupted.
#[derive(Debug)]
pub(super) struct Interrupted {
    pid: u32,
    /// Its signals that were kept back.
    kept: Vec<SignalInfo>,
    /// They were sent once more.
    are_sent: bool,
}

impl Interrupted {
    /// Whether it is a thread of this process.
    pub(super) fn is_of(&self, pid: u32) -> bool {
        self.pid == pid
    }
}

impl Worker<'_> {
    /// Whether a signal may end a thread's wait for our answer.
    fn can_be_interrupted(&self) -> bool {
        self.start.listener.is_some() && !self.waits_are_killable
    }

    /// A thread is about to exec: seizes it as the first thing of all, where signals may be on their
    /// way to it. One that has executed nothing, and has no children, is left to be met later
    /// ([`super::execs`]).
    pub(super) fn hold_before_exec(&mut self, tid: u32) {
        if !self.can_be_interrupted() || self.seized.contains_key(&tid) {
            return;
        }
        let Some(pid) = self.processes.of_thread(tid) else {
            return;
        };
        let has_executed = |entry: &crate::processes::Entry| entry.has_executed;
        let may_get_signals = self.processes.get(pid).is_some_and(has_executed)
            || self.processes.all().any(|entry| entry.parent == pid);
        if may_get_signals && ptrace::seize(tid, ptrace::OPTION_EXEC).is_ok() {
            self.seized.insert(tid, pid);
        }
    }

    /// A thread did not take the answer to its exec.
    pub(super) fn exec_was_interrupted(&mut self, pid: u32, tid: u32) {
        if self.can_be_interrupted() && self.seized.contains_key(&tid) {
            let interrupted = self.interrupted.entry(tid).or_insert(Interrupted {
                pid,
                kept: Vec::new(),
                are_sent: false,
            });
            interrupted.are_sent = false;
        }
    }

    /// A thread that we have seized has stopped for a signal. True where that is kept back, and the
    /// thread goes on with its exec.
    pub(super) fn keeps_back(&mut self, tid: u32, signal: i32) -> bool {
        let Some(interrupted) = self.interrupted.get_mut(&tid) else {
            return false;
        };
        if interrupted.are_sent {
            // The exec has failed. Its handler is told what it would have been told before.
            let is_it = |info: &&SignalInfo| info.signal() == signal;
            if let Some(info) = interrupted.kept.iter().find(is_it) {
                let _ = ptrace::set_signal_info(tid, info);
            }
            self.interrupted.remove(&tid);
            return false;
        }
        // What has no handler stops the process, ends it, or does nothing: none gives EINTR.
        let kept = proc::is_caught(tid, signal)
            .then(|| ptrace::signal_info(tid).ok())
            .flatten();
        let Some(info) = kept else {
            self.interrupted.remove(&tid);
            return false;
        };
        interrupted.kept.push(info);
        // It fails where the thread was killed meanwhile: its end is told next.
        let _ = ptrace::resume(tid, 0);
        true
    }

    /// A thread has taken an answer: sends the signals that were kept back while it could not.
    pub(super) fn send_kept_back(&mut self, tid: u32) {
        let Some(interrupted) = self.interrupted.get_mut(&tid) else {
            return;
        };
        if interrupted.kept.is_empty() {
            self.interrupted.remove(&tid);
            return;
        }
        if !std::mem::replace(&mut interrupted.are_sent, true) {
            for info in &interrupted.kept {
                process::signal_thread_of(interrupted.pid, tid, info.signal());
            }
        }
    }
}
