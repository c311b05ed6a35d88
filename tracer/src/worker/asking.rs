//! Following a thread from its connect to a name server to the question that it sends there.
//!
//! The thread is attached to, stopped when the connect returns, and at each call after it, until
//! it has sent the question or does something else: a dozen stops for a question. What sends its
//! questions where the filter sees them is followed once and not again.

use picket_events::{EventKind, EventType, Outcome, Protocol};

use super::Worker;
use crate::confirm::Check;
use crate::decode::asking::{Step, step};
use crate::decode::{Call, Verdict};
use crate::processes::Contacts;
use crate::sys::poll;
use crate::sys::ptrace::{self, Stop};
use crate::table::Abi;

/// Calls after the connect among which the question is looked for.
const CALLS_MAX: u32 = 24;

/// A thread that has connected a socket to a name server.
#[derive(Debug)]
pub(super) struct Asker {
    pid: u32,
    socket: i32,
    calls: u32,
}

impl Worker<'_> {
    /// Before a connect to a name server is answered: sees to it that its thread stops when it
    /// returns. True where the stop keeps the thread from waiting for the answer, so that it
    /// makes the call again.
    pub(super) fn follow_asker(&mut self, pid: u32, tid: u32, verdict: &Verdict) -> bool {
        let Verdict::Watch(_, Check::Connected { descriptor, .. }) = verdict else {
            return false;
        };
        let socket = *descriptor;
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
        let calls = 0;
        self.askers.insert(tid, Asker { pid, socket, calls });
        // Where only a fatal signal ends the wait, the stop comes after the connect, which does
        // not sleep.
        has_listener && !self.waits_are_killable
    }

    /// Whether a call is a connect that a question may follow, and the filter would not see it.
    pub(super) fn is_worth_following(&self, pid: u32, abi: Abi, verdict: &Verdict) -> bool {
        let Verdict::Watch(EventKind::Connect { address, protocol }, _) = verdict else {
            return false;
        };
        self.interest.contains(EventType::Dns)
            && abi == Abi::NATIVE[0]
            // A stream's connect sleeps, and must not be disturbed.
            && *protocol == Protocol::UDP
            && Contacts::of(address).name_server
            && self.processes.get(pid).is_some_and(|entry| !entry.asks_in_sight)
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
            Ok(None) => return true, // the call has returned
            Err(_) => return false,
        };
        asker.calls += 1;
        let (pid, socket, calls) = (asker.pid, asker.socket, asker.calls);
        let is_native = data.arch == Abi::NATIVE[0].arch();
        if calls > CALLS_MAX || !is_native {
            return false;
        }
        self.processes.open_memory(pid, tid);
        let Some(process) = self.processes.get(pid) else {
            return false;
        };
        let call = Call {
            abi: Abi::NATIVE[0],
            args: data.args,
            tid,
            process,
            mounts: &self.mounts,
            own: &self.own,
        };
        match step(&call, data.number.into(), socket) {
            Step::GoOn => true,
            Step::LetGo => false,
            Step::InSight => {
                if let Some(entry) = self.processes.get_mut(pid) {
                    entry.asks_in_sight = true;
                }
                false
            }
            Step::Question(dns) => {
                let kind = EventKind::Dns(dns);
                self.settle_thread(tid);
                self.emit(pid, tid, poll::now(), Outcome::Unconfirmed, kind);
                false
            }
        }
    }
}
