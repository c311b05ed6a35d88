//! Waiting for children and tracees: their ends and their stops.

use crate::sys::{Errno, last};

/// A change of state of a child or tracee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) pid: i32,
    /// Raw wait status.
    pub(crate) status: i32,
}

impl Change {
    pub(crate) fn ended(self) -> bool {
        libc::WIFEXITED(self.status) || libc::WIFSIGNALED(self.status)
    }

    pub(crate) fn stopped(self) -> bool {
        libc::WIFSTOPPED(self.status)
    }
}

/// Id and raw wait status of a child or tracee that has ended and was not reaped yet; `None`
/// also where another's change of state comes first.
pub(crate) fn peek_ended() -> Option<(i32, i32)> {
    let change = peek_change()?;
    change.ended().then_some((change.pid, change.status))
}

/// The change of state of a child or tracee that [`next_change`] would give, left there to be
/// given.
pub(crate) fn peek_change() -> Option<Change> {
    let options = libc::WEXITED
        | libc::WSTOPPED
        | libc::WCONTINUED
        | libc::WNOHANG
        | libc::WNOWAIT
        | libc::__WALL;
    // SAFETY: siginfo_t is plain data, filled by the kernel; si_pid and si_status are valid
    // for what waitid reports.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(libc::P_ALL, 0, &raw mut info, options) != 0 || info.si_pid() == 0 {
            return None;
        }
        let status = match info.si_code {
            libc::CLD_EXITED => (info.si_status() & 0xff) << 8,
            libc::CLD_DUMPED => info.si_status() | 0x80,
            libc::CLD_KILLED => info.si_status(),
            libc::CLD_CONTINUED => 0xffff,
            // A ptrace event stands above the signal, as in a wait status.
            _ => info.si_status() << 8 | 0x7f,
        };
        let pid = info.si_pid();
        Some(Change { pid, status })
    }
}

/// Whether this child has ended; it is not reaped.
pub(crate) fn has_ended(pid: i32) -> bool {
    peek(pid) == Some(true)
}

/// Whether this is a child of ours.
pub(crate) fn is_child(pid: i32) -> bool {
    peek(pid).is_some()
}

/// Whether a child has ended; `None` for a process that is none.
fn peek(pid: i32) -> Option<bool> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: siginfo_t is plain data, filled by the kernel; si_pid is valid for what waitid reports.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let result = libc::waitid(libc::P_PID, pid as u32, &raw mut info, options);
        (result == 0).then(|| info.si_pid() != 0)
    }
}

/// Waits until this child has ended, and reaps it. Not a child, it is not waited for.
pub(crate) fn await_end(pid: i32) {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } < 0
        && last() == Errno(libc::EINTR)
    {}
}

/// Takes the change of state of this child or tracee, reaping it if it has ended.
pub(crate) fn take_change(pid: i32) -> Option<Change> {
    changed(pid)
}

/// The next change of state of any child or tracee, reaping what has ended.
pub(crate) fn next_change() -> Option<Change> {
    changed(-1)
}

fn changed(pid: i32) -> Option<Change> {
    let mut status = 0;
    let options = libc::WNOHANG | libc::__WALL | libc::WUNTRACED | libc::WCONTINUED;
    // SAFETY: the kernel writes one int.
    let pid = unsafe { libc::waitpid(pid, &raw mut status, options) };
    (pid > 0).then_some(Change { pid, status })
}

/// Waits for the next change of state of any child, reaping what has ended; `None` when there
/// is no child.
pub(crate) fn await_change() -> Option<Change> {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WUNTRACED) };
    (pid > 0).then_some(Change { pid, status })
}
