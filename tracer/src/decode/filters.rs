//! seccomp filters that a program gives itself.

use picket_events::EventKind;

use super::{Call, Verdict};

/// `SECCOMP_SET_MODE_FILTER`, an operation of `seccomp`.
pub(crate) const SET_MODE_FILTER: u32 = 1;
/// `PR_SET_SECCOMP`, an option of `prctl`.
pub(crate) const PR_SET_SECCOMP: u32 = 22;

/// Whether a call of this name gives the caller a seccomp filter of its own.
pub(crate) fn adds_filter(call: &Call<'_>, name: &str) -> bool {
    match name {
        "seccomp" => call.word(0) == SET_MODE_FILTER,
        "prctl" => call.word(0) == PR_SET_SECCOMP,
        _ => false,
    }
}

fn refused(argument: u64, errno: i32) -> Verdict {
    Verdict::Refuse {
        errno,
        event: Some(EventKind::Prctl {
            option: PR_SET_SECCOMP,
            argument,
            name: String::new(),
        }),
        tampering: false,
    }
}

/// `seccomp(SECCOMP_SET_MODE_FILTER)`. With `SECCOMP_FILTER_FLAG_NEW_LISTENER`: under the ptrace engine
/// a listener of the application's own could let calls run behind our back. It gets what the
/// kernel answers where there is a listener already, which under the other engine there is.
pub(crate) fn seccomp(call: &Call<'_>) -> Verdict {
    const NEW_LISTENER: u32 = 8;
    let flags = call.word(1);
    match call.word(0) {
        SET_MODE_FILTER if flags & NEW_LISTENER != 0 => refused(flags.into(), libc::EBUSY),
        SET_MODE_FILTER if asks_a_tracer(call) => refused(flags.into(), libc::EINVAL),
        _ => Verdict::Pass,
    }
}

/// The same of `prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER)`; `None` for any other that is let through.
pub(super) fn by_prctl(call: &Call<'_>) -> Option<Verdict> {
    const MODE_FILTER: u32 = 2;
    let is_filter = call.word(0) == PR_SET_SECCOMP && call.word(1) == MODE_FILTER;
    (is_filter && asks_a_tracer(call)).then(|| refused(MODE_FILTER.into(), libc::EINVAL))
}

/// Whether a filter has a tracer of the program's own asked about calls (`SECCOMP_RET_TRACE`), as
/// `strace --seccomp-bpf`, proot and rr have it. The kernel asks us in its place, and lets run what we
/// let run: it would see none of the calls that we stop for, and a sandbox that is made so would not
/// hold. Those who cannot have such a filter have another way, or go no further.
fn asks_a_tracer(call: &Call<'_>) -> bool {
    /// `BPF_MAXINSNS`.
    const LENGTH_MAX: u16 = 4096;
    /// Size of `struct sock_filter`.
    const INSTRUCTION: usize = 8;
    let size = call.abi.pointer_size();
    // `struct sock_fprog`: how many there are, and where.
    let mut program = [0u8; 16];
    let program = &mut program[..2 * size];
    if call.read(call.address(2), program).is_err() {
        return false;
    }
    let length = u16::from_le_bytes([program[0], program[1]]).min(LENGTH_MAX);
    let mut at = [0u8; 8];
    at[..size].copy_from_slice(&program[size..]);
    let mut code = vec![0; usize::from(length) * INSTRUCTION];
    let is_read = call.read(u64::from_le_bytes(at), &mut code).is_ok();
    is_read && code.chunks_exact(INSTRUCTION).any(has_a_tracer_asked)
}

fn has_a_tracer_asked(instruction: &[u8]) -> bool {
    /// `BPF_RET | BPF_K`.
    const RETURN: [u8; 2] = [0x06, 0];
    /// The upper half of `SECCOMP_RET_TRACE`; the lower is for the tracer.
    const TRACE: [u8; 2] = [0xf0, 0x7f];
    instruction[..2] == RETURN && instruction[6..] == TRACE
}
