//! The ptrace engine: the same table and decoders where notifications are not to be had, or
//! where exact return values of everything are wanted.
//!
//! The filter stops a thread before each call of interest. Those that are reported are let run
//! until they return, so that their outcome is exact; the others are let go.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::Worker;
use picket_events::Outcome;

use super::asking::Asker;
use super::calls::is_told;
use super::judging::Judged;
use crate::decode::Verdict;
use crate::proc;
use crate::sys::ptrace::{self, Stop};
use crate::sys::{poll, process};

/// Stops dealt with before everything else gets its turn.
const BATCH: usize = 128;

/// Return values by which the kernel says to itself that a call is to be made again, or is to
/// return EINTR: `ERESTARTSYS` to `ERESTART_RESTARTBLOCK`.
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;

/// Every thread that is traced.
#[derive(Default)]
pub(super) struct Traced {
    threads: HashMap<u32, Thread>,
    /// There may be stops that were not yet dealt with.
    behind: bool,
    /// Wait status of the process that is just being told to have ended.
    ended: Option<(u32, i32)>,
}

#[derive(Default)]
struct Thread {
    /// A call that is to be reported when it returns.
    call: Option<Judged>,
}

impl Traced {
    pub(super) fn add(&mut self, tid: u32) {
        self.threads.entry(tid).or_default();
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Calls that are to be reported when they return.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Judged> {
        self.threads
            .values()
            .filter_map(|thread| thread.call.as_ref())
    }

    /// Wait status of a process that is just being told to have ended.
    pub(super) fn status_of(&self, pid: u32) -> Option<i32> {
        let (ended, status) = self.ended?;
        (ended == pid).then_some(status)
    }
}

impl Worker<'_> {
    /// Seizes what a dead worker has traced. Until then its calls of interest fail.
    pub(super) fn seize_all(&mut self) {
        let pids: Vec<u32> = self.processes.all().map(|entry| entry.pid).collect();
        for pid in pids {
            // A thread that is made meanwhile is seized with its maker, or found next time.
            for _ in 0..3 {
                for tid in proc::threads(pid) {
                    let is_new = !self.traced.threads.contains_key(&tid);
                    if is_new && self.processes.seize(pid, tid, ptrace::FOLLOW).is_ok() {
                        self.traced.add(tid);
                    }
                }
            }
        }
        self.all_gone = self.traced.threads.is_empty();
    }

    /// Deals with what tracees have done.
    pub(super) fn tracees_changed(&mut self) {
        for _ in 0..BATCH {
            // The main process' status is told before it is reaped: see `children_changed`.
            if let Some((pid, status)) = process::peek_ended()
                && pid as u32 == self.main_pid()
            {
                self.main_status(status);
            }
            let Some(change) = process::next_change() else {
                self.traced.behind = false;
                return;
            };
            let tid = change.pid as u32;
            if change.ended() {
                self.thread_ended(tid, change.status);
            } else if change.stopped() {
                self.start.board.begins(poll::monotonic_ms());
                self.tracee_stopped(tid, change.status);
            }
        }
        self.traced.behind = true;
    }

    fn main_status(&self, status: i32) {
        let board = self.start.board;
        board.main_status.store(status, Ordering::Release);
        board.main_ended.store(1, Ordering::Release);
    }

    /// Lets a thread run on: to its next call, or the return of its present one, where that is
    /// waited for.
    fn let_run(&self, tid: u32, signal: i32) -> crate::sys::Result<()> {
        let is_in_call = |thread: &Thread| thread.call.is_some();
        let is_awaited = self.traced.threads.get(&tid).is_some_and(is_in_call);
        match is_awaited || self.askers.contains_key(&tid) {
            true => ptrace::resume_to_call(tid, signal),
            false => ptrace::resume(tid, signal),
        }
    }

    fn thread_ended(&mut self, tid: u32, status: i32) {
        self.askers.remove(&tid);
        if let Some(Thread { call: Some(judged) }) = self.traced.threads.remove(&tid) {
            // It did not live to see it return (`kill -9 $$`).
            self.follow_up(judged);
        }
        if tid == self.main_pid() {
            self.main_ended(status);
        } else if self.processes.get(tid).is_some() {
            self.traced.ended = Some((tid, status));
            self.process_ended(tid);
            self.traced.ended = None;
        }
        self.all_gone = self.traced.threads.is_empty();
    }

    fn tracee_stopped(&mut self, tid: u32, status: i32) {
        if !self.traced.threads.contains_key(&tid) {
            // Its first stop may be seen before its maker's.
            self.traced.add(tid);
            let pid = self.process_of(tid);
            if let Some(pid) = pid.filter(|pid| self.crowds.contains_key(pid)) {
                self.askers.insert(tid, Asker::in_crowd(pid));
            }
        }
        // A request fails only when the thread was killed meanwhile; its end is told next.
        let _ = match ptrace::stop_of(status) {
            Stop::Call => self.called(tid),
            Stop::Return => {
                self.call_returned(tid);
                if self.askers.contains_key(&tid) && !self.is_still_asking(tid) {
                    self.askers.remove(&tid);
                }
                self.let_run(tid, 0)
            }
            Stop::Exec => {
                self.askers.remove(&tid);
                self.replaced(tid);
                ptrace::resume(tid, 0)
            }
            Stop::Fork => {
                // It may have ended already: then nothing will tell of its end again.
                if let Ok(child) = ptrace::event_message(tid)
                    && proc::status(child, None)
                        .is_ok_and(|status| status.tracer == self.own.worker)
                {
                    self.traced.add(child);
                    self.process_of(child);
                }
                self.let_run(tid, 0)
            }
            Stop::Signal(signal) => self.let_run(tid, signal),
            Stop::Trap => self.let_run(tid, 0),
            Stop::Group(_) => {
                if tid == self.main_pid() {
                    self.start.board.main_stops.fetch_add(1, Ordering::AcqRel);
                    poll::notify(self.start.wake);
                }
                ptrace::stay_stopped(tid)
            }
        };
    }

    /// Before a call of interest.
    fn called(&mut self, tid: u32) -> crate::sys::Result<()> {
        let data = ptrace::call(tid)?;
        // One turn serves many calls.
        if self.mounts.have_changed() {
            self.forget_mounts();
        }
        let Some(judged) = self.judge(tid, &data, || true) else {
            return self.let_run(tid, 0);
        };
        match &judged.verdict {
            Verdict::Refuse { errno, .. } => {
                ptrace::refuse(tid, *errno)?;
                self.follow_up(judged);
                self.let_run(tid, 0)
            }
            Verdict::Watch(..) | Verdict::Tell(..) => {
                let thread = self.traced.threads.entry(tid).or_default();
                thread.call = Some(judged);
                ptrace::resume_to_return(tid)
            }
            _ => self.let_run(tid, 0),
        }
    }

    /// A call that is to be reported has returned.
    fn call_returned(&mut self, tid: u32) {
        let call = self.traced.threads.get_mut(&tid);
        let Some(judged) = call.and_then(|thread| thread.call.take()) else {
            return;
        };
        let Ok(value) = ptrace::returned(tid) else {
            return;
        };
        if RESTARTS.contains(&value) {
            return; // made again, it is stopped for again
        }
        if value == -i64::from(libc::EINPROGRESS) {
            self.follow_up(judged);
            return;
        }
        let Judged {
            pid,
            tid,
            verdict,
            time,
            owed: _owed, // until it was told
            ..
        } = judged;
        match verdict {
            Verdict::Watch(kind, check) => {
                self.returned((pid, tid, time), kind, check, value);
            }
            Verdict::Tell(events, _) if is_told(value) => {
                for kind in events {
                    self.emit(pid, tid, time, Outcome::Returned(value), kind);
                }
            }
            _ => {}
        }
    }

    /// The process runs another program: its other threads are gone, and the one that called
    /// has the process's id now.
    fn replaced(&mut self, pid: u32) {
        let threads = &mut self.traced.threads;
        if let Ok(former) = ptrace::event_message(pid)
            && former != pid
        {
            threads.remove(&former);
        }
        if let Some(thread) = threads.get_mut(&pid) {
            thread.call = None;
        }
        self.executed(pid);
    }
}
