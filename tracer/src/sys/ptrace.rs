//! The little of `ptrace(2)` that confirming an exec takes.

use super::{Result, check};

const SEIZE: libc::c_int = 0x4206;
const DETACH: libc::c_int = 17;
const OPTION_TRACE_EXEC: usize = 1 << 4;

/// Attaches without stopping, to be told of a successful exec.
pub(crate) fn seize_for_exec(tid: u32) -> Result<()> {
    // SAFETY: this request takes only plain values.
    check(unsafe { libc::syscall(libc::SYS_ptrace, SEIZE, tid, 0, OPTION_TRACE_EXEC) })?;
    Ok(())
}

/// Lets a stopped tracee go, delivering `signal` (0 for none).
pub(crate) fn detach(tid: u32, signal: i32) -> Result<()> {
    // SAFETY: this request takes only plain values.
    check(unsafe { libc::syscall(libc::SYS_ptrace, DETACH, tid, 0, signal as usize) })?;
    Ok(())
}

/// How a tracee stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A new program is about to run its first instruction.
    Exec,
    /// A signal is about to be delivered.
    Signal(i32),
    /// Its whole group stopped, or it was asked to stop.
    Group,
}

/// Reads a ptrace stop from a wait status.
pub(crate) fn stop_of(status: i32) -> Stop {
    match (status >> 16, (status >> 8) & 0xff) {
        (4, _) => Stop::Exec,
        (128, _) => Stop::Group,
        (_, signal) => Stop::Signal(signal),
    }
}
