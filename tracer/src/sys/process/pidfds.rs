//! Descriptors for processes.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::sys::{Result, check};

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
