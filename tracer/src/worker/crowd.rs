//! Following all threads of a Go program from its connect to a metadata service to its requests.
//!
//! Go connects in one goroutine and writes in another, and runs each on whichever of its threads
//! is free: the thread that has connected mostly does not send the request. So all of them are
//! followed, for a short while.
//!
//! Most of them sleep, and have to be interrupted to be followed. That is done only in waits of which
//! the program cannot tell: `futex`, which the kernel goes on with by itself, and the
//! `epoll_pwait` of Go's runtime, which has it wait again (`runtime/netpoll_epoll.go`). Where a
//! thread is in any other call it is left alone.

use std::fs::File;

use picket_events::{EventType, Outcome};

use super::Worker;
use super::asking::Asker;
use crate::decode::streams;
use crate::sys::ptrace;
use crate::sys::seccomp::Data;
use crate::sys::{Errno, poll};
use crate::{elf, proc};

/// For how long threads are followed after a connect or a request, milliseconds: the next request
/// on a connection follows its answer.
const FOLLOWED_FOR: u64 = 2_000;
/// Calls of all of them within that time, at most: a program that has other work is let go.
const CALLS_MAX: u32 = 8_000;
/// Threads of a process that are followed, at most.
const THREADS_MAX: usize = 128;
/// Naps in a row by which the thread shows that watches over the others, and runs no goroutine. One
/// that looks for work at its neighbours naps once for each.
const NAPS_MAX: u32 = 64;
/// Events that Go's runtime asks `epoll_pwait` for.
const RUNTIMES_EVENTS: u64 = 128;

/// How the threads of a crowd are attached to.
pub(super) const OPTIONS: usize = ptrace::OPTION_MARK_SYSCALLS | ptrace::OPTION_CLONE;

/// A Go program whose threads are followed.
#[derive(Debug)]
pub(super) struct Crowd {
    /// Calls since the last connect or request.
    calls: u32,
    /// Until when (milliseconds, monotonic).
    until: u64,
}

impl Crowd {
    fn new() -> Self {
        Self {
            calls: 0,
            until: poll::monotonic_ms() + FOLLOWED_FOR,
        }
    }

    /// When it is to be let go (milliseconds, monotonic).
    pub(super) fn until(&self) -> u64 {
        self.until
    }
}

/// What a thread was about when it stopped last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doing {
    /// The call that it has entered and not returned from.
    call: Option<i64>,
    naps: u32,
}

impl Worker<'_> {
    /// Whether all threads of a process are to be followed: it is a Go program.
    pub(super) fn is_crowd(&self, pid: u32) -> bool {
        self.crowds.contains_key(&pid) || self.is_go(pid)
    }

    /// A thread connects to a metadata service, and is followed if that can be: follows the
    /// others of its process too.
    pub(super) fn follow_crowd(&mut self, pid: u32) {
        self.crowds.insert(pid, Crowd::new());
        for tid in proc::threads(pid).into_iter().take(THREADS_MAX) {
            if let Some(asker) = self.askers.get_mut(&tid) {
                asker.crowd.get_or_insert_default();
            } else if !self.is_seized_otherwise(tid) {
                self.follow_sleeper(pid, tid);
            }
        }
    }

    /// Follows a thread, if it is in its program, or in a wait that may be interrupted.
    fn follow_sleeper(&mut self, pid: u32, tid: u32) {
        let Some(entry) = self.processes.get(pid) else {
            return;
        };
        let now = || proc::read(&format!("/proc/{pid}/task/{tid}/syscall"), 256);
        let now = proc::as_tracee(&entry.credentials, now);
        if !now.is_ok_and(|now| may_be_interrupted(&now)) {
            return;
        }
        let has_listener = self.start.listener.is_some();
        if has_listener
            && !self.hand_over(pid, tid)
            && self.processes.seize(pid, tid, OPTIONS).is_err()
        {
            return; // a debugger has it
        }
        // It cannot fail on what is attached to, unless that is gone.
        let _ = ptrace::interrupt(tid);
        self.askers.insert(tid, Asker::in_crowd(pid));
    }

    fn is_go(&self, pid: u32) -> bool {
        let Some(entry) = self.processes.get(pid) else {
            return false;
        };
        if !entry.view(pid).follows {
            return false;
        }
        self.start.board.is_about(pid);
        let program = || File::open(format!("/proc/{pid}/exe")).map_err(Errno::from);
        proc::as_tracee(&entry.credentials, program).is_ok_and(|program| elf::is_go(&program))
    }

    /// A thread that nobody knows has stopped: one that a thread of a crowd has made. False where
    /// it is none of these.
    pub(super) fn joins_crowd(&mut self, tid: u32) -> bool {
        if self.seized.contains_key(&tid) {
            return false;
        }
        let pid = self.process_of(tid);
        match pid.filter(|pid| self.crowds.contains_key(pid)) {
            Some(pid) => {
                self.askers.insert(tid, Asker::in_crowd(pid));
                let _ = ptrace::resume_to_call(tid, 0);
            }
            None => drop(ptrace::detach(tid, 0)),
        }
        true
    }

    /// Looks at a call of a thread of a crowd; whether to follow it on.
    pub(super) fn still_in_crowd(&mut self, pid: u32, tid: u32, data: &Data) -> bool {
        let number = i64::from(data.number);
        let Some(crowd) = self.crowds.get_mut(&pid) else {
            return false;
        };
        crowd.calls += 1;
        if crowd.calls > CALLS_MAX {
            self.let_crowd_go(pid);
            return false;
        }
        let Some(doing) = self
            .askers
            .get_mut(&tid)
            .and_then(|asker| asker.crowd.as_mut())
        else {
            return false;
        };
        doing.call = Some(number);
        let is_nap = matches!(number, libc::SYS_nanosleep | libc::SYS_clock_nanosleep);
        doing.naps = if is_nap { doing.naps + 1 } else { 0 };
        if doing.naps > NAPS_MAX || LAST.contains(&number) {
            return false;
        }
        let interest = self.interest;
        let sent = self.with_call(pid, tid, data.args, |call| {
            streams::sent(call, number, &interest)
        });
        if let Some(kind) = sent.flatten() {
            self.settle_thread(tid);
            let is_request = kind.event_type() == EventType::Imds;
            self.emit(pid, tid, poll::now(), Outcome::Unconfirmed, kind);
            if is_request {
                self.crowds.insert(pid, Crowd::new());
            }
        }
        true
    }

    /// A call of a thread of a crowd has returned; whether to follow it on.
    pub(super) fn is_still_with_crowd(&mut self, pid: u32, tid: u32) -> bool {
        if let Some(asker) = self.askers.get_mut(&tid)
            && let Some(doing) = &mut asker.crowd
        {
            doing.call = None;
        }
        self.crowds.contains_key(&pid)
    }

    /// Lets those go whose time is over.
    pub(super) fn let_crowds_go(&mut self) {
        if self.crowds.is_empty() {
            return;
        }
        let now = poll::monotonic_ms();
        let over = self.crowds.iter().filter(|(_, crowd)| crowd.until <= now);
        let over: Vec<u32> = over.map(|(pid, _)| *pid).collect();
        for pid in over {
            self.let_crowd_go(pid);
        }
    }

    /// Threads go at their next stop: to those that sleep it is brought about.
    fn let_crowd_go(&mut self, pid: u32) {
        self.crowds.remove(&pid);
        if self.start.listener.is_none() {
            return; // they stay traced
        }
        for (tid, asker) in &self.askers {
            if asker.pid == pid
                && let Some(Doing {
                    call: Some(call), ..
                }) = asker.crowd
                && SLEEPS.contains(&call)
            {
                let _ = ptrace::interrupt(*tid);
            }
        }
    }
}

/// Waits that are gone on with when a thread was interrupted, by the kernel or Go's runtime.
const SLEEPS: &[i64] = &[
    libc::SYS_futex,
    libc::SYS_epoll_pwait,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
];

/// Calls that a thread does not come back from as what it was.
const LAST: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Whether a thread may be interrupted, by what `/proc/PID/task/TID/syscall` says of it: `running`, or
/// a call's number and its arguments in hexadecimal.
fn may_be_interrupted(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let mut words = text.split_whitespace();
    match words.next() {
        Some("running") => true,
        Some(number) => match number.parse::<i64>() {
            Ok(libc::SYS_futex) => true,
            Ok(libc::SYS_epoll_pwait) => {
                let events = words.nth(2).and_then(|word| word.strip_prefix("0x"));
                events.and_then(|word| u64::from_str_radix(word, 16).ok()) == Some(RUNTIMES_EVENTS)
            }
            _ => false,
        },
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waits_that_are_gone_on_with_are_interrupted() {
        let (futex, wait) = (libc::SYS_futex, libc::SYS_epoll_pwait);
        for (text, expected) in [
            ("running\n".to_owned(), true),
            (
                format!("{futex} 0xc00004a948 0x80 0x0 0x0 0x0 0x0 0x7f 0x4\n"),
                true,
            ),
            (
                format!("{wait} 0x4 0x7ffc 0x80 0xffffffffffffffff 0x0 0x0 0x7f 0x4\n"),
                true,
            ),
            (
                format!("{wait} 0x4 0x7ffc 0x400 0xffffffffffffffff 0x0 0x0 0x7f 0x4\n"),
                false,
            ),
            (
                format!("{} 0x0 0x7f 0x10 0x0 0x0 0x0 0x7f 0x4\n", libc::SYS_read),
                false,
            ),
            ("-1 0x7ffc 0x4\n".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(may_be_interrupted(text.as_bytes()), expected, "{text}");
        }
    }
}
