//! Calls that a signal interrupts while they wait for our answer.
//!
//! Any signal ends a thread's wait for us, before Linux 5.19 until it is answered, since then until
//! its call is received. The kernel then makes the call again by itself, but not where the signal has a
//! handler without `SA_RESTART`: there the program gets EINTR, which nobody expects of an exec, or of the
//! open of a file. Of the usual shells, dash and busybox' have such a handler, for SIGCHLD:
//! `kill $!; exec …` failed up to every second time, for the child dies before we have our turn.
//!
//! So a shell is seized as soon as it has a child in the background, and, before Linux 5.19, whoever
//! executes not for the first time before that is answered, and in whose place we make calls, and
//! whoever has a timer that rings again and again ([`super::timers`]): their signals come to us first. Where one has interrupted such a call, the kernel is made to repeat the
//! call after the handler.
//!
//! On aarch64 the kernel has decided by then. There the signal is kept back: the kernel, which finds
//! nothing to handle, makes the call again. As soon as that was answered, the signal is sent once more,
//! and goes where it would have gone had it come a moment later: to the new program, or to the handler
//! after the call. Should we die before, whoever stands in for us sends it ([`crate::kept`]).

use picket_events::deny::DENIABLE;
use picket_events::{EventType, OpenInterest};

use super::Worker;
use crate::proc;
use crate::processes::Entry;
use crate::sys::process;
use crate::sys::ptrace::{self, SignalInfo};
use crate::sys::seccomp::Data;
use crate::table::{self, Abi};

/// Why a thread's signals come to us first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attended {
    /// It is a shell that has a child in the background.
    Shell,
    /// It has a timer that rings again and again ([`super::timers`]).
    Timer,
    /// We make calls in its place ([`super::makers`]).
    Maker,
}

/// How such threads are seized.
pub(super) const OPTIONS: usize = ptrace::OPTION_EXEC | ptrace::OPTION_MARK_SYSCALLS;

/// A thread whose call was interrupted.
#[derive(Debug, Default)]
pub(super) struct Interrupted {
    /// Its signals that were kept back.
    kept: Vec<SignalInfo>,
    /// How often its call was.
    times: u32,
    /// They were sent once more.
    are_sent: bool,
}

/// How often a call may be interrupted until the signal is delivered all the same: signals that come
/// faster than our answer would have it wait for ever.
pub(super) const TIMES_MAX: u32 = 32;
/// From here on, each signal counts; of those before, one that comes again while it has not been
/// delivered is the same.
const FIRST_QUEUED: i32 = 32;

/// Shells whose handler of SIGCHLD lacks `SA_RESTART`, by the names of their files. That of bash has
/// it.
const SHELLS: [&str; 4] = ["dash", "sh", "ash", "busybox"];

/// Whether a signal may interrupt calls of this type also where nobody looks. All others do what they
/// do at once.
fn waits_by_nature(event: EventType) -> bool {
    use EventType as E;
    const AT_ONCE: [EventType; 14] = [
        E::Bind,
        E::Chdir,
        E::Chroot,
        E::Dup,
        E::Listen,
        E::Mmap,
        E::Mprotect,
        E::Prctl,
        E::SetGid,
        E::SetSockOpt,
        E::SetUid,
        E::Signal,
        E::Socket,
        E::Utimes,
    ];
    event == E::Open || !(DENIABLE.contains(&event) || AT_ONCE.contains(&event))
}

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
        if is_free
            && self.processes.all().any(is_other)
            && proc::is_caught(entry.pid, libc::SIGCHLD)
            && entry.seize(parent, OPTIONS).is_ok()
        {
            self.seized.insert(parent, parent);
            self.attended.insert(parent, Attended::Shell);
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
        let is_seized =
            |entry: &Entry| entry.has_executed && entry.seize(tid, ptrace::OPTION_EXEC).is_ok();
        if self.processes.get(pid).is_some_and(is_seized) {
            self.seized.insert(tid, pid);
        }
    }

    /// Whether a thread that has stopped for a signal was interrupted in a call that we are asked about,
    /// and that never gives EINTR, or rarely. The open of a FIFO for writing is interrupted a second time,
    /// by the signal that is sent once more.
    fn was_waiting(&mut self, tid: u32, data: &Data, signal: i32) -> bool {
        const WRITES: u64 = 0o3 | 0o100 | 0o1000; // O_ACCMODE, O_CREAT, O_TRUNC
        const DUPLICATES: [i32; 2] = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC];
        let Some((abi, number)) = Abi::of(data.arch, data.number as u32) else {
            return false;
        };
        let Some(row) = table::find(abi, number) else {
            return false;
        };
        if self.has_timer(tid) && matches!(row.event, EventType::Open | EventType::Connect) {
            return self.rang_meanwhile(tid, (abi, row), data);
        }
        // What is kept back is sent when the call was answered, so that there has to be an answer.
        let is_answered =
            || cfg!(target_arch = "x86_64") || row.is_always_stopped_for(&self.interest);
        let flags = match row.name {
            "open" => data.args[1],
            "openat" => data.args[2],
            "fcntl" => return DUPLICATES.contains(&(data.args[1] as i32)) && is_answered(),
            "ioctl" => return false,
            "setitimer" => return true,
            _ => return !waits_by_nature(row.event) && is_answered(),
        };
        // A shell's, unless it was let go: where it waits for the other end of a FIFO, SIGCHLD has it give
        // EINTR without us, too.
        let let_go = || {
            self.processes
                .get(tid)
                .is_some_and(|entry| entry.received == *data)
        };
        let is_spared = || {
            self.attended.get(&tid) == Some(&Attended::Shell)
                && signal == libc::SIGCHLD
                && !let_go()
        };
        self.interest.open != OpenInterest::None && (flags & WRITES != 0 || is_spared())
    }

    /// A thread has stopped for a signal. True where it is one that we have seized, and that is left
    /// so: the signal is kept back, or was delivered.
    pub(super) fn keeps(&mut self, tid: u32, signal: i32) -> bool {
        let Some(pid) = self.seized.get(&tid).copied() else {
            return false;
        };
        let mut times = 0;
        if let Some(interrupted) = self.interrupted.get(&tid)
            && interrupted.are_sent
        {
            // The call has returned. Its handler is told what it would have been told before.
            let is_it = |info: &&SignalInfo| info.signal() == signal;
            if let Some(info) = interrupted.kept.iter().find(is_it) {
                let _ = ptrace::set_signal_info(tid, info);
            }
            times = interrupted.times;
            self.interrupted.remove(&tid);
        }
        // What has no handler stops the process, ends it, or does nothing: none gives EINTR.
        if let Some(data) = ptrace::interrupted(tid)
            && proc::is_caught(tid, signal)
        {
            let is_kept = match self.is_unclaimed(tid, &data) {
                // Nothing may come before the call that it is owed, however often.
                true => self.keep_back((pid, tid), signal, 0, u32::MAX),
                false => {
                    self.was_waiting(tid, &data, signal)
                        && !ptrace::is_made_again_after(tid)
                        && self.keep_back((pid, tid), signal, times, TIMES_MAX)
                }
            };
            if is_kept {
                // It fails where the thread was killed meanwhile: its end is told next.
                let _ = ptrace::resume(tid, 0);
                return true;
            }
        } else {
            self.was_not_interrupted(tid);
        }
        let has_children = || self.processes.all().any(|entry| entry.parent == tid);
        let stays = match self.attended.get(&tid) {
            Some(Attended::Maker) => true,
            Some(Attended::Timer) => self.has_timer(tid),
            Some(Attended::Shell) => signal == libc::SIGCHLD && has_children(),
            None => false,
        };
        if stays {
            let _ = ptrace::resume(tid, signal);
        }
        stays
    }

    /// Notes the signal that a thread has stopped for; false where it is to be delivered.
    fn keep_back(
        &mut self,
        (pid, tid): (u32, u32),
        signal: i32,
        times: u32,
        times_max: u32,
    ) -> bool {
        let Ok(info) = ptrace::signal_info(tid) else {
            return false;
        };
        let interrupted = self.interrupted.entry(tid).or_default();
        interrupted.times = interrupted.times.max(times) + 1;
        if interrupted.times > times_max {
            return false;
        }
        let is_it = |kept: &SignalInfo| kept.signal() == signal;
        if signal < FIRST_QUEUED && interrupted.kept.iter().any(is_it) {
            return true;
        }
        let has_place = self.start.board.kept.note(pid, tid, signal);
        if has_place {
            interrupted.kept.push(info);
        }
        has_place
    }

    /// A thread has taken an answer: sends the signals that were kept back while it could not.
    pub(super) fn send_kept_back(&mut self, tid: u32) {
        if self.interrupted.is_empty() {
            return;
        }
        let Some(pid) = self.seized.get(&tid).copied() else {
            self.interrupted.remove(&tid);
            return;
        };
        if let Some(interrupted) = self.interrupted.get_mut(&tid)
            && !std::mem::replace(&mut interrupted.are_sent, true)
        {
            for info in &interrupted.kept {
                process::signal_thread_of(pid, tid, info.signal());
                self.start.board.kept.sent(pid, tid, info.signal());
            }
        }
    }

    /// A thread is let go that we had seized, or runs another program: sends what was kept back and
    /// could not be sent yet.
    pub(super) fn attends_no_more(&mut self, pid: u32, tid: u32) {
        self.attended.remove(&tid);
        self.made_again.remove(&tid);
        self.given.remove(&tid);
        if let Some(Interrupted {
            kept,
            are_sent: false,
            ..
        }) = self.interrupted.remove(&tid)
        {
            for info in kept {
                process::signal_thread_of(pid, tid, info.signal());
                self.start.board.kept.sent(pid, tid, info.signal());
            }
        }
    }

    /// A thread has ended, and what was kept back from it with it.
    pub(super) fn drop_kept_back(&mut self, tid: u32) {
        if self.interrupted.remove(&tid).is_some() {
            self.start.board.kept.forget(tid);
        }
    }
}
