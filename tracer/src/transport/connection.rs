//! The connection itself: made anew after it was lost, written to as far as the socket takes it.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use picket_events::Credentials;
use picket_events::wire::{
    Account, Environments, FrameReader, FrameWriter, Hello, Refusal, ToAgent, ToTracer,
};

use super::unread::{Content, Unread};
use super::{
    Connection, FRAME_TARGET, Frame, Link, RETRY_FIRST, RETRY_HURRIED, RETRY_LAST, Transport,
};
use crate::config::Config;
use crate::sys::{Errno, poll, socket};

/// Tries of a greeting that nothing follows.
const HELLO_TRIES: u32 = 5;

impl Transport {
    /// When [`Self::write`] should be called (milliseconds, monotonic); `None` also while the
    /// socket is full, which the poller watches.
    pub(crate) fn flush_at(&self) -> Option<u64> {
        let connection = self.connection.as_ref()?;
        self.flush_at.filter(|_| !connection.waits_for_room)
    }

    /// Whether [`Self::write`] should be called now.
    pub(crate) fn is_flush_due(&self) -> bool {
        // Most often it is at once, or nothing waits: no need for the clock then.
        match self.flush_at() {
            None => false,
            Some(0) => true,
            Some(at) => poll::lately_ms() >= at,
        }
    }

    /// The socket has room again.
    pub(crate) fn has_socket_room(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.waits_for_room = false;
        }
        self.flush_at = Some(0);
    }

    /// The end is near: tries at once, and then in short intervals.
    pub(crate) fn hurry(&mut self) {
        self.retry_at = 0;
        self.retry_delay = RETRY_HURRIED;
        self.retry_last = RETRY_HURRIED;
    }

    /// Whether there ever was a connection.
    pub(crate) fn was_connected(&self) -> bool {
        self.was_connected
    }

    /// The connection's descriptor.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.connection
            .as_ref()
            .map(|connection| connection.stream.as_fd())
    }

    /// When to try to connect again (milliseconds, monotonic), if not connected.
    pub(crate) fn retry_at(&self) -> Option<u64> {
        (self.path.is_some() && self.connection.is_none()).then_some(self.retry_at)
    }

    /// Tries to connect if it is time to. On success [`Self::push_known`] is to be called
    /// before anything else.
    pub(crate) fn try_connect(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        if self.connection.is_some() || poll::monotonic_ms() < self.retry_at {
            return false;
        }
        match socket::connect(path) {
            Ok(stream) => {
                self.was_connected = true;
                let reader = FrameReader::new();
                self.connection = Some(Connection {
                    stream,
                    reader,
                    waits_for_room: false,
                    handed_over: 0,
                    unread: Unread::default(),
                });
                self.preamble.clear();
                self.written = 0;
                self.flush_at = Some(0);
                let hello = ToAgent::Hello(Box::new(self.hello.clone()));
                self.push_snapshot([&hello].into_iter());
                true
            }
            Err(_) => {
                self.back_off();
                false
            }
        }
    }

    fn back_off(&mut self) {
        self.retry_at = poll::monotonic_ms() + self.retry_delay;
        self.retry_delay = (self.retry_delay * 2).min(self.retry_last);
    }

    /// Tells, in front of everything that waits, the processes and environments as an agent has to
    /// know them for that to make sense; before each process, the `accounts` of its ids.
    pub(crate) fn push_known(&mut self, mut accounts: impl FnMut(&Credentials) -> Vec<Account>) {
        let mut messages = Vec::new();
        let mut environments = Environments::default();
        for process in self.told.processes() {
            let accounts = accounts(&process.credentials);
            messages.extend(accounts.into_iter().map(ToAgent::Account));
            let message = ToAgent::Process(Box::new(process));
            let environment = environments.before(&message);
            messages.extend(environment.map(ToAgent::Environment));
            messages.push(message);
        }
        let told = self.told.environments().all();
        messages.extend(told.into_iter().map(ToAgent::Environment));
        self.push_snapshot(messages.iter());
    }

    /// Puts messages in front of everything that waits.
    fn push_snapshot<'a>(&mut self, messages: impl Iterator<Item = &'a ToAgent>) {
        let mut writer = FrameWriter::new();
        for message in messages {
            // A process whose description does not fit a frame is told by its events alone.
            let _ = writer.push(message);
            if writer.len() > FRAME_TARGET {
                self.preamble.push_back(Frame::of_preamble(writer.take()));
            }
        }
        if !writer.is_empty() {
            self.preamble.push_back(Frame::of_preamble(writer.take()));
        }
    }

    /// Writes as much as the socket takes.
    pub(crate) fn write(&mut self) -> Link {
        self.flush_at = None;
        let mut unread = self
            .connection
            .as_ref()
            .and_then(Connection::unread_at_most);
        loop {
            if self.preamble.is_empty() && self.frames.is_empty() {
                self.close_frame();
            }
            let Some(connection) = &mut self.connection else {
                return Link::Unchanged;
            };
            let from_preamble = !self.preamble.is_empty();
            let queue = if from_preamble {
                &mut self.preamble
            } else {
                &mut self.frames
            };
            let Some(frame) = queue.front() else {
                return Link::Unchanged;
            };
            match connection.write(&frame.bytes[self.written..], &self.to_hold) {
                Ok(count) => {
                    self.written += count;
                    // So the agent was there when we looked; nothing is unread once it has gone.
                    if let Some(bytes) = unread.take() {
                        connection.unread.are_at_most(bytes);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.waits_for_room = true;
                    return Link::Full;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    let was_cut = connection.was_cut();
                    return self.close(was_cut);
                }
            }
            if self.written == frame.bytes.len() {
                self.written = 0;
                if let Some(frame) = queue.pop_front()
                    && !from_preamble
                {
                    self.frames_bytes -= frame.bytes.len();
                    self.sent = frame.sequence;
                    connection.unread.push(frame.bytes.len(), frame.content);
                    for change in frame.changes {
                        self.told.apply(change);
                    }
                }
            }
        }
    }

    /// Reads what the agent says.
    pub(crate) fn read(&mut self, messages: &mut Vec<ToTracer>) -> Link {
        let mut buffer = [0u8; 4096];
        let (mut closed, mut was_cut) = (false, false);
        while let Some(connection) = &mut self.connection {
            match connection.stream.read(&mut buffer) {
                Ok(0) => closed = true,
                Ok(count) => connection.reader.feed(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    closed = true;
                    was_cut = error.kind() == ErrorKind::ConnectionReset;
                }
            }
            loop {
                match connection.reader.next_frame() {
                    Ok(Some(frame)) => {
                        for message in frame.messages() {
                            match message {
                                Ok(message) => messages.push(message),
                                Err(_) => closed = true,
                            }
                        }
                    }
                    Ok(None) => break,
                    // Whoever answers there is not our agent.
                    Err(_) => {
                        closed = true;
                        break;
                    }
                }
            }
            if closed {
                return self.close(was_cut);
            }
        }
        Link::Unchanged
    }

    /// The agent took our greeting.
    pub(crate) fn welcomed(&mut self) {
        self.retry_delay = RETRY_FIRST;
    }

    /// The agent will not have us: for good, or until it has room.
    pub(crate) fn refused(&mut self, refusal: Refusal) -> Link {
        if refusal != Refusal::TooMany {
            self.path = None;
            self.frames.clear();
            self.frames_bytes = 0;
            self.open_frame.take();
            self.open_content = Content::default();
        }
        self.retry_delay = RETRY_LAST;
        self.close(false)
    }

    /// `was_cut`: the agent has left something unread.
    fn close(&mut self, was_cut: bool) -> Link {
        let unread = self.connection.as_ref().filter(|_| was_cut);
        for lost in unread.map_or_else(Vec::new, |connection| connection.unread.lost()) {
            self.push(&ToAgent::Lost(lost));
        }
        // A frame that was written in part was not read: it goes again, in full.
        self.written = 0;
        self.preamble.clear();
        self.connection = None;
        self.back_off();
        Link::Closed
    }
}

impl Connection {
    /// How much of what was written the agent has not read at most, if that is of interest.
    fn unread_at_most(&self) -> Option<usize> {
        if self.unread.is_empty() {
            return None;
        }
        socket::unread_of(self.stream.as_fd()).ok()
    }

    /// Whether the agent has ended, and left something unread.
    fn was_cut(&self) -> bool {
        let error = self.stream.take_error().ok().flatten();
        error.is_some_and(|error| error.kind() == ErrorKind::ConnectionReset)
    }

    /// Writes as much as the socket takes, and with it the descriptors that the agent has not got.
    fn write(&mut self, bytes: &[u8], to_hold: &[OwnedFd]) -> io::Result<usize> {
        let new = &to_hold[self.handed_over..];
        if !new.is_empty() {
            match socket::send_with(&self.stream, bytes, new) {
                Err(Errno(errno @ (libc::EAGAIN | libc::EINTR))) => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                sent => {
                    // Where they must not be passed on, we close them ourselves.
                    self.handed_over = to_hold.len();
                    if let Ok(count) = sent {
                        return Ok(count);
                    }
                }
            }
        }
        self.stream.write(bytes)
    }
}

/// Tells the agent who we are and no more, for an application that is not traced; tries for a
/// short while.
pub(crate) fn send_hello(config: &Config, hello: Hello) {
    let Some(path) = &config.socket else { return };
    let mut writer = FrameWriter::new();
    if writer.push(&ToAgent::Hello(Box::new(hello))).is_err() {
        return;
    }
    let frame = writer.take();
    for _ in 0..HELLO_TRIES {
        if let Ok(mut stream) = socket::connect(path) {
            let _ = stream.write_all(&frame);
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(RETRY_FIRST));
    }
}
