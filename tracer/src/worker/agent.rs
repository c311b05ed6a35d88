//! What is said to the agent, and what it asks for.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use picket_events::wire::{Goodbye, SumFault, SumRequest, Summed, ToAgent, ToTracer};

use super::{FLUSH_KNOWN, FLUSH_UNKNOWN, TOKEN_AGENT, TOKEN_OPENED, TOKEN_SUMS, Worker};
use crate::denials::Denials;
use crate::openers::Openers;
use crate::sums::Summing;
use crate::sys::poll::{self, Ready, Space};
use crate::sys::process;
use crate::transport::Link;

impl Worker<'_> {
    /// Connects if it is time to, and tells the agent what is alive.
    pub(super) fn connect(&mut self) {
        if !self.transport.try_connect() {
            return;
        }
        self.own.socket_file = self.own.socket_now();
        self.accounts.forget();
        let accounts = &mut self.accounts;
        self.transport.push_known(|ids| accounts.of_process(ids));
        if let Some(socket) = self.transport.descriptor() {
            let _ = self.poller.add(socket, TOKEN_AGENT);
        }
        self.tell_unwatched_again();
        self.send();
    }

    pub(super) fn agent_ready(&mut self, ready: &Ready) {
        if ready.writable {
            self.transport.has_socket_room();
            self.watch_for_room(false);
        }
        if !ready.readable && !ready.hung_up {
            return;
        }
        let mut messages = Vec::new();
        self.transport.read(&mut messages);
        for message in messages {
            match message {
                ToTracer::Welcome => self.transport.welcomed(),
                ToTracer::Refused(refusal) => {
                    self.transport.refused(refusal);
                }
                ToTracer::Kill {
                    pid,
                    started_at,
                    signal,
                } => {
                    self.kill(pid, started_at, signal);
                }
                ToTracer::Quarantine(on) => {
                    let board = self.start.board;
                    board.quarantined.store(on.into(), Ordering::Release);
                }
                ToTracer::Sum(request) => self.sum(*request),
                ToTracer::Deny(rules) => {
                    self.denials.replace(rules, self.start.board);
                    self.prepare_openers();
                }
                ToTracer::WatchReads(patterns) => self.watch_reads(patterns),
            }
        }
    }

    /// Goes on to deny what the worker before did.
    pub(super) fn deny_again(&mut self) {
        self.denials = Denials::resume(self.start.board);
        self.prepare_openers();
    }

    fn prepare_openers(&mut self) {
        if self.openers.is_none()
            && !self.denials.is_empty()
            && let Some(openers) = Openers::new()
            && self.poller.add(openers.descriptor(), TOKEN_OPENED).is_ok()
        {
            self.openers = Some(openers);
        }
    }

    /// Signals a process by the agent's order, if it is still the one that is meant.
    pub(super) fn kill(&self, pid: u32, started_at: u64, signal: u32) {
        let entry = self
            .processes
            .get(pid)
            .filter(|entry| entry.started_at == started_at);
        if let Some(pidfd) = entry.and_then(|entry| entry.pidfd.as_ref()) {
            let _ = process::signal_pidfd(pidfd.as_fd(), signal as i32);
        }
    }

    /// Reads a file for the agent, in a thread of its own.
    pub(super) fn sum(&mut self, request: SumRequest) {
        if self.summing.is_none()
            && let Some(summing) = Summing::start()
            && self.poller.add(summing.descriptor(), TOKEN_SUMS).is_ok()
        {
            self.summing = Some(summing);
        }
        let entry = self.processes.get(request.pid);
        let credentials = entry.map(|entry| entry.credentials.clone());
        let number = request.request;
        let answer = match &mut self.summing {
            Some(summing) => summing.ask(request, credentials.unwrap_or_default()),
            None => Some(Summed {
                request: number,
                result: Err(SumFault::Busy),
            }),
        };
        if let Some(answer) = answer {
            self.transport.push(&ToAgent::Summed(answer));
        }
    }

    /// Tells the agent of files that were read.
    pub(super) fn summed(&mut self) {
        let answers = self.summing.as_mut().map(Summing::answers);
        for answer in answers.into_iter().flatten() {
            self.transport.push(&ToAgent::Summed(answer));
        }
    }

    /// Writes to the agent if it is time to.
    pub(super) fn send(&mut self) {
        if !self.transport.is_flush_due() {
            return;
        }
        if self.transport.write() == Link::Full {
            self.watch_for_room(true);
        }
        self.start
            .board
            .sent
            .store(self.transport.sent(), Ordering::Release);
    }

    pub(super) fn watch_for_room(&self, watch: bool) {
        if let Some(socket) = self.transport.descriptor() {
            let _ = self.poller.change(socket, TOKEN_AGENT, watch);
        }
    }

    /// Tells the last, and waits a little for the agent to take it.
    pub(super) fn say_goodbye(&mut self) {
        self.look_at_leaving();
        let mut pids: Vec<u32> = self.processes.all().map(|entry| entry.pid).collect();
        pids.sort_unstable();
        for pid in pids {
            self.settle_process(pid);
            // Of many that end in the last moment not all have been heard.
            if self.processes.has_ended(pid) {
                self.process_ended(pid);
            }
        }
        let status = self.start.board.main_status.load(Ordering::Acquire);
        let goodbye = Goodbye {
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status) as u32),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status) as u32),
            last_sequence: self.transport.sequence(),
        };
        self.reads_noticed();
        self.transport.push(&ToAgent::Goodbye(goodbye));
        let start = poll::monotonic_ms();
        let mut space = Space::new();
        self.start.board.rests();
        self.transport.hurry();
        loop {
            self.connect();
            self.send();
            let spent = poll::monotonic_ms() - start;
            let limit = if self.transport.was_connected() {
                FLUSH_KNOWN
            } else {
                FLUSH_UNKNOWN
            };
            let summing = self.summing.as_ref().is_some_and(Summing::is_busy);
            if !self.transport.has_unsent() && !summing || spent >= limit {
                return;
            }
            for ready in self.poller.wait(&mut space, 10).to_owned() {
                match ready.token {
                    TOKEN_AGENT => self.agent_ready(&ready),
                    TOKEN_SUMS => self.summed(),
                    _ => {}
                }
            }
        }
    }
}
