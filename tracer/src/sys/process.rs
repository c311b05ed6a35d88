//! Processes: making, ids, limits, pidfds.

mod waits;

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result, check};

pub(crate) use self::waits::*;

/// Which side of a fork we are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Child,
    /// The parent, with the child's id.
    Parent(i32),
}

/// Lets everybody else go first: lowers the priority of the calling thread.
pub(crate) fn prefer_others() {
    const LATER: i32 = 10;
    // SAFETY: plain values; 0 is the calling thread, which may always lower itself.
    unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, LATER) };
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

/// Effective user and group of this process.
pub(crate) fn effective_ids() -> (u32, u32) {
    // SAFETY: always succeed.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Real user and group.
pub(crate) fn real_ids() -> (u32, u32) {
    // SAFETY: always succeed.
    unsafe { (libc::getuid(), libc::getgid()) }
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

/// Raises the soft limit of open files to the hard one.
pub(crate) fn raise_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills, then reads, one rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Whether this process may make as many more descriptors, tried on copies of one that it has.
pub(crate) fn has_room_for(count: usize, one: BorrowedFd<'_>) -> Result<()> {
    let mut copies = Vec::with_capacity(count);
    for _ in 0..count {
        match one.try_clone_to_owned() {
            Ok(copy) => copies.push(copy),
            // A sandbox may refuse the copying, which says nothing of the room.
            Err(error) => match error.raw_os_error() {
                Some(errno @ (libc::EMFILE | libc::ENFILE)) => return Err(Errno(errno)),
                _ => return Ok(()),
            },
        }
    }
    Ok(())
}

/// How many descriptors this process may have.
pub(crate) fn file_limit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills one rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// Whether there is a process with this id, reaped or not.
pub(crate) fn is_there(pid: u32) -> bool {
    // SAFETY: plain values; no signal is sent.
    let result = check(unsafe { libc::kill(pid as i32, 0) }.into());
    result != Err(Errno(libc::ESRCH))
}

/// No core file is written when we end ourselves by the application's signal.
pub(crate) fn forbid_core() {
    let limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel reads one rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) };
}

/// A descriptor for a process.
pub(crate) fn open_pidfd(pid: u32) -> Result<OwnedFd> {
    // SAFETY: plain values.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec).
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A descriptor for a thread (Linux 6.9).
pub(crate) fn open_thread_pidfd(tid: u32) -> Result<OwnedFd> {
    const THREAD: i32 = libc::O_EXCL; // PIDFD_THREAD
    // SAFETY: plain values.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, tid, THREAD) })?;
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec).
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
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

/// Signals the very process that the descriptor is for.
pub(crate) fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo means: as kill(2) would.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            none,
            0,
        )
    })?;
    Ok(())
}

/// Takes a copy of another process's descriptor.
pub(crate) fn take_descriptor(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    // SAFETY: plain values.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec).
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    fields: [u32; 14],
}

/// The wait status of an ended process, from a kernel that keeps it (Linux 6.15).
pub(crate) fn ended_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const GET_INFO: u64 = 0xc040_ff0b;
    const EXIT: u64 = 1 << 3;
    let mut info = PidfdInfo {
        mask: EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the kernel fills at most the 64 bytes that the request's number encodes.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &raw mut info) };
    // After mask and cgroup id come pid, tgid, ppid, eight ids, and the exit code.
    (result == 0 && info.mask & EXIT != 0).then_some(info.fields[13] as i32)
}

/// Runs `work` with the file system ids of a tracee, so that its `/proc` entries open for us
/// where the ordinary right (CAP_SYS_PTRACE) is missing.
pub(crate) fn with_file_system_ids<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> T {
    // SAFETY: both calls take plain values, never fail, and give the id that was before. They
    // work on the calling thread, which is the only one.
    let (old_gid, old_uid) = unsafe {
        (
            libc::syscall(libc::SYS_setfsgid, gid),
            libc::syscall(libc::SYS_setfsuid, uid),
        )
    };
    let result = work();
    // SAFETY: as above.
    unsafe {
        libc::syscall(libc::SYS_setfsuid, old_uid);
        libc::syscall(libc::SYS_setfsgid, old_gid);
    }
    result
}

/// Runs `work` with the real ids of a tracee: by these the kernel judges who may attach to it and take
/// its descriptors (`PTRACE_MODE_REALCREDS`), where CAP_SYS_PTRACE is missing. Takes CAP_SETUID
/// and CAP_SETGID; fails with EPERM without them.
pub(crate) fn with_real_ids<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> Result<T> {
    const SAME: u32 = u32::MAX;
    let set_user = |uid: u32| {
        // SAFETY: takes plain values, and works on the calling thread. The effective ids, which the
        // thread's rights go by, stay.
        check(unsafe { libc::syscall(libc::SYS_setresuid, uid, SAME, SAME) })
    };
    let set_group = |gid: u32| {
        // SAFETY: as above.
        check(unsafe { libc::syscall(libc::SYS_setresgid, gid, SAME, SAME) })
    };
    // SAFETY: always succeed.
    let (old_uid, old_gid) = unsafe { (libc::getuid(), libc::getgid()) };
    set_group(gid)?;
    let result = set_user(uid).map(|_| work());
    // They are among what the thread may have in any case: its effective ids.
    let _ = set_user(old_uid);
    let _ = set_group(old_gid);
    result
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

/// `struct sched_attr` up to what every kernel with the call has.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scheduling {
    size: u32,
    pub(super) policy: u32,
    pub(super) flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl Scheduling {
    /// As processes are scheduled that nobody has said anything of, but as nice as this one is.
    pub(super) fn usual() -> Self {
        Self {
            size: size_of::<Self>() as u32,
            policy: libc::SCHED_OTHER as u32,
            // SAFETY: plain values; it reads the calling thread's own.
            nice: unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) },
            ..Self::default()
        }
    }
}

/// Asks to be run soon after each wake-up, for a short while (Linux 6.12; no effect before):
/// the share of the processor stays what it was.
pub(crate) fn prefer_short_turns() {
    const SHORTEST: u64 = 100_000; // nanoseconds; the kernel takes no less
    // SAFETY: both read the calling thread's own value; plain arguments.
    let (policy, nice) = unsafe {
        (
            // musl's function of this name knows better than to ask.
            libc::syscall(libc::SYS_sched_getscheduler, 0),
            libc::getpriority(libc::PRIO_PROCESS, 0),
        )
    };
    if policy != libc::c_long::from(libc::SCHED_OTHER) {
        return; // somebody chose another for the whole container
    }
    let wanted = Scheduling {
        size: size_of::<Scheduling>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice,
        priority: 0,
        runtime: SHORTEST,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads the structure, whose size it has. Refused, nothing changes.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
}

/// Lets waits of the calling thread, and of what it forks, last longer by so many nanoseconds.
pub(crate) fn set_timer_slack(nanoseconds: libc::c_ulong) {
    // SAFETY: plain values.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds) };
}

/// Capabilities of a process, bit n for capability n: effective and permitted ones.
pub(crate) fn capabilities(pid: u32) -> Result<(u64, u64)> {
    /// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
    const VERSION: u32 = 0x2008_0522;
    let mut header = [VERSION, pid];
    // Effective, permitted, inheritable: low words, then high words.
    let mut sets = [0u32; 6];
    // SAFETY: the kernel may write the version it prefers to the header, and writes six words to
    // the sets.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    check(result)?;
    let set = |at: usize| u64::from(sets[at]) | u64::from(sets[at + 3]) << 32;
    Ok((set(0), set(1)))
}

/// The parent of this process.
pub(crate) fn parent_pid() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::getppid() as u32 }
}
