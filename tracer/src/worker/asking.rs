//! Following a thread from its connect to a name server to the question that it sends there, and
//! on to the answer.
//!
//! The thread is attached to, stopped when the connect returns, and at each call after it, until
//! its questions are answered or it does something else: some twenty stops for a question. What
//! asks, or hears, where the filter sees it is followed once and not again. Nothing that sleeps is
//! interrupted: a thread is let go before a call that may sleep for ever, and otherwise at its
//! next stop.

use picket_events::{EventKind, EventType, Outcome, Protocol};

use super::Worker;
use crate::confirm::Check;
use crate::decode::asking::{Step, answer, step};
use crate::decode::{Call, Verdict};
use crate::processes::Contacts;
use crate::sys::poll;
use crate::sys::ptrace::{self, Stop};
use crate::sys::seccomp::Data;
use crate::table::{Abi, Row};

/// Calls among which the question is looked for, and then the answer.
const CALLS_MAX: u32 = 24;

/// A thread that speaks to a name server.
#[derive(Debug)]
pub(super) struct Asker {
    pid: u32,
    socket: i32,
    /// Questions that were not answered.
    asked: u32,
    /// Calls since it was followed, or has asked last.
    calls: u32,
    /// A call that takes an answer, and has not returned.
    receiving: Option<Data>,
}

impl Worker<'_> {
    /// Before a call is answered that [`followed_from`](Self::followed_from) a thread is
    /// followed: sees to it that the thread stops when it returns. True where the stop keeps the
    /// thread from waiting for the answer, so that it makes the call again.
    pub(super) fn follow_asker(&mut self, pid: u32, tid: u32, socket: i32, asked: u32) -> bool {
        if self.askers.contains_key(&tid) || self.seized.contains_key(&tid) {
            return false;
        }
        let has_listener = self.start.listener.is_some();
        if has_listener {
            // A debugger's own tracees stay its own.
            if ptrace::seize(tid, ptrace::OPTION_MARK_SYSCALLS).is_err() {
                return false;
            }
            // It cannot fail on what was just attached to, unless that is gone.
            let _ = ptrace::interrupt(tid);
        }
        // Where only a fatal signal ends the wait, the stop comes after the call, which does
        // not sleep.
        let is_made_again = has_listener && !self.waits_are_killable;
        let asker = Asker {
            pid,
            socket,
            // A call that is made again is counted then.
            asked: if is_made_again { 0 } else { asked },
            calls: 0,
            receiving: None,
        };
        self.askers.insert(tid, asker);
        is_made_again
    }

    /// Whether a question or an answer may follow a call that the filter would not see: the
    /// socket, and how many questions this call itself sends.
    pub(super) fn followed_from(
        &self,
        pid: u32,
        abi: Abi,
        row: &Row,
        descriptor: i32,
        verdict: &Verdict,
    ) -> Option<(i32, u32)> {
        if !self.interest.contains(EventType::Dns) || abi != Abi::NATIVE[0] {
            return None;
        }
        let entry = self.processes.get(pid)?;
        match verdict {
            // A stream's connect sleeps, and must not be disturbed.
            Verdict::Watch(EventKind::Connect { address, protocol }, Check::Connected { .. })
                if *protocol == Protocol::UDP
                    && Contacts::of(address).name_server
                    && !entry.asks_in_sight =>
            {
                Some((descriptor, 0))
            }
            // Several at once could be cut short by the stop.
            Verdict::Tell(events, _) if row.name == "sendto" && !entry.hears_in_sight => {
                let asks = events.iter().any(|kind| matches!(kind, EventKind::Dns(_)));
                asks.then_some((descriptor, 1))
            }
            _ => None,
        }
    }

    /// A thread that is followed has stopped. False where it is none of those.
    pub(super) fn asker_stopped(&mut self, tid: u32, stop: Stop) -> bool {
        if !self.askers.contains_key(&tid) {
            return false;
        }
        // A request fails only when the thread was killed meanwhile.
        let _ = match stop {
            Stop::Signal(signal) => ptrace::resume_to_call(tid, signal),
            Stop::Trap => ptrace::resume_to_call(tid, 0),
            Stop::Return if self.is_still_asking(tid) => ptrace::resume_to_call(tid, 0),
            _ => {
                self.askers.remove(&tid);
                ptrace::detach(tid, 0)
            }
        };
        true
    }

    /// Looks at a call of a thread that is followed; whether to follow it on.
    pub(super) fn is_still_asking(&mut self, tid: u32) -> bool {
        let Some(asker) = self.askers.get_mut(&tid) else {
            return false;
        };
        let data = match ptrace::entered(tid) {
            Ok(Some(data)) => data,
            Ok(None) => return self.asker_returned(tid),
            Err(_) => return false,
        };
        asker.calls += 1;
        asker.receiving = None;
        let (pid, socket, asked) = (asker.pid, asker.socket, asker.asked);
        if asker.calls > CALLS_MAX || data.arch != Abi::NATIVE[0].arch() {
            return false;
        }
        let Some(step) = self.with_call(pid, tid, data.args, |call| {
            step(call, data.number.into(), socket, asked > 0)
        }) else {
            return false;
        };
        match step {
            Step::GoOn => true,
            Step::LetGo => false,
            Step::AsksInSight(count) => {
                if let Some(entry) = self.processes.get_mut(pid) {
                    entry.asks_in_sight = true;
                }
                self.has_asked(tid, count)
            }
            Step::HearsInSight => {
                if let Some(entry) = self.processes.get_mut(pid) {
                    entry.hears_in_sight = true;
                }
                false
            }
            Step::Receives => {
                if let Some(asker) = self.askers.get_mut(&tid) {
                    asker.receiving = Some(data);
                }
                true
            }
            Step::Question(dns) => {
                let kind = EventKind::Dns(dns);
                self.settle_thread(tid);
                self.emit(pid, tid, poll::now(), Outcome::Unconfirmed, kind);
                self.has_asked(tid, 1)
            }
        }
    }

    fn has_asked(&mut self, tid: u32, count: u32) -> bool {
        if let Some(asker) = self.askers.get_mut(&tid) {
            asker.asked += count;
            asker.calls = 0;
        }
        true
    }

    /// A call of a thread that is followed has returned; whether to follow it on.
    fn asker_returned(&mut self, tid: u32) -> bool {
        let Some(asker) = self.askers.get_mut(&tid) else {
            return false;
        };
        let (pid, Some(data)) = (asker.pid, asker.receiving.take()) else {
            return true;
        };
        // Nothing was there yet, or it was interrupted.
        let Ok(length @ 1..) = ptrace::returned(tid) else {
            return true;
        };
        let heard = self.with_call(pid, tid, data.args, |call| {
            answer(call, data.number.into(), length as u64)
        });
        let Some(dns) = heard.flatten() else {
            return true;
        };
        let kind = EventKind::Dns(dns);
        self.settle_thread(tid);
        self.emit(pid, tid, poll::now(), Outcome::Returned(length), kind);
        self.askers.get_mut(&tid).is_some_and(|asker| {
            asker.asked = asker.asked.saturating_sub(1);
            asker.asked > 0
        })
    }

    /// Looks at a native call of a process that is known.
    fn with_call<T>(
        &mut self,
        pid: u32,
        tid: u32,
        args: [u64; 6],
        look: impl FnOnce(&Call<'_>) -> T,
    ) -> Option<T> {
        self.processes.open_memory(pid, tid);
        let process = self.processes.get(pid)?;
        Some(look(&Call {
            abi: Abi::NATIVE[0],
            args,
            tid,
            process,
            mounts: &self.mounts,
            own: &self.own,
        }))
    }
}
