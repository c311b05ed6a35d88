//! The way to the agent: a bounded buffer in front of a socket that is never waited for.
//!
//! Events get their sequence number here, whether they fit or not. What does not fit is
//! counted, and the count is sent before the next event that does. After each (re)connect the
//! agent is told who speaks and which processes there were when what waits began, then
//! everything that waited.

mod connection;
mod unread;

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use picket_events::wire::{
    Environments, FrameReader, FrameWriter, Hello, LossReason, Lost, ToAgent, WireError,
};
use picket_events::{Event, EventType, Image, Outcome, Process};

use crate::sys::poll;
use crate::told::{Change, Told};
pub(crate) use connection::send_hello;
use unread::{Content, Unread};

/// What may wait for the agent: 2 MiB.
pub(crate) const BUFFER_LIMIT: usize = 2 * 1024 * 1024;
/// Opens, by far the most frequent, may not use the last part, so that they cannot push out
/// the rare events.
const OPENS_LIMIT: usize = BUFFER_LIMIT / 4 * 3;
/// A frame is closed when it has grown this long.
const FRAME_TARGET: usize = 32 * 1024;
/// Events that may wait for others to be sent with: those that an ordinary program makes many of.
const PATIENT: &[EventType] = &[
    EventType::Exec,
    EventType::Fork,
    EventType::Exit,
    EventType::Open,
    EventType::Unlink,
    EventType::Rmdir,
    EventType::Rename,
    EventType::Mkdir,
    EventType::Link,
    EventType::Chmod,
    EventType::Utimes,
    EventType::Chdir,
    EventType::Connect,
    EventType::Accept,
    EventType::Dup,
];
const RETRY_FIRST: u64 = 50;
const RETRY_LAST: u64 = 1000;
const RETRY_HURRIED: u64 = 10;
/// How long events that nothing urgent hangs on wait for others, milliseconds: a write for
/// each would wake the agent each time.
const PATIENCE: u64 = 5;

/// A complete frame.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    content: Content,
    /// Sequence number of the last event so far.
    sequence: u64,
    /// What the agent knows otherwise once it has read this.
    changes: Vec<Change>,
}

impl Frame {
    /// Greeting or snapshot.
    fn of_preamble(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            content: Content::default(),
            sequence: 0,
            changes: Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    reader: FrameReader,
    /// The socket is full.
    waits_for_room: bool,
    /// How many of [`Transport::to_hold`] the agent has got.
    handed_over: usize,
    unread: Unread,
}

/// What became of the connection in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// As it was.
    Unchanged,
    /// It takes no more for now: [`Transport::has_socket_room`] has to be called when it does.
    Full,
    /// It is gone; [`Transport::retry_at`] tells when to try again.
    Closed,
}

/// The tracer's side of the connection.
#[derive(Debug)]
pub(crate) struct Transport {
    path: Option<CString>,
    hello: Hello,
    connection: Option<Connection>,
    /// Descriptors that the agent is to hold for as long as we are connected.
    to_hold: Vec<OwnedFd>,
    /// Greeting and snapshot of the present connection; they go before `frames`.
    preamble: VecDeque<Frame>,
    /// Complete frames that wait.
    frames: VecDeque<Frame>,
    frames_bytes: usize,
    /// How much of the front frame (of preamble, else of frames) was written.
    written: usize,
    open_frame: FrameWriter,
    /// What the open frame tells of.
    open_content: Content,
    /// Changes that belong to the open frame.
    open_changes: Vec<Change>,
    /// The processes as the agent knows them by what was written so far.
    told: Told,
    /// The environments as it knows them by what was queued so far.
    environments: Environments,
    lost: Vec<(EventType, u64)>,
    sequence: u64,
    /// Sequence number up to which everything, or its loss, was written to the socket.
    sent: u64,
    retry_at: u64,
    retry_delay: u64,
    /// Most that is waited between two tries.
    retry_last: u64,
    was_connected: bool,
    /// When what waits has to be written (milliseconds, monotonic): 0 for at once, `None`
    /// when nothing waits.
    flush_at: Option<u64>,
}

impl Transport {
    /// A transport to `path`; without one, everything is dropped silently.
    pub(crate) fn new(path: Option<CString>, hello: Hello) -> Self {
        Self {
            path,
            hello,
            connection: None,
            to_hold: Vec::new(),
            preamble: VecDeque::new(),
            frames: VecDeque::new(),
            frames_bytes: 0,
            written: 0,
            open_frame: FrameWriter::new(),
            open_content: Content::default(),
            open_changes: Vec::new(),
            told: Told::default(),
            environments: Environments::default(),
            lost: Vec::new(),
            sequence: 0,
            sent: 0,
            retry_at: 0,
            retry_delay: RETRY_FIRST,
            retry_last: RETRY_LAST,
            was_connected: false,
            flush_at: None,
        }
    }

    /// Goes on after a transport that has numbered events up to `sequence`, and written them, or their
    /// loss, up to `sent`. That those in between are lost is to be pushed: until it was written, they
    /// are not sent, so that whoever comes after us says it again.
    pub(crate) fn go_on_after(&mut self, sequence: u64, sent: u64) {
        (self.sequence, self.sent) = (sequence, sent);
    }

    /// Has the agent hold this descriptor, one of two at most, from what is written next until our
    /// connection ends: whoever closes the last reference to it then is not us.
    pub(crate) fn hand_over(&mut self, descriptor: BorrowedFd<'_>) {
        if self.path.is_some() {
            self.to_hold.extend(descriptor.try_clone_to_owned());
        }
    }

    /// What was pushed may wait a little for company, or not at all.
    fn flush_soon(&mut self, is_patient: bool) {
        let is_enough = !self.frames.is_empty() || !self.preamble.is_empty();
        if !is_patient || is_enough {
            self.flush_at = Some(0);
        } else if self.flush_at.is_none() {
            self.flush_at = Some(poll::lately_ms() + PATIENCE);
        }
    }

    /// Sequence number of the last event.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Sequence number up to which everything, or its loss, was written to the socket.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether something waits for the agent.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.preamble.is_empty() || !self.frames.is_empty() || !self.open_frame.is_empty()
    }

    /// Whether an event of this type would be queued.
    pub(crate) fn has_room(&self, kind: EventType) -> bool {
        let limit = if kind == EventType::Open {
            OPENS_LIMIT
        } else {
            BUFFER_LIMIT
        };
        self.waiting() < limit
    }

    fn waiting(&self) -> usize {
        self.frames_bytes + self.open_frame.len()
    }

    /// Queues an event and numbers it. False when it was dropped and counted instead.
    pub(crate) fn push_event(&mut self, mut event: Event) -> bool {
        if self.path.is_none() {
            return true;
        }
        self.sequence += 1;
        event.sequence = self.sequence;
        let kind = event.event_type();
        let is_refused = matches!(event.outcome, Outcome::Denied(_));
        let is_patient = PATIENT.contains(&kind) && !is_refused;
        if !self.has_room(kind) {
            self.count_loss(kind);
            self.note_end(kind, event.pid);
            return false;
        }
        self.report_losses();
        let pid = event.pid;
        let message = ToAgent::Event(Box::new(event));
        self.tell_environment(&message);
        match self.put(&message) {
            Ok(()) => {
                if let ToAgent::Event(event) = message {
                    self.open_changes.extend(Change::of(*event));
                }
                self.close_frame_if_long();
                self.flush_soon(is_patient);
                true
            }
            Err(_) => {
                self.note_end(kind, pid);
                let by_type = vec![(kind, 1)];
                let lost = Lost {
                    count: 1,
                    by_type,
                    reason: LossReason::TooLarge,
                };
                let _ = self.put(&ToAgent::Lost(lost));
                false
            }
        }
    }

    /// Queues a message that is not an event. These are few and small, so they always fit.
    pub(crate) fn push(&mut self, message: &ToAgent) {
        if self.path.is_none() {
            return;
        }
        self.report_losses();
        self.tell_environment(message);
        if self.put(message).is_ok()
            && let ToAgent::Process(process) = message
        {
            self.open_changes.push(Change::Process(process.clone()));
        }
        self.close_frame_if_long();
        // Processes and accounts are there for the event that follows.
        self.flush_soon(matches!(message, ToAgent::Process(_) | ToAgent::Account(_)));
    }

    /// Puts a message into the open frame.
    fn put(&mut self, message: &ToAgent) -> Result<(), WireError> {
        self.open_frame.push(message)?;
        self.open_content.add(message);
        Ok(())
    }

    /// Queues what has to be known of its program's environment before a message.
    fn tell_environment(&mut self, message: &ToAgent) {
        if let Some(environment) = self.environments.before(message) {
            // What is kept of an environment always fits a frame.
            let message = ToAgent::Environment(environment.clone());
            let _ = self.put(&message);
            self.open_changes.push(Change::Environment(environment));
        }
    }

    /// An end that could not be told is not told by a later snapshot either, which for the
    /// agent is the same.
    fn note_end(&mut self, kind: EventType, pid: u32) {
        if kind == EventType::Exit {
            self.open_changes.push(Change::Ended(pid));
        }
    }

    /// The next snapshot has this process: nobody was told of it by a message.
    pub(crate) fn assume_told(&mut self, process: Process) {
        self.told.apply(Change::Process(Box::new(process)));
    }

    /// The copy of a program that is kept for all who run it.
    pub(crate) fn share(&self, image: &Image) -> Rc<Image> {
        self.told.share(image)
    }

    fn count_loss(&mut self, kind: EventType) {
        unread::count(&mut self.lost, kind, 1);
    }

    fn report_losses(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        let by_type = std::mem::take(&mut self.lost);
        let count = by_type.iter().map(|(_, count)| count).sum();
        let lost = Lost {
            count,
            by_type,
            reason: LossReason::BufferFull,
        };
        let _ = self.put(&ToAgent::Lost(lost));
    }

    fn close_frame_if_long(&mut self) {
        if self.open_frame.len() >= FRAME_TARGET {
            self.close_frame();
        }
    }

    fn close_frame(&mut self) {
        // Its number stands for what was lost, too.
        self.report_losses();
        if !self.open_frame.is_empty() {
            let bytes = self.open_frame.take();
            self.frames_bytes += bytes.len();
            self.frames.push_back(Frame {
                bytes,
                content: std::mem::take(&mut self.open_content),
                sequence: self.sequence,
                changes: std::mem::take(&mut self.open_changes),
            });
        }
    }
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
