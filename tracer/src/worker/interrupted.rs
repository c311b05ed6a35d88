//! Calls that a signal interrupts while they wait for our answer.
//!
//! Any signal ends a thread's wait for us, before Linux 5.19 until it is answered, since then until
//! its call is received. The kernel then makes the call again by itself, but not where the signal has a
//! handler without `SA_RESTART`: there the program gets EINTR, which nobody expects of an exec, or of the open of a file. Of
//! the usual shells, dash and busybox' have such a handler, for SIGCHLD:
//! `kill $!; exec …` failed up to every second time, for the child dies before we have our turn.
//!
//! So a shell is seized as soon as it has a child in the background, and, before Linux 5.19, whoever
//! executes not for the first time before that is answered: their signals come to us first. One that
//! has interrupted such a call is kept back: the kernel, which finds nothing to handle, makes the call
//! again. As soon as that was answered, the signal is sent once more, and goes where it would have gone
//! had it come a moment later: to the new program, or to the handler after the call.

use picket_events::OpenInterest;

use super::Worker;
use crate::proc;
use crate::processes::Entry;
use crate::sys::process;
use crate::sys::ptrace::{self, SignalInfo};
use crate::table::{self, Abi};

/// A thread whose call was interrupted.
#[derive(Debug)]
pub(super) struct Interrupted {
    /// Its signals that were kept back.
    kept: Vec<SignalInfo>,
    /// They were sent once more.
    are_sent: bool,
}

/// Shells whose handler of SIGCHLD lacks `SA_RESTART`, by the names of their files. That of bash has
/// it.
const SHELLS: [&str; 4] = ["dash", "sh", "ash", "busybox"];

fn is_shell(entry: &Entry) -> bool {
    let image = &entry.image;
    let running = image.interpreter.as_ref().unwrap_or(&image.file);
    SHELLS.contains(&&*running.name)
}

impl Worker<'_> {
    /// A process is new. Where its parent is a shell that has another child, which may end at any time
    /// and not only while it is waited for, the parent is attended to.
    pub(super) fn attend_parent(&mut self, pid: u32) {
        if self.start.listener.is_none() {
            return;
        }
        let parent = self.processes.get(pid).map_or(0, |entry| entry.parent);
        let Some(entry) = self.processes.get(parent).filter(|entry| is_shell(entry)) else {
            return;
        };
        let is_other = |entry: &Entry| entry.parent == parent && entry.pid != pid;
        let is_free = !self.seized.contains_key(&parent) && !self.askers.contains_key(&parent);
        let options = ptrace::OPTION_EXEC | ptrace::OPTION_MARK_SYSCALLS;
        if is_free
            && self.processes.all().any(is_other)
            && proc::is_caught(entry.pid, libc::SIGCHLD)
            && ptrace::seize(parent, options).is_ok()
        {
            self.seized.insert(parent, parent);
            self.attended.insert(parent, ());
        }
    }

    /// A thread is about to exec: seizes it as the first thing of all. One that has executed
    /// nothing before is left to be met later ([`super::execs`]).
    pub(super) fn hold_before_exec(&mut self, tid: u32) {
        let can_be_interrupted = self.start.listener.is_some() && !self.waits_are_killable;
        if !can_be_interrupted || self.seized.contains_key(&tid) {
            return;
        }
        let Some(pid) = self.processes.of_thread(tid) else {
            return;
        };
        let has_executed = self
            .processes
            .get(pid)
            .is_some_and(|entry| entry.has_executed);
        if has_executed && ptrace::seize(tid, ptrace::OPTION_EXEC).is_ok() {
            self.seized.insert(tid, pid);
        }
    }

    /// Whether a thread that has stopped for a signal was interrupted in a call that we are asked about,
    /// and that never gives EINTR, or rarely: an exec, or an open for writing. The open of a FIFO is
    /// interrupted a second time, by the signal that is sent once more.
    fn was_waiting(&self, tid: u32) -> bool {
        const WRITES: u64 = 0o3 | 0o100 | 0o1000; // O_ACCMODE, O_CREAT, O_TRUNC
        let Some(data) = ptrace::interrupted(tid) else {
            return false;
        };
        let row = Abi::of(data.arch, data.number as u32)
            .and_then(|(abi, number)| table::find(abi, number));
        match row.map(|row| row.name) {
            Some("execve" | "execveat") => true,
            _ if self.interest.open == OpenInterest::None => false,
            Some("open") => data.args[1] & WRITES != 0,
            Some("openat") => data.args[2] & WRITES != 0,
            _ => false,
        }
    }

    /// A thread has stopped for a signal. True where it is one that we have seized, and that is left
    /// so: the signal is kept back, or was delivered.
    pub(super) fn keeps(&mut self, tid: u32, signal: i32) -> bool {
        if !self.seized.contains_key(&tid) {
            return false;
        }
        if let Some(interrupted) = self.interrupted.get(&tid)
            && interrupted.are_sent
        {
            // The call has returned. Its handler is told what it would have been told before.
            let is_it = |info: &&SignalInfo| info.signal() == signal;
            if let Some(info) = interrupted.kept.iter().find(is_it) {
                let _ = ptrace::set_signal_info(tid, info);
            }
            self.interrupted.remove(&tid);
        } else if self.was_waiting(tid)
            // What has no handler stops the process, ends it, or does nothing: none gives EINTR.
            && proc::is_caught(tid, signal)
            && let Ok(info) = ptrace::signal_info(tid)
        {
            let interrupted = self.interrupted.entry(tid).or_insert(Interrupted {
                kept: Vec::new(),
                are_sent: false,
            });
            interrupted.kept.push(info);
            // It fails where the thread was killed meanwhile: its end is told next.
            let _ = ptrace::resume(tid, 0);
            return true;
        }
        let has_children = || self.processes.all().any(|entry| entry.parent == tid);
        let stays = signal == libc::SIGCHLD && self.attended.contains_key(&tid) && has_children();
        if stays {
            let _ = ptrace::resume(tid, signal);
        }
        stays
    }

    /// A thread has taken an answer: sends the signals that were kept back while it could not.
    pub(super) fn send_kept_back(&mut self, tid: u32) {
        let Some(pid) = self.seized.get(&tid).copied() else {
            self.interrupted.remove(&tid);
            return;
        };
        if let Some(interrupted) = self.interrupted.get_mut(&tid)
            && !std::mem::replace(&mut interrupted.are_sent, true)
        {
            for info in &interrupted.kept {
                process::signal_thread_of(pid, tid, info.signal());
            }
        }
    }

    /// A thread is let go that we had seized, or runs another program: sends what was kept back and
    /// could not be sent yet.
    pub(super) fn attends_no_more(&mut self, pid: u32, tid: u32) {
        self.attended.remove(&tid);
        if let Some(Interrupted {
            kept,
            are_sent: false,
        }) = self.interrupted.remove(&tid)
        {
            for info in kept {
                process::signal_thread_of(pid, tid, info.signal());
            }
        }
    }
}
