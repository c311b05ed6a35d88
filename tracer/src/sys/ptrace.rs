//! `ptrace(2)`: what confirming an exec takes, and what the ptrace engine takes.

use super::seccomp::Data;
use super::{Errno, Result, check};

const SET_OPTIONS: libc::c_int = 0x4200;
const GET_EVENT_MESSAGE: libc::c_int = 0x4201;
const GET_SIGNAL_INFO: libc::c_int = 0x4202;
const SET_SIGNAL_INFO: libc::c_int = 0x4203;
const SEIZE: libc::c_int = 0x4206;
const INTERRUPT: libc::c_int = 0x4207;
const LISTEN: libc::c_int = 0x4208;
const GET_SYSCALL_INFO: libc::c_int = 0x420e;
const CONTINUE: libc::c_int = 7;
const DETACH: libc::c_int = 17;
const TO_SYSCALL: libc::c_int = 24;

/// Be told of a successful exec.
pub(crate) const OPTION_EXEC: usize = 1 << 4;

/// What the ptrace engine is told of: calls that the filter picks, their returns, new
/// processes and threads, which are traced from their first instruction, and execs.
pub(crate) const FOLLOW: usize =
    OPTION_SECCOMP | OPTION_MARK_SYSCALLS | OPTION_FORK | OPTION_VFORK | OPTION_CLONE | OPTION_EXEC;

/// Mark stops at calls apart from signals.
pub(crate) const OPTION_MARK_SYSCALLS: usize = 1;
const OPTION_FORK: usize = 1 << 1;
const OPTION_VFORK: usize = 1 << 2;
/// Be told of new threads, and attach to them.
pub(crate) const OPTION_CLONE: usize = 1 << 3;
const OPTION_SECCOMP: usize = 1 << 7;

fn request(request: libc::c_int, tid: u32, data: usize) -> Result<()> {
    // SAFETY: only requests that take plain values are passed.
    check(unsafe { libc::syscall(libc::SYS_ptrace, request, tid, 0, data) })?;
    Ok(())
}

/// The registers of a tracee that has stopped, and how many of their bytes there are: fewer of a
/// 32-bit program's.
fn registers(tid: u32) -> Result<([u64; 34], usize)> {
    const GENERAL: usize = 1; // NT_PRSTATUS
    const GET_REGISTERS: libc::c_int = 0x4204;
    let mut general = [0u64; 34];
    let mut area = libc::iovec {
        iov_base: general.as_mut_ptr().cast(),
        iov_len: size_of_val(&general),
    };
    // SAFETY: the kernel writes at most the length given, and puts in what it wrote.
    check(unsafe { libc::syscall(libc::SYS_ptrace, GET_REGISTERS, tid, GENERAL, &raw mut area) })?;
    Ok((general, area.iov_len))
}

/// The call in which a tracee that has stopped for a signal was interrupted, and which it makes again
/// where nothing handles the signal. `None` also for 32-bit programs.
#[cfg(target_arch = "x86_64")]
pub(crate) fn interrupted(tid: u32) -> Option<Data> {
    /// Of `struct user_regs_struct`.
    const COUNT: usize = 27;
    /// `ERESTARTSYS`: by this the kernel says to itself that a call was interrupted.
    const INTERRUPTED: u64 = -512i64 as u64;
    let (registers, length) = registers(tid).ok()?;
    let [
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        r10,
        r9,
        r8,
        rax,
        _,
        rdx,
        rsi,
        rdi,
        number,
        rip,
        ..,
    ] = registers;
    let is_one = length == COUNT * size_of::<u64>() && rax == INTERRUPTED;
    is_one.then_some(Data {
        number: number as i32,
        arch: crate::table::Abi::NATIVE[0].arch(),
        instruction_pointer: rip,
        args: [rdi, rsi, rdx, r10, r8, r9],
    })
}

/// `ERESTARTNOINTR`: the call is made again whatever handles the signal.
#[cfg(target_arch = "x86_64")]
const MADE_AGAIN: i64 = -513;

/// Has a tracee make the call in which it was [`interrupted`] again after the signal's handler, and not
/// give EINTR where that lacks `SA_RESTART`; false where it cannot be had.
#[cfg(target_arch = "x86_64")]
pub(crate) fn is_made_again_after(tid: u32) -> bool {
    poke(tid, RAX, MADE_AGAIN).is_ok()
}

/// Has a tracee make the call in which it was [`interrupted`] again after the signal's handler, and not
/// give EINTR where that lacks `SA_RESTART`. It cannot be had: the kernel has decided before the stop.
#[cfg(target_arch = "aarch64")]
pub(crate) fn is_made_again_after(_tid: u32) -> bool {
    false
}

/// The call in which a tracee that has stopped for a signal was interrupted, and which it makes again
/// where nothing handles the signal: the kernel has set it back before its instruction then. Also one
/// that it was just about to make. `None` for 32-bit programs.
#[cfg(target_arch = "aarch64")]
pub(crate) fn interrupted(tid: u32) -> Option<Data> {
    const PEEK_TEXT: libc::c_int = 1;
    /// `svc #0`.
    const CALL: u32 = 0xd400_0001;
    let (registers, length) = registers(tid).ok()?;
    let (number, counter) = (registers[8], registers[32]);
    let mut word = 0u64;
    // SAFETY: the kernel writes one word.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, PEEK_TEXT, tid, counter, &raw mut word) };
    let is_one = length == size_of_val(&registers) && check(result).is_ok() && word as u32 == CALL;
    let [x0, x1, x2, x3, x4, x5, ..] = registers;
    is_one.then_some(Data {
        number: number as i32,
        arch: crate::table::Abi::NATIVE[0].arch(),
        // As the filter has it: where the call returns to.
        instruction_pointer: counter + CALL_LENGTH,
        args: [x0, x1, x2, x3, x4, x5],
    })
}

/// Has a tracee go on as if the call in which it was [`interrupted`] had returned this, and was not
/// to be made again.
#[cfg(target_arch = "aarch64")]
pub(crate) fn set_returned(tid: u32, value: i64) -> Result<()> {
    const GENERAL: usize = 1; // NT_PRSTATUS
    let (mut general, length) = registers(tid)?;
    general[0] = value as u64;
    general[32] += CALL_LENGTH;
    set_registers(tid, GENERAL, general.as_mut_ptr().cast(), length)
}

/// Bytes of the instruction that makes a call.
#[cfg(target_arch = "aarch64")]
const CALL_LENGTH: u64 = 4;

/// Has a stopped tracee be told of other things from now on.
pub(crate) fn set_options(tid: u32, options: usize) -> Result<()> {
    request(SET_OPTIONS, tid, options)
}

/// Attaches without stopping.
pub(crate) fn seize(tid: u32, options: usize) -> Result<()> {
    request(SEIZE, tid, options)
}

/// Lets a stopped tracee go, delivering `signal` (0 for none).
pub(crate) fn detach(tid: u32, signal: i32) -> Result<()> {
    request(DETACH, tid, signal as usize)
}

/// Lets a stopped tracee run on, delivering `signal` (0 for none).
pub(crate) fn resume(tid: u32, signal: i32) -> Result<()> {
    request(CONTINUE, tid, signal as usize)
}

/// Lets a stopped tracee run on until its present call returns.
pub(crate) fn resume_to_return(tid: u32) -> Result<()> {
    request(TO_SYSCALL, tid, 0)
}

/// Lets a stopped tracee run on until its next call, or the return of its present one,
/// delivering `signal` (0 for none).
pub(crate) fn resume_to_call(tid: u32, signal: i32) -> Result<()> {
    request(TO_SYSCALL, tid, signal as usize)
}

/// Stops a tracee that was seized, before it goes on in its program.
pub(crate) fn interrupt(tid: u32) -> Result<()> {
    request(INTERRUPT, tid, 0)
}

/// Leaves a tracee in its group's stop, until the group is continued.
pub(crate) fn stay_stopped(tid: u32) -> Result<()> {
    request(LISTEN, tid, 0)
}

/// What came with the present event: the new process, or the former id of an exec's thread.
pub(crate) fn event_message(tid: u32) -> Result<u32> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the kernel writes one unsigned long.
    check(unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            GET_EVENT_MESSAGE,
            tid,
            0,
            &raw mut message,
        )
    })?;
    Ok(message as u32)
}

/// What comes with a signal (`siginfo_t`, which has no other parts than its 128 bytes for us).
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignalInfo([i32; 32]);

impl SignalInfo {
    /// Signal number.
    pub(crate) fn signal(&self) -> i32 {
        self.0[0]
    }
}

/// What comes with the signal that a tracee has stopped for.
pub(crate) fn signal_info(tid: u32) -> Result<SignalInfo> {
    let mut info = SignalInfo([0; 32]);
    // SAFETY: the kernel writes one siginfo_t, which is as large.
    check(unsafe { libc::syscall(libc::SYS_ptrace, GET_SIGNAL_INFO, tid, 0, &raw mut info) })?;
    Ok(info)
}

/// Has the signal that a tracee has stopped for come with this.
pub(crate) fn set_signal_info(tid: u32, info: &SignalInfo) -> Result<()> {
    let info: *const SignalInfo = info;
    // SAFETY: the kernel reads one siginfo_t, which is as large.
    check(unsafe { libc::syscall(libc::SYS_ptrace, SET_SIGNAL_INFO, tid, 0, info) })?;
    Ok(())
}

/// `struct ptrace_syscall_info`.
#[repr(C)]
#[derive(Default)]
struct SyscallInfo {
    operation: u8,
    padding: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    fields: [u64; 8],
}

/// What `SyscallInfo` is about: a call that is entered, one that has returned, one that the
/// filter picked.
const ENTRY: u8 = 1;
const EXIT: u8 = 2;
const SECCOMP: u8 = 3;

fn any_syscall_info(tid: u32) -> Result<SyscallInfo> {
    let mut info = SyscallInfo::default();
    let size = size_of::<SyscallInfo>();
    // SAFETY: the kernel writes at most `size` bytes.
    check(unsafe { libc::syscall(libc::SYS_ptrace, GET_SYSCALL_INFO, tid, size, &raw mut info) })?;
    Ok(info)
}

fn syscall_info(tid: u32, operation: u8) -> Result<SyscallInfo> {
    let info = any_syscall_info(tid)?;
    if info.operation != operation {
        return Err(Errno(libc::EINVAL));
    }
    Ok(info)
}

fn data_of(info: &SyscallInfo) -> Data {
    let [number, args @ ..] = info.fields;
    Data {
        number: number as i32,
        arch: info.arch,
        instruction_pointer: info.instruction_pointer,
        args: [args[0], args[1], args[2], args[3], args[4], args[5]],
    }
}

/// The call that a tracee stopped at is about to make; `None` where it has returned.
pub(crate) fn entered(tid: u32) -> Result<Option<Data>> {
    let info = any_syscall_info(tid)?;
    Ok((info.operation == ENTRY).then(|| data_of(&info)))
}

/// The call before which the filter stopped a tracee.
pub(crate) fn call(tid: u32) -> Result<Data> {
    Ok(data_of(&syscall_info(tid, SECCOMP)?))
}

/// What the call returned after which a tracee stopped; a failure is a negative errno.
pub(crate) fn returned(tid: u32) -> Result<i64> {
    Ok(syscall_info(tid, EXIT)?.fields[0] as i64)
}

/// Keeps a tracee that stopped before a call from making it: it gets `errno` instead.
#[cfg(target_arch = "x86_64")]
pub(crate) fn refuse(tid: u32, errno: i32) -> Result<()> {
    set_returned(tid, -i64::from(errno))
}

/// Has a tracee go on as if the call in which it was [`interrupted`] had returned this, and was not
/// to be made again.
#[cfg(target_arch = "x86_64")]
pub(crate) fn set_returned(tid: u32, value: i64) -> Result<()> {
    poke(tid, ORIGINAL_RAX, -1)?;
    poke(tid, RAX, value)
}

// Offsets in `struct user`, also for 32-bit programs.
#[cfg(target_arch = "x86_64")]
const RAX: usize = 10 * 8;
#[cfg(target_arch = "x86_64")]
const ORIGINAL_RAX: usize = 15 * 8;

/// Sets a register of a stopped tracee.
#[cfg(target_arch = "x86_64")]
fn poke(tid: u32, offset: usize, value: i64) -> Result<()> {
    const POKE_USER: libc::c_int = 6;
    // SAFETY: this request takes only plain values.
    check(unsafe { libc::syscall(libc::SYS_ptrace, POKE_USER, tid, offset, value) })?;
    Ok(())
}

/// Keeps a tracee that stopped before a call from making it: it gets `errno` instead.
#[cfg(target_arch = "aarch64")]
pub(crate) fn refuse(tid: u32, errno: i32) -> Result<()> {
    const GENERAL: usize = 1; // NT_PRSTATUS
    const SYSTEM_CALL: usize = 0x404; // NT_ARM_SYSTEM_CALL
    let mut number = -1i32;
    set_registers(tid, SYSTEM_CALL, (&raw mut number).cast(), size_of::<i32>())?;
    let (mut general, length) = registers(tid)?;
    let value = -i64::from(errno) as u64;
    let is_32_bit = length < size_of_val(&general);
    // The first register; of a 32-bit program's, two lie in one word.
    general[0] = if is_32_bit {
        general[0] & !u64::from(u32::MAX) | value & u64::from(u32::MAX)
    } else {
        value
    };
    set_registers(tid, GENERAL, general.as_mut_ptr().cast(), length)
}

#[cfg(target_arch = "aarch64")]
fn set_registers(tid: u32, set: usize, from: *mut libc::c_void, length: usize) -> Result<()> {
    const SET_REGISTERS: libc::c_int = 0x4205;
    let area = libc::iovec {
        iov_base: from,
        iov_len: length,
    };
    // SAFETY: the callers' memory is as long as they say, and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_ptrace, SET_REGISTERS, tid, set, &raw const area) })?;
    Ok(())
}

/// How a tracee stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A new program is about to run its first instruction.
    Exec,
    /// It has made a process or thread.
    Fork,
    /// Before a call that the filter picked.
    Call,
    /// After a call.
    Return,
    /// A signal is about to be delivered.
    Signal(i32),
    /// Its whole group stopped by this signal.
    Group(i32),
    /// It was attached to, or its group was continued.
    Trap,
}

/// Reads a ptrace stop from a wait status.
pub(crate) fn stop_of(status: i32) -> Stop {
    match (status >> 16, (status >> 8) & 0xff) {
        (1..=3, _) => Stop::Fork,
        (4, _) => Stop::Exec,
        (7, _) => Stop::Call,
        (128, libc::SIGTRAP) => Stop::Trap,
        (128, signal) => Stop::Group(signal),
        (_, signal) if signal == libc::SIGTRAP | 0x80 => Stop::Return,
        (_, signal) => Stop::Signal(signal),
    }
}
