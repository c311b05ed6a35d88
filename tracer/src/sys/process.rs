//! Processes: making and ending them, their ids, what is said of them to the kernel.

mod limits;
mod pidfds;
mod rights;
mod scheduling;
mod waits;

use std::os::fd::{FromRawFd, OwnedFd};

use super::{Errno, Result, check};

pub(crate) use self::limits::*;
pub(crate) use self::pidfds::*;
pub(crate) use self::rights::*;
pub(super) use self::scheduling::Scheduling;
pub(crate) use self::scheduling::{prefer_others, prefer_short_turns, set_timer_slack};
pub(crate) use self::waits::*;

/// Which side of a fork we are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Child,
    /// The parent, with the child's id.
    Parent(i32),
}

/// Forks. With `share_files` the child shares our descriptor table until one of us unshares
/// it: a descriptor made by one is there in the other.
///
/// Only called while the process has one thread.
pub(crate) fn fork(share_files: bool) -> Result<Side> {
    let flags = libc::SIGCHLD | if share_files { libc::CLONE_FILES } else { 0 };
    // SAFETY: without CLONE_VM the child gets a copy of our memory and goes on with our
    // stack; with one thread no lock can be held by somebody who does not exist in the child.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(if pid == 0 {
        Side::Child
    } else {
        Side::Parent(pid as i32)
    })
}

/// Gives this process a descriptor table of its own, if it shares one.
pub(crate) fn unshare_files() -> Result<()> {
    // SAFETY: plain value.
    if unsafe { libc::unshare(libc::CLONE_FILES) } == 0 {
        return Ok(());
    }
    // The default profiles of containerd and Docker leave unshare(2), whatever it is to unshare, to
    // those who have CAP_SYS_ADMIN. This one (Linux 5.9) they leave to all: it closes nothing here,
    // as no descriptor has the last number of all.
    const UNSHARE: libc::c_uint = 2;
    let none = libc::c_uint::MAX;
    // SAFETY: plain values.
    check(unsafe { libc::syscall(libc::SYS_close_range, none, none, UNSHARE) })?;
    Ok(())
}

/// Whether the calls that tell of children are allowed: without them nobody would notice an end.
pub(crate) fn can_wait() -> Result<()> {
    let mut status = 0;
    // SAFETY: siginfo_t is plain data; the kernel writes one of it, and one int. Nothing is reaped
    // by the first, and there is no child that the second could wait for in vain.
    let tried = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let peeked = check(libc::waitid(libc::P_ALL, 0, &raw mut info, options).into());
        let waited = libc::waitpid(libc::pid_t::MAX, &raw mut status, libc::WNOHANG);
        [peeked, check(waited.into())]
    };
    let mut errors = tried.into_iter().filter_map(|tried| tried.err());
    let refused = errors.find(|errno| *errno != Errno(libc::ECHILD));
    refused.map_or(Ok(()), Err)
}

/// Ends the process at once.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: never returns; no destructor has to run.
    unsafe { libc::_exit(code) }
}

/// This process.
pub(crate) fn own_pid() -> u32 {
    // SAFETY: always succeeds. The raw call, because a C library may have cached the id of
    // the process it was forked from.
    unsafe { libc::syscall(libc::SYS_getpid) as u32 }
}

/// Whether a process may know its id, as a sandbox may refuse it.
pub(crate) fn knows_itself() -> Result<()> {
    // SAFETY: takes nothing.
    check(unsafe { libc::syscall(libc::SYS_getpid) })?;
    Ok(())
}

/// Process group of a process.
pub(crate) fn group_of(pid: i32) -> Result<i32> {
    // SAFETY: plain value.
    Ok(check(unsafe { libc::getpgid(pid) }.into())? as i32)
}

/// Whether this process leads its session.
pub(crate) fn leads_session() -> bool {
    // SAFETY: plain value; the own session is always there.
    unsafe { libc::getsid(0) == own_pid() as i32 }
}

/// Leaves the session and process group of the caller.
pub(crate) fn new_session() {
    // SAFETY: plain call; fails only for a group leader, which a fresh child is not.
    unsafe { libc::setsid() };
}

fn prctl(option: i32, value: u64) -> Result<i64> {
    // SAFETY: only options that take plain values are passed.
    check(unsafe { libc::prctl(option, value, 0u64, 0u64, 0u64) }.into())
}

/// No exec gives privileges from now on.
pub(crate) fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// Whether no exec gives privileges.
pub(crate) fn no_new_privs() -> bool {
    prctl(libc::PR_GET_NO_NEW_PRIVS, 0) == Ok(1)
}

/// Orphans among our descendants become our children.
pub(crate) fn set_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map(drop)
}

/// Keeps others of the same user from reading our memory.
pub(crate) fn set_not_dumpable() {
    let _ = prctl(libc::PR_SET_DUMPABLE, 0);
}

/// Names this process for `ps`.
pub(crate) fn set_name(name: &std::ffi::CStr) {
    let _ = prctl(libc::PR_SET_NAME, name.as_ptr() as u64);
}

/// Whether there is a process with this id, reaped or not.
pub(crate) fn is_there(pid: u32) -> bool {
    // SAFETY: plain values; no signal is sent.
    let result = check(unsafe { libc::kill(pid as i32, 0) }.into());
    result != Err(Errno(libc::ESRCH))
}

/// The calling thread.
pub(crate) fn own_tid() -> i32 {
    // SAFETY: always succeeds.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Whether an id is that of a thread of this process.
pub(crate) fn is_own_thread(tid: u32) -> bool {
    // SAFETY: plain values. No signal is sent, only looked whether one could be.
    unsafe { libc::syscall(libc::SYS_tgkill, own_pid(), tid as i32, 0) == 0 }
}

/// Signals a thread of this process.
pub(crate) fn signal_thread(tid: i32, signal: i32) {
    // SAFETY: plain values. It fails when the thread has ended, which is as well.
    unsafe { libc::syscall(libc::SYS_tgkill, own_pid(), tid, signal) };
}

/// Signals a thread of another process. It fails when the thread has ended, which is as well.
pub(crate) fn signal_thread_of(pid: u32, tid: u32, signal: i32) {
    // SAFETY: plain values.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
}

unsafe extern "C" {
    static environ: *const *const libc::c_char;
}

/// Replaces the program; the environment stays as it came, with what is no `NAME=VALUE` in it.
/// Returns only on failure.
pub(crate) fn execute(path: &std::ffi::CStr, argv: &[*const libc::c_char]) -> Errno {
    debug_assert!(argv.last().is_some_and(|last| last.is_null()));
    // SAFETY: the arguments end with a null pointer, and what they point to outlives the call: the
    // callers build them from CStrings that they still hold. The environment is the C library's,
    // and nobody here changes it.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environ) };
    super::last()
}

/// Fills `buffer` with random bytes; leaves it as it is where the kernel has none yet.
pub(crate) fn random(buffer: &mut [u8]) {
    // SAFETY: the kernel writes at most the buffer's length.
    unsafe {
        libc::getrandom(
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::GRND_NONBLOCK,
        )
    };
}

/// Takes charge of a descriptor that another process put into our shared table.
pub(crate) fn adopt(descriptor: i32) -> OwnedFd {
    // SAFETY: the number comes from the process that made it in the table that we shared, and
    // that has left the table since; nobody else here owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Whether a process is stopped by a signal or a debugger. Allocates nothing.
pub(crate) fn is_stopped(pid: i32) -> bool {
    use std::io::Write;
    let mut path = [0u8; 32];
    if write!(&mut path[..31], "/proc/{pid}/stat").is_err() {
        return false;
    }
    let Ok(path) = std::ffi::CStr::from_bytes_until_nul(&path) else {
        return false;
    };
    let Ok(file) = super::files::open(path, libc::O_RDONLY, 0) else {
        return false;
    };
    let mut text = [0u8; 256];
    let length = super::files::read_at(std::os::fd::AsFd::as_fd(&file), &mut text, 0);
    let text = &text[..length.unwrap_or(0)];
    let close = text.iter().rposition(|byte| *byte == b')');
    matches!(
        close.and_then(|close| text.get(close + 2)),
        Some(b'T' | b't')
    )
}

/// The parent of this process.
pub(crate) fn parent_pid() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::getppid() as u32 }
}
