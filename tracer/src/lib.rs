//! Picket's tracer: runs a program and tells the agent what it and all its descendants do.
//!
//! It needs no privilege. The engine is seccomp user notification: a filter in the program
//! stops it at the calls of one [table], a worker process reads what is asked, lets
//! the call run, and looks at what became of it. A keeper process above both passes signals
//! and the exit code on and takes over when the worker dies. `docs/tracer.md` tells what is
//! traced and what is guaranteed.
//!
//! [table]: https://github.com/picket-dev/picket/blob/main/docs/tracer.md

mod accounts;
mod asked;
#[cfg(feature = "bench")]
pub mod bench;
mod births;
mod caution;
mod cli;
mod config;
mod confirm;
mod debts;
mod decode;
mod denials;
mod elf;
mod familiar;
mod filter;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod hidden;
mod idmap;
mod image;
mod images;
mod keeper;
mod kept;
mod launch;
mod looks;
mod memory;
mod mounts;
mod openers;
mod pin;
mod probe;
mod proc;
mod processes;
mod races;
mod resolve;
mod scrub;
mod setup;
mod spare;
mod start;
mod sums;
mod sys;
mod table;
mod taking;
mod told;
mod transport;
mod unwatched;
mod watched;
mod worker;

pub use sys::heap::Heap;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the tracer's command line: `setup`, `trace`, `exec-session` or `probe` and what belongs to it, without
/// the name of the program.
///
/// Must be called while the process has a single thread. After `trace` the exit code is the
/// traced program's; if a signal ended that, this process ends by the same signal. A failure
/// of our own is 125, a program not found 127, one that cannot be run 126.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    cli::run(args.into_iter().collect())
}
