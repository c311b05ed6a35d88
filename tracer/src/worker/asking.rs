//! Following a thread from its connect to a name server to the question that it sends there, and
//! on to the answer; and from its connect to a metadata service to the request.
//!
//! The thread is attached to, stopped when the connect returns, and at each call after it, until
//! its questions are answered or it does something else: some twenty stops for a question. What
//! asks, or hears, where the filter sees it is followed once and not again. Nothing that sleeps is
//! interrupted so that the program could notice: a thread is let go before a call that may sleep
//! for ever, and otherwise at its next stop.

use std::os::fd::AsFd;

use picket_events::{EventKind, EventType, Outcome, Protocol};

use super::Worker;
use super::crowd::{self, Doing};
use crate::confirm::Check;
use crate::decode::asking::{Step, answer, step};
use crate::decode::{Call, Verdict, streams};
use crate::processes::Contacts;
use crate::sys::ptrace::{self, Stop};
use crate::sys::seccomp::Data;
use crate::sys::{poll, socket};
use crate::table::{Abi, Row};
use crate::taking;

/// Calls among which the question is looked for, and then the answer.
const CALLS_MAX: u32 = 24;

/// Calls among which a request, or the next one, is looked for on a stream: a JVM loads half its
/// HTTP client in between.
const STREAM_CALLS_MAX: u32 = 96;

/// What a thread is followed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Following {
    /// Questions by datagrams, and their answers.
    Names {
        socket: i32,
        /// Questions that the call itself sends.
        asked: u32,
    },
    /// What it sends on a stream that it connects.
    Stream {
        socket: i32,
        /// It goes to a metadata service, and requests to it are of interest.
        is_metadata: bool,
        /// The connect may sleep, and is made again by the kernel after it was interrupted.
        may_sleep: bool,
    },
}

/// A thread that speaks to a name server or a metadata service.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) pid: u32,
    /// It is followed with all threads of its program.
    pub(super) crowd: Option<Doing>,
    socket: i32,
    is_stream: bool,
    /// Questions that were not answered.
    asked: u32,
    /// Calls since it was followed, or has asked last.
    calls: u32,
    /// A call that takes an answer, and has not returned.
    receiving: Option<Data>,
    /// A connect that was interrupted: it comes to us a second time.
    connecting: Option<Data>,
}

impl Asker {
    /// One that is followed because another thread of its program has connected.
    pub(super) fn in_crowd(pid: u32) -> Self {
        Self {
            pid,
            crowd: Some(Doing::default()),
            socket: -1,
            is_stream: true,
            asked: 0,
            calls: 0,
            receiving: None,
            connecting: None,
        }
    }
}

impl Worker<'_> {
    /// Before a call is answered that [`followed_from`](Self::followed_from) a thread is
    /// followed: sees to it that the thread stops when it returns. True where the stop keeps the
    /// thread from waiting for the answer, so that it makes the call again.
    pub(super) fn follow_asker(
        &mut self,
        pid: u32,
        tid: u32,
        data: &Data,
        following: Following,
    ) -> bool {
        if self.is_seized_otherwise(tid) {
            return false;
        }
        let is_metadata = matches!(
            following,
            Following::Stream {
                is_metadata: true,
                ..
            }
        );
        let in_crowd = is_metadata && self.is_crowd(pid);
        let is_made_again = self.follow_thread((pid, tid), data, following, in_crowd);
        if in_crowd {
            self.follow_crowd(pid);
        }
        is_made_again
    }

    fn follow_thread(
        &mut self,
        (pid, tid): (u32, u32),
        data: &Data,
        following: Following,
        in_crowd: bool,
    ) -> bool {
        if let Some(asker) = self.askers.get_mut(&tid) {
            // It stops anyway. A stream is followed rather than what it did before.
            if let Following::Stream { socket, .. } = following {
                (asker.socket, asker.is_stream, asker.calls) = (socket, true, 0);
            }
            return false;
        }
        let has_listener = self.start.listener.is_some();
        let mut is_interrupted = false;
        if has_listener {
            let options = match in_crowd {
                true => crowd::OPTIONS,
                false => ptrace::OPTION_MARK_SYSCALLS,
            };
            if !self.hand_over(pid, tid) && self.processes.seize(pid, tid, options).is_err() {
                return false;
            }
            // It cannot fail on what was just attached to, unless that is gone.
            is_interrupted = ptrace::interrupt(tid).is_ok();
        }
        // Where only a fatal signal ends the wait, the stop comes after the call, or in a
        // connect that sleeps.
        let is_made_again = is_interrupted && !self.waits_are_killable;
        let (socket, asked, may_sleep) = match following {
            Following::Names { socket, asked } => (socket, asked, false),
            Following::Stream {
                socket, may_sleep, ..
            } => (socket, 0, may_sleep),
        };
        let asker = Asker {
            pid,
            crowd: in_crowd.then(Doing::default),
            socket,
            is_stream: matches!(following, Following::Stream { .. }),
            // A call that is made again is counted then.
            asked: if is_made_again { 0 } else { asked },
            calls: 0,
            receiving: None,
            connecting: (has_listener && !is_made_again && may_sleep).then_some(*data),
        };
        self.askers.insert(tid, asker);
        is_made_again
    }

    /// Whether a thread only goes on with a connect that the stop has interrupted.
    pub(super) fn connects_on(&mut self, tid: u32, data: &Data) -> bool {
        let asker = self.askers.get_mut(&tid);
        asker.is_some_and(|asker| asker.connecting.take_if(|first| first == data).is_some())
    }

    /// Whether a question, a request or an answer may follow a call that the filter would not
    /// see.
    pub(super) fn followed_from(
        &self,
        (pid, tid): (u32, u32),
        abi: Abi,
        row: &Row,
        descriptor: i32,
        verdict: &Verdict,
    ) -> Option<Following> {
        let (names, requests) = (EventType::Dns, EventType::Imds);
        if abi != Abi::NATIVE[0] {
            return None;
        }
        let entry = self.processes.get(pid)?;
        match verdict {
            Verdict::Watch(EventKind::Connect { address, protocol }, Check::Connected { .. })
                if *protocol == Protocol::UDP =>
            {
                let is_followed = self.interest.contains(names)
                    && Contacts::of(address).name_server
                    && !entry.asks_in_sight;
                let socket = descriptor;
                is_followed.then_some(Following::Names { socket, asked: 0 })
            }
            Verdict::Watch(EventKind::Connect { address, protocol }, Check::Connected { .. })
                if *protocol == Protocol::TCP =>
            {
                let to = Contacts::of(address);
                let is_metadata = self.interest.contains(requests) && to.metadata;
                let is_followed = self.interest.contains(names) && to.name_server || is_metadata;
                let may_sleep = is_followed
                    .then(|| self.connect_may_sleep((pid, tid), descriptor))
                    .flatten()?;
                Some(Following::Stream {
                    socket: descriptor,
                    is_metadata,
                    may_sleep,
                })
            }
            // Several at once could be cut short by the stop.
            Verdict::Tell(events, _)
                if row.name == "sendto"
                    && self.interest.contains(names)
                    && !entry.hears_in_sight =>
            {
                let asks = events.iter().any(|kind| matches!(kind, EventKind::Dns(_)));
                let socket = descriptor;
                asks.then_some(Following::Names { socket, asked: 1 })
            }
            _ => None,
        }
    }

    /// Whether a connect of this socket may sleep; `None` where the program would notice that it
    /// was interrupted: its time limit makes the kernel give up with EINTR. Before Linux 5.19, and
    /// under ptrace, it is not interrupted.
    fn connect_may_sleep(&self, (pid, tid): (u32, u32), descriptor: i32) -> Option<bool> {
        if self.start.listener.is_none() || !self.waits_are_killable {
            return Some(true);
        }
        let entry = self.processes.get(pid)?;
        let pidfd = entry.pidfd.as_ref().map(AsFd::as_fd);
        let socket = taking::take(&entry.view(tid), pidfd, descriptor).ok()?;
        if socket::is_nonblocking(socket.as_fd()).ok()? {
            return Some(false);
        }
        (!socket::has_send_limit(socket.as_fd()).ok()?).then_some(true)
    }

    /// A thread that is followed has stopped. False where it is none of those.
    pub(super) fn asker_stopped(&mut self, tid: u32, stop: Stop) -> bool {
        let Some(asker) = self.askers.get(&tid) else {
            return stop == Stop::Trap && self.joins_crowd(tid);
        };
        if stop == Stop::Trap && asker.crowd.is_some() {
            // It may have been attached to for something else before.
            let _ = ptrace::set_options(tid, crowd::OPTIONS);
        }
        let is_over = asker.crowd.is_some() && !self.crowds.contains_key(&asker.pid);
        let signal = match stop {
            Stop::Signal(signal) => signal,
            _ => 0,
        };
        let goes_on = match stop {
            Stop::Signal(_) | Stop::Trap | Stop::Fork => !is_over,
            Stop::Return => self.is_still_asking(tid),
            _ => false,
        };
        // A request fails only when the thread was killed meanwhile.
        if goes_on {
            let _ = ptrace::resume_to_call(tid, signal);
        } else {
            self.askers.remove(&tid);
            let _ = ptrace::detach(tid, signal);
        }
        true
    }

    /// Looks at a call of a thread that is followed; whether to follow it on.
    pub(super) fn is_still_asking(&mut self, tid: u32) -> bool {
        let Some(asker) = self.askers.get_mut(&tid) else {
            return false;
        };
        let data = match ptrace::entered(tid) {
            Ok(Some(data)) => data,
            Ok(None) if asker.crowd.is_some() => {
                let pid = asker.pid;
                return self.is_still_with_crowd(pid, tid);
            }
            Ok(None) => return self.asker_returned(tid),
            Err(_) => return false,
        };
        asker.calls += 1;
        asker.receiving = None;
        // What it was connecting it has connected, unless it goes on with that.
        asker.connecting.take_if(|first| *first != data);
        let (pid, socket, asked) = (asker.pid, asker.socket, asker.asked);
        if data.arch != Abi::NATIVE[0].arch() {
            return false;
        }
        if asker.crowd.is_some() {
            return self.still_in_crowd(pid, tid, &data);
        }
        if asker.is_stream {
            return asker.calls <= STREAM_CALLS_MAX && self.still_streams(pid, tid, &data, socket);
        }
        if asker.calls > CALLS_MAX {
            return false;
        }
        let interest = self.interest;
        let Some(step) = self.with_call(pid, tid, data.args, |call| {
            step(call, data.number.into(), socket, asked > 0, &interest)
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

    /// Looks at a call of a thread that has connected a stream; whether to follow it on.
    fn still_streams(&mut self, pid: u32, tid: u32, data: &Data, socket: i32) -> bool {
        let interest = self.interest;
        let number = data.number.into();
        let step = self.with_call(pid, tid, data.args, |call| {
            streams::step(call, number, socket, &interest)
        });
        match step {
            Some(streams::Step::Sends(kind)) => {
                self.settle_thread(tid);
                self.emit(pid, tid, poll::now(), Outcome::Unconfirmed, *kind);
                // On the same connection comes the next.
                self.has_asked(tid, 0)
            }
            Some(streams::Step::GoOn) => true,
            Some(streams::Step::LetGo) | None => false,
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
    pub(super) fn with_call<T>(
        &mut self,
        pid: u32,
        tid: u32,
        args: [u64; 6],
        look: impl FnOnce(&Call<'_>) -> T,
    ) -> Option<T> {
        self.processes.open_memory(pid, tid);
        let process = self.processes.get(pid)?;
        Some(look(&Call {
            name: "",
            abi: Abi::NATIVE[0],
            args,
            tid,
            process,
            mounts: &self.mounts,
            own: &self.own,
        }))
    }
}
