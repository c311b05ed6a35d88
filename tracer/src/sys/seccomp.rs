//! `seccomp(2)`: installing the filter, receiving and answering notifications.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result, check};

/// One instruction of a classic BPF program, as the kernel lays it out.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) k: u32,
}

#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// What the filter looks at (`struct seccomp_data`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) number: i32,
    pub(crate) arch: u32,
    pub(crate) instruction_pointer: u64,
    pub(crate) args: [u64; 6],
}

/// A trapped call (`struct seccomp_notif`). `pid` is the thread id in the receiver's PID
/// name space.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) flags: u32,
    pub(crate) data: Data,
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Sizes {
    notification: u16,
    response: u16,
    data: u16,
}

const SET_MODE_FILTER: libc::c_uint = 1;
const GET_ACTION_AVAILABLE: libc::c_uint = 2;
const GET_NOTIFICATION_SIZES: libc::c_uint = 3;

/// Do not switch on speculation mitigations for the whole application (before Linux 5.16).
pub(crate) const SPEC_ALLOW: u32 = 4;
/// Give a listener.
pub(crate) const NEW_LISTENER: u32 = 8;
/// Only a fatal signal interrupts a call that was received (Linux 5.19).
pub(crate) const WAIT_KILLABLE_RECV: u32 = 32;

/// Answer of a filter: let it through.
pub(crate) const RETURN_ALLOW: u32 = 0x7fff_0000;
/// Answer of a filter: stop for the ptracer.
pub(crate) const RETURN_TRACE: u32 = 0x7ff0_0000;
/// Answer of a filter: notify the listener.
pub(crate) const RETURN_USER_NOTIF: u32 = 0x7fc0_0000;

const IOCTL_RECEIVE: u64 = 0xc050_2100;
const IOCTL_SEND: u64 = 0xc018_2101;
const IOCTL_ID_VALID: u64 = 0x4008_2102;
const IOCTL_SET_FLAGS: u64 = 0x4008_2104;
const IOCTL_ADD_DESCRIPTOR: u64 = 0x4018_2103;
const FLAG_CONTINUE: u32 = 1;
/// Add the descriptor and answer with its number in one (Linux 5.14).
const ADD_AND_SEND: u32 = 2;
/// Add the descriptor at a given number, in the place of what is there.
const ADD_AT_NUMBER: u32 = 1;
const SYNC_WAKE_UP: u64 = 1;

/// Installs a filter for the calling thread and gives its listener.
pub(crate) fn install(program: &[Instruction], flags: u32) -> Result<OwnedFd> {
    let length = u16::try_from(program.len()).map_err(|_| Errno(libc::EINVAL))?;
    let program = Program {
        length,
        instructions: program.as_ptr(),
    };
    // SAFETY: the program points to `length` instructions that outlive the call; the kernel
    // copies them.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            flags | NEW_LISTENER,
            &program,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Installs a filter for the calling thread that has no listener. Where `seccomp(2)` is refused
/// or older than its flags, `prctl(2)` may still do.
pub(crate) fn install_quietly(program: &[Instruction]) -> Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno(libc::EINVAL))?;
    let program = Program {
        length,
        instructions: program.as_ptr(),
    };
    // SAFETY: the program points to `length` instructions that outlive the call; the kernel
    // copies them.
    let result =
        check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, SPEC_ALLOW, &program) });
    if matches!(result, Ok(_) | Err(Errno(libc::EACCES))) {
        return result.map(drop);
    }
    // SAFETY: as above.
    let result = check(
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) }.into(),
    );
    result.map(drop)
}

/// Whether the kernel knows this install flag: it refuses an unknown one with EINVAL and, for
/// a known one, goes on to the program, which is a null pointer (EFAULT).
pub(crate) fn knows_flag(flag: u32) -> bool {
    let none = std::ptr::null::<Program>();
    // SAFETY: a null program is never read; the kernel answers EFAULT.
    let result = check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flag, none) });
    result == Err(Errno(libc::EFAULT))
}

/// Whether the kernel has user notifications of a size that [`receive`] can take.
pub(crate) fn has_notifications() -> Result<()> {
    let action: u32 = RETURN_USER_NOTIF;
    // SAFETY: the kernel reads one u32.
    check(unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAILABLE, 0, &action) })?;
    let mut sizes = Sizes::default();
    // SAFETY: the kernel writes three u16.
    check(unsafe { libc::syscall(libc::SYS_seccomp, GET_NOTIFICATION_SIZES, 0, &mut sizes) })?;
    if usize::from(sizes.notification) > size_of::<Notification>() {
        return Err(Errno(libc::EOVERFLOW));
    }
    Ok(())
}

/// Takes the next notification into `slot`, which must be zeroed (an older kernel insists).
pub(crate) fn receive(listener: BorrowedFd<'_>, slot: &mut Notification) -> Result<()> {
    *slot = Notification::default();
    // SAFETY: the slot is as large as the kernel's structure, which `has_notifications` checked.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_RECEIVE as _, slot) }.into())?;
    Ok(())
}

/// Lets the call run.
pub(crate) fn answer_continue(listener: BorrowedFd<'_>, id: u64) -> Result<()> {
    send(
        listener,
        Response {
            id,
            value: 0,
            error: 0,
            flags: FLAG_CONTINUE,
        },
    )
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct Addition {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

/// Gives the caller a descriptor of ours, as the result of its call; its number there.
///
/// Before Linux 5.14 this takes two steps, and the caller may get a signal in between: then `left`
/// says which number it has got without knowing, to be used when it makes the call again.
/// `between` is called before the second.
pub(crate) fn answer_descriptor(
    listener: BorrowedFd<'_>,
    id: u64,
    descriptor: BorrowedFd<'_>,
    close_on_exec: bool,
    left: &mut Option<u32>,
    between: impl FnOnce(),
) -> Result<i64> {
    let mut addition = Addition {
        id,
        flags: ADD_AND_SEND,
        source: descriptor.as_raw_fd() as u32,
        target: 0,
        target_flags: if close_on_exec {
            libc::O_CLOEXEC as u32
        } else {
            0
        },
    };
    match add(listener, &addition) {
        Err(Errno(libc::EINVAL)) => {
            (addition.flags, addition.target) = match *left {
                Some(number) => (ADD_AT_NUMBER, number),
                None => (0, 0),
            };
            let number = add(listener, &addition)?;
            *left = Some(number as u32);
            between();
            answer_value(listener, id, number)?;
            *left = None;
            Ok(number)
        }
        other => other,
    }
}

fn add(listener: BorrowedFd<'_>, addition: &Addition) -> Result<i64> {
    loop {
        // SAFETY: the kernel reads one structure of the size in the request's number.
        let result =
            unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_ADD_DESCRIPTOR as _, addition) };
        match check(result.into()) {
            Err(Errno(libc::EINTR)) => {}
            other => return other,
        }
    }
}

/// Makes the call return this, without making it.
pub(crate) fn answer_value(listener: BorrowedFd<'_>, id: u64, value: i64) -> Result<()> {
    send(
        listener,
        Response {
            id,
            value,
            error: 0,
            flags: 0,
        },
    )
}

/// Refuses the call with a positive errno.
pub(crate) fn answer_errno(listener: BorrowedFd<'_>, id: u64, errno: i32) -> Result<()> {
    send(
        listener,
        Response {
            id,
            value: 0,
            error: -errno,
            flags: 0,
        },
    )
}

/// An answer that does not arrive leaves its thread waiting for ever, so it is sent until the
/// kernel has taken it or knows of nobody who waits for it.
fn send(listener: BorrowedFd<'_>, response: Response) -> Result<()> {
    loop {
        // SAFETY: the kernel reads one response.
        let result = unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_SEND as _, &response) };
        match check(result.into()) {
            Ok(_) => return Ok(()),
            Err(Errno(libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the notification still waits: what was read from its thread's memory before
/// belongs to that thread, and not to one that got its id later.
pub(crate) fn is_valid(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads one u64.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_ID_VALID as _, &id) }.into()).is_ok()
}

/// Whether a listener can be asked at all: a sandbox may refuse ioctl(2), or know these requests
/// of it for none of its own.
pub(crate) fn can_ask(listener: BorrowedFd<'_>) -> Result<()> {
    const NOBODY: u64 = 0;
    // SAFETY: the kernel reads one u64.
    let asked = unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_ID_VALID as _, &NOBODY) };
    match check(asked.into()) {
        // EINVAL: Linux before 5.7 has another number for this request, and the same for the others.
        Ok(_) | Err(Errno(libc::ENOENT | libc::EINVAL)) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Asks for wake-ups on the waker's processor from now on, or for those that the scheduler thinks
/// best (Linux 6.6). False where the kernel knows no such choice.
pub(crate) fn wake_here(listener: BorrowedFd<'_>, here: bool) -> bool {
    let flags = if here { SYNC_WAKE_UP } else { 0 };
    // SAFETY: the argument is a plain value.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_SET_FLAGS as _, flags) };
    result == 0
}
