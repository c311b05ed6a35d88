//! Signal masks, dispositions, signalfd, sending.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result, check};

/// A set of blocked signals, to be restored later.
#[derive(Clone, Copy)]
pub(crate) struct Mask(libc::sigset_t);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

impl Mask {
    /// Nothing blocked.
    pub(crate) fn empty() -> Self {
        // SAFETY: a sigset_t is plain bits; none set is a valid one.
        Self(unsafe { std::mem::zeroed() })
    }
}

/// Every signal, C library internals included.
fn all() -> libc::sigset_t {
    // SAFETY: a sigset_t is plain bits; the kernel reads its first 64. All ones also covers
    // the two or three that a C library keeps to itself and sigfillset would leave out.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        std::ptr::write_bytes((&raw mut set).cast::<u8>(), 0xff, 8);
        set
    }
}

/// Blocks every signal and gives the mask as it was.
pub(crate) fn block_all() -> Mask {
    let set = all();
    // SAFETY: both sets live; the raw call is used because C libraries leave signals out.
    unsafe {
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &set,
            &raw mut old,
            8usize,
        );
        Mask(old)
    }
}

/// Restores a mask.
pub(crate) fn restore(mask: &Mask) {
    let none = std::ptr::null_mut::<libc::sigset_t>();
    // SAFETY: the set lives; the kernel reads 8 bytes.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &mask.0,
            none,
            8usize,
        )
    };
}

/// Sets default handling for a signal; true if it was ignored before.
pub(crate) fn set_default(signal: i32) -> bool {
    set(signal, libc::SIG_DFL) == libc::SIG_IGN
}

/// Ignores a signal; what an exec'd program inherits.
pub(crate) fn set_ignored(signal: i32) {
    set(signal, libc::SIG_IGN);
}

fn set(signal: i32, handler: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: SIG_DFL and SIG_IGN are the only values passed; no handler runs.
    unsafe { libc::signal(signal, handler) }
}

/// Wakes a thread of ours from a call that sleeps.
pub(crate) const INTERRUPT: i32 = libc::SIGUSR2;

extern "C" fn nothing(_: i32) {}

/// Has a signal interrupt the call that a thread sleeps in, and do nothing else.
pub(crate) fn interrupt_by(signal: i32) {
    let handler: extern "C" fn(i32) = nothing;
    // SAFETY: the structure is plain data; the handler does nothing, so it may run anywhere.
    // Without SA_RESTART the call is not made again.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// Lets a signal through to the calling thread.
pub(crate) fn unblock(signal: i32) {
    // SAFETY: the set is plain bits, of which the kernel reads 64; the calling thread only.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, signal);
        let none = std::ptr::null_mut::<libc::sigset_t>();
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_UNBLOCK,
            &raw const set,
            none,
            8usize,
        );
    }
}

/// A descriptor from which all blocked signals are read.
pub(crate) fn descriptor() -> Result<OwnedFd> {
    let set = all();
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: the set lives; the kernel reads 8 bytes of it.
    let fd = check(unsafe { libc::syscall(libc::SYS_signalfd4, -1, &set, 8usize, flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A signal as it arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// Signal number.
    pub(crate) signal: i32,
    /// `SI_USER`, `SI_KERNEL`, ….
    pub(crate) code: i32,
    /// Who sent it; 0 from the kernel or from outside the PID name space.
    pub(crate) sender: i32,
    /// That one's user.
    pub(crate) user: u32,
    /// What came with a queued signal.
    pub(crate) value: u64,
}

/// The next signal, if one waits.
pub(crate) fn next(descriptor: BorrowedFd<'_>) -> Option<Received> {
    // SAFETY: signalfd_siginfo is plain data; the kernel fills all of it or nothing.
    unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        let got = libc::read(descriptor.as_raw_fd(), (&raw mut info).cast(), size);
        (got == size as isize).then_some(Received {
            signal: info.ssi_signo as i32,
            code: info.ssi_code,
            sender: info.ssi_pid as i32,
            user: info.ssi_uid,
            value: info.ssi_ptr,
        })
    }
}

/// Throws away what waits.
pub(crate) fn drain(descriptor: BorrowedFd<'_>) {
    const BATCH: usize = 4;
    let size = size_of::<libc::signalfd_siginfo>();
    loop {
        // SAFETY: signalfd_siginfo is plain data; the kernel writes at most the array's size.
        let got = unsafe {
            let mut all: [libc::signalfd_siginfo; BATCH] = std::mem::zeroed();
            libc::read(
                descriptor.as_raw_fd(),
                all.as_mut_ptr().cast(),
                BATCH * size,
            )
        };
        // Fewer than there was room for: these were all.
        if got < (BATCH * size) as isize {
            return;
        }
    }
}

/// Sends a signal to a process: to one. What is no process's id, as a sandbox gives it that answers
/// `getpid` with an error, would reach everybody who can be reached, or our own group.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<()> {
    if pid <= 0 {
        return Err(Errno(libc::ESRCH));
    }
    // SAFETY: plain values.
    check(unsafe { libc::kill(pid, signal) }.into())?;
    Ok(())
}

/// `siginfo_t` of a signal that carries a value, on 64-bit machines.
#[repr(C)]
struct Queued {
    signal: i32,
    errno: i32,
    code: i32,
    padding: i32,
    sender: i32,
    user: u32,
    value: u64,
    rest: [u64; 12],
}

/// Sends a signal that came with a value, as the one it came from did: with that sender and value.
pub(crate) fn queue(pid: i32, received: Received) -> Result<()> {
    let info = Queued {
        signal: received.signal,
        errno: 0,
        code: received.code,
        padding: 0,
        sender: received.sender,
        user: received.user,
        value: received.value,
        rest: [0; 12],
    };
    // SAFETY: the kernel reads one siginfo_t, which is as long; the value is only passed on.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigqueueinfo,
            pid,
            received.signal,
            &raw const info,
        )
    })?;
    Ok(())
}
