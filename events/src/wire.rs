//! Messages between tracer and agent, and how they are framed.
//!
//! A frame is a little-endian `u32` with the length of what follows, then one or more
//! messages in postcard's encoding, back to back. Frames of more than [`MAX_FRAME`] bytes are
//! refused before they are read. Both directions use the same framing.
//!
//! Programs go without their environments, which are told apart: [`environments`].
//!
//! Tracer and agent come from one image, so both sides speak one version; [`Hello::version`]
//! says which, and the agent refuses any other.
//!
//! ```
//! use picket_events::wire::{FrameReader, FrameWriter, ToAgent, Lost};
//! let mut writer = FrameWriter::new();
//! writer.push(&ToAgent::Lost(Lost { count: 3, ..Lost::default() })).unwrap();
//! let bytes = writer.take();
//! let mut reader = FrameReader::new();
//! reader.feed(&bytes);
//! let frame = reader.next_frame().unwrap().unwrap();
//! let messages: Vec<ToAgent> = frame.messages().collect::<Result<_, _>>().unwrap();
//! assert_eq!(messages.len(), 1);
//! ```

pub mod environments;
mod frames;
mod unwatched;

use serde::{Deserialize, Serialize};

use crate::deny::DenyRule;
use crate::event::{Event, EventType};
use crate::process::Process;

pub use environments::{Environment, Environments};
pub use frames::{Frame, FrameReader, FrameWriter, Messages, WireError};
pub use unwatched::{Unwatched, UnwatchedReason};

/// Version of this protocol. Any change of a type in this crate that crosses the wire
/// raises it.
pub const VERSION: u32 = 8;

/// Largest frame, without its length: 256 KiB.
pub const MAX_FRAME: usize = 256 * 1024;

/// What a tracer says to the agent. The first message of a connection is a [`Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Who speaks.
    Hello(Box<Hello>),
    /// A process that was alive before this connection, parents first.
    Process(Box<Process>),
    /// The name of a user or group id, sent before the first message that uses the id.
    Account(Account),
    /// Something happened.
    Event(Box<Event>),
    /// Events were dropped.
    Lost(Lost),
    /// The tracer itself has something to report.
    Notice(Notice),
    /// The application ended; nothing follows.
    Goodbye(Goodbye),
    /// The answer to a [`ToTracer::Sum`].
    Summed(Summed),
    /// Which environment the programs have that are told of from here on.
    Environment(Environment),
}

/// What the agent says to a tracer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToTracer {
    /// The hello was accepted.
    Welcome,
    /// The hello was refused; the connection ends.
    Refused(Refusal),
    /// Send this signal to this process, if it is still the same one.
    Kill {
        /// Process id in the tracer's namespace.
        pid: u32,
        /// [`Process::started_at`]: a recycled pid is left alone.
        started_at: u64,
        /// Signal number.
        signal: u32,
    },
    /// Refuse (true) or allow again (false) whatever reaches out over a network anew: connects,
    /// binds, and datagrams. What is connected stays so.
    Quarantine(bool),
    /// Read this file and answer with a [`Summed`].
    Sum(Box<SumRequest>),
    /// From now on refuse what these say, and nothing else: they take the place of those sent
    /// before.
    Deny(Vec<DenyRule>),
    /// Watch the files whose paths fit one of these patterns, and no others, for reads that the
    /// filter lets pass. A pattern is an absolute path, in which `*` stands for any characters
    /// of a part, and `**` as its last part for anything below.
    WatchReads(Vec<String>),
}

/// Asks for the sums of a file of the container, which the agent itself cannot read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumRequest {
    /// Number that the answer repeats.
    pub request: u64,
    /// A process that runs the file, or in whose root its path begins.
    pub pid: u32,
    /// Path, as in [`File::path`](crate::File::path); may be empty for what a process runs.
    pub path: String,
    /// Device, inode and change time (nanoseconds since the epoch): only this very file counts,
    /// in this state.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
    /// See `device`.
    pub change_time: u64,
    /// Largest file that is read, in bytes.
    pub limit: u64,
}

/// What a file sums up to, or why it could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summed {
    /// [`SumRequest::request`].
    pub request: u64,
    /// The sums.
    pub result: Result<Sums, SumFault>,
}

/// Sums of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// SHA-256.
    pub sha256: [u8; 32],
    /// SHA-1.
    pub sha1: [u8; 20],
}

/// Why a file has no sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SumFault {
    /// It is not where it was, or is another one by now.
    OutOfReach,
    /// A directory, a device, a pipe.
    NotRegular,
    /// It is larger than [`SumRequest::limit`].
    TooLarge,
    /// It could not be opened or read.
    Unreadable,
    /// Reading it took too long.
    TooSlow,
    /// Too many files were asked for.
    Busy,
}

/// Who speaks, sent first on each connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the container in the pod, from the tracer's flags.
    pub container: String,
    /// Container id as the runtime gave it (from cgroup or mountinfo); empty where unknown.
    pub container_id: String,
    /// Random key made at the tracer's start, held only in its own memory. The first hello
    /// of a container binds it; a later one with another key is refused.
    pub session_key: [u8; 32],
    /// When the tracer started, nanoseconds since the epoch.
    pub started_at: u64,
    /// The command that is traced, scrubbed.
    pub entrypoint: Vec<String>,
    /// How it is traced, or why it is not.
    pub engine: Engine,
    /// The interest that the installed filter serves, in its text form.
    pub interest: String,
    /// 0 at the first start of the worker, counted up when it was replaced.
    pub generation: u32,
    /// Of a session that somebody opened in the container: the text of the
    /// [`Token`](crate::session::Token) that says who, as it was handed to the tracer.
    pub session_token: Option<String>,
}

/// How an application is traced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// Seccomp user notification.
    UserNotification,
    /// Ptrace with `SECCOMP_RET_TRACE`.
    Ptrace,
    /// Not at all: the application runs untraced. A coverage gap.
    #[default]
    None,
    /// Not at all, because this step failed with this errno.
    Failed {
        /// What was tried (`seccomp`, `clone`, …).
        step: String,
        /// Positive errno.
        errno: i32,
    },
}

/// The name of a numeric id in the container's own account files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// True for a group.
    pub group: bool,
    /// Numeric id.
    pub id: u32,
    /// Name.
    pub name: String,
}

/// Events that were dropped since the last report of this kind. Counts are exact, but for
/// [`LossReason::WorkerDied`], which can count an event that arrived, or a call that failed, and
/// [`LossReason::AgentGone`], which can count one that was read in the last moment: they are never too
/// low.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many in all.
    pub count: u64,
    /// How many by type.
    pub by_type: Vec<(EventType, u64)>,
    /// Why.
    pub reason: LossReason,
}

/// Why events were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LossReason {
    /// The tracer's buffer was full while the agent did not read.
    #[default]
    BufferFull,
    /// The worker died with events that it had not sent, or calls that it had not looked at; or
    /// there was none to look at a call.
    WorkerDied,
    /// The event did not fit a frame.
    TooLarge,
    /// The agent that it was sent to ended without having read it.
    AgentGone,
}

/// Something about the tracer itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// The worker died and was replaced; events in between were not seen.
    Restarted {
        /// Signal that ended it, where it was one.
        signal: Option<u32>,
    },
    /// A traced process tried to signal, trace or write to the tracer; it was refused.
    Tampering {
        /// Process that tried.
        pid: u32,
        /// The system call.
        syscall: String,
    },
    /// A setuid or file-capability program was run by a user who lost the privilege to
    /// no_new_privs.
    PrivilegeLost {
        /// Process that ran it.
        pid: u32,
        /// The program.
        path: String,
    },
    /// A process cannot be looked into: the kernel keeps its memory from the tracer, because it is
    /// not dumpable (`prctl(2)`, `PR_SET_DUMPABLE`), or what it names stands in memory that the kernel
    /// reads for that process alone. What its calls name is not known.
    Hidden {
        /// The process.
        pid: u32,
    },
    /// What of the files that [`ToTracer::WatchReads`] names is not watched, from now on.
    ReadsUnwatched {
        /// Reads of these with `O_NOCTTY` alone are seen all the same: the filter stops for all
        /// of the kind.
        are_plain_seen: bool,
        /// What is not watched, for each reason; nothing where all is again.
        files: Vec<Unwatched>,
    },
}

/// Why the agent refuses a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another protocol version.
    Version,
    /// Another session key than this container's first hello had.
    SessionKey,
    /// Too many connections.
    TooMany,
}

/// The application's end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Exit code, where it exited.
    pub code: Option<u32>,
    /// Signal, where one killed it.
    pub signal: Option<u32>,
    /// Sequence number of the last event: what is missing below it was lost.
    pub last_sequence: u64,
}
