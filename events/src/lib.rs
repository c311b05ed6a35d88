//! The event model, the wire format between tracer and agent, and the shape of a finding.
//!
//! This crate does no I/O: it turns values into bytes and back. Everything that crosses a
//! process boundary in Picket is defined here, so that the tracer (static, tiny) and the
//! agent can never disagree about it.
//!
//! * [`event`]: what happened, as one enum with SECL's names.
//! * [`deny`]: what the tracer refuses by itself.
//! * [`pattern`]: patterns on texts and paths.
//! * [`process`]: who did it: processes, credentials, executables.
//! * [`file`]: files as the kernel resolved them.
//! * [`network`]: socket addresses.
//! * [`interest`]: which events a set of rules can use at all.
//! * [`session`]: who runs a command by `kubectl exec`, signed.
//! * [`wire`]: messages and frames.
//! * [`finding`]: the JSON line that a user reads.
//! * [`relay`]: what agents and the operator say to each other.

pub mod deny;
pub mod event;
pub mod file;
pub mod finding;
pub mod interest;
pub mod network;
pub mod pattern;
pub mod process;
pub mod relay;
pub mod session;
pub mod text;
pub mod wire;

pub use event::{Event, EventKind, EventType, Outcome};
pub use file::File;
pub use interest::{Interest, OpenInterest};
pub use network::{Address, Protocol};
pub use process::{Credentials, Image, Process};
pub use text::kept_name;
