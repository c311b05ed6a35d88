//! What a thread does between connecting a socket to a name server, sending a question, and
//! taking the answer.
//!
//! On a connected socket a question needs no address: `write` does, as in Go's own resolver; and
//! an answer can be read by any call that reads. No filter can tell such calls from all the
//! others, so the thread is followed from its connect, or from a question that the filter saw, a
//! few calls on.

use picket_events::Interest;
use picket_events::event::Dns;

use super::{Call, dns, messages};
use crate::sys::socket as sockets;

/// What a call means to whoever follows the thread.
#[derive(Debug)]
pub(crate) enum Step {
    /// It sends a question.
    Question(Box<Dns>),
    /// It sends so many where the filter looks by itself.
    AsksInSight(u32),
    /// It takes what has come, and shows it when it returns.
    Receives,
    /// It takes an answer where the filter looks by itself.
    HearsInSight,
    /// None of these, and it does not sleep for ever: the next one may.
    GoOn,
    /// It may sleep for long, or has nothing to do with asking.
    LetGo,
}

/// Judges a native call of a thread that speaks to a name server through `socket`; `has_asked`:
/// it has sent a question that was not answered.
pub(crate) fn step(
    call: &Call<'_>,
    number: i64,
    socket: i32,
    has_asked: bool,
    interest: &Interest,
) -> Step {
    let is_socket = call.int(0) == socket;
    match number {
        libc::SYS_write if is_socket => {
            question(messages::bytes(call, call.address(1), call.args[2]))
        }
        libc::SYS_writev if is_socket => question(gathered(call)),
        libc::SYS_sendto if is_socket && call.address(4) == 0 => {
            question(messages::bytes(call, call.address(1), call.args[2]))
        }
        libc::SYS_sendmsg if messages::was_told(call, interest) => Step::AsksInSight(1),
        libc::SYS_sendmsg if is_socket => question(messages::message_bytes(call, call.address(1))),
        libc::SYS_sendto => Step::AsksInSight(1),
        libc::SYS_sendmmsg => Step::AsksInSight(call.word(2).min(8)),
        libc::SYS_recvfrom if is_socket && has_asked && call.address(4) != 0 => Step::HearsInSight,
        libc::SYS_read | libc::SYS_readv | libc::SYS_recvfrom | libc::SYS_recvmsg
            if is_socket && has_asked =>
        {
            Step::Receives
        }
        libc::SYS_close if is_socket => Step::LetGo,
        libc::SYS_futex if is_wake(call.word(1)) => Step::GoOn,
        // A runtime's own pipe or counter, by which its threads wake each other.
        libc::SYS_read if has_asked && call.args[2] <= 16 => Step::GoOn,
        _ if looks_only(call, number) || PASSING.contains(&number) => Step::GoOn,
        _ if has_asked && waits_for_a_while(call, number) => Step::GoOn,
        _ => Step::LetGo,
    }
}

/// The answer that a call which has returned `length` took, if it is one.
pub(crate) fn answer(call: &Call<'_>, number: i64, length: u64) -> Option<Box<Dns>> {
    let bytes = match number {
        libc::SYS_read | libc::SYS_recvfrom => messages::bytes(call, call.address(1), length),
        libc::SYS_readv => gathered(call),
        libc::SYS_recvmsg => {
            let (sender, bytes) = messages::received(call, call.address(1), length)?;
            // A socket that is not connected gets from anybody.
            let port = sockets::ip_of(&sender).map(|(_, port)| port);
            (sender.is_empty() || port == Some(dns::PORT)).then_some(bytes)
        }
        _ => None,
    };
    let dns = bytes.and_then(|bytes| dns::decode(&bytes))?;
    dns.response_code.is_some().then(|| Box::new(dns))
}

/// What stands in the vectors of `readv` or `writev`.
fn gathered(call: &Call<'_>) -> Option<Vec<u8>> {
    messages::gathered(call, call.address(1), call.args[2], dns::MESSAGE_MAX)
}

fn question(bytes: Option<Vec<u8>>) -> Step {
    let dns = bytes.and_then(|bytes| dns::decode(&bytes));
    match dns.filter(|dns| dns.response_code.is_none()) {
        Some(dns) => Step::Question(Box::new(dns)),
        None => Step::LetGo,
    }
}

/// `FUTEX_WAKE`, private or not.
pub(super) fn is_wake(operation: u32) -> bool {
    operation & 0x7f == 1
}

/// A `poll` that does not wait.
#[cfg(target_arch = "x86_64")]
fn looks_only(call: &Call<'_>, number: i64) -> bool {
    number == libc::SYS_poll && call.int(2) == 0
}

/// A `poll` that does not wait; here it is made with `ppoll`, whose limit stands in memory.
#[cfg(target_arch = "aarch64")]
fn looks_only(call: &Call<'_>, number: i64) -> bool {
    let mut limit = [1u8; 16];
    number == libc::SYS_ppoll
        && call.address(2) != 0
        && call.read(call.address(2), &mut limit).is_ok()
        && limit == [0; 16]
}

/// A wait that ends by itself.
fn waits_for_a_while(call: &Call<'_>, number: i64) -> bool {
    #[cfg(target_arch = "x86_64")]
    match number {
        libc::SYS_poll => return call.int(2) >= 0,
        libc::SYS_epoll_wait => return call.int(3) >= 0,
        libc::SYS_select => return call.address(4) != 0,
        _ => {}
    }
    match number {
        libc::SYS_ppoll => call.address(2) != 0,
        libc::SYS_epoll_pwait => call.int(3) >= 0,
        libc::SYS_pselect6 => call.address(4) != 0,
        _ => false,
    }
}

/// Calls that come between, and do not sleep for long.
const PASSING: &[i64] = &[
    libc::SYS_connect,
    libc::SYS_socket,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_write, // to another descriptor: a runtime wakes its own threads so
    libc::SYS_close,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    libc::SYS_brk,
    libc::SYS_clone,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_timer_settime,
];
