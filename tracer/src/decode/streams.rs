//! What a thread does between connecting a stream to a name server or a metadata service and
//! sending a question or request there.
//!
//! On a stream these are sent with calls that no filter can tell from all the others, such as
//! `write`: by Go, Node.js, JVMs, wget and shells. So the thread is followed from its connect.

use picket_events::{EventKind, EventType, Interest};

use super::{Call, asking, messages, metadata, traffic};

/// What a call means to whoever follows the thread.
#[derive(Debug)]
pub(crate) enum Step {
    /// It sends a question or a request.
    Sends(Box<EventKind>),
    /// The next call may.
    GoOn,
    /// It waits for something else, for however long, or is the last one.
    LetGo,
}

/// Judges a native call of a thread that has connected `socket`, a stream.
pub(crate) fn step(call: &Call<'_>, number: i64, socket: i32, interest: &Interest) -> Step {
    let is_socket = call.int(0) == socket;
    match number {
        libc::SYS_close if is_socket => Step::LetGo,
        libc::SYS_futex if waits_for_ever(call) => Step::LetGo,
        // An answer, or by what the threads of a runtime wake each other. Anything else may
        // never come.
        libc::SYS_read | libc::SYS_readv | libc::SYS_recvfrom | libc::SYS_recvmsg
            if !is_socket && call.args[2] > 16 =>
        {
            Step::LetGo
        }
        _ if WAITING.contains(&number) => Step::LetGo,
        _ => match sent(call, number, interest) {
            Some(kind) => Step::Sends(Box::new(kind)),
            None => Step::GoOn,
        },
    }
}

/// The question or request that a native call sends on a connected socket, if it is one, and not
/// one that the filter stops for.
pub(crate) fn sent(call: &Call<'_>, number: i64, interest: &Interest) -> Option<EventKind> {
    let bytes = match number {
        libc::SYS_write => written(call, call.address(1), call.args[2]),
        libc::SYS_writev => {
            messages::gathered(call, call.address(1), call.args[2], metadata::HEAD_MAX)
        }
        libc::SYS_sendto if call.address(4) == 0 => written(call, call.address(1), call.args[2]),
        libc::SYS_sendmsg if messages::was_told(call, interest) => None,
        libc::SYS_sendmsg => messages::message_bytes(call, call.address(1)),
        _ => None,
    }?;
    // What is sent in these two ways the filter has stopped for, where requests are of interest.
    let is_in_sight = matches!(number, libc::SYS_sendto | libc::SYS_sendmsg);
    let request = (!is_in_sight && interest.contains(EventType::Imds))
        .then(|| traffic::request_of(call, call.int(0), &bytes));
    request.flatten().or_else(|| {
        let is_wanted = interest.contains(EventType::Dns);
        let question = is_wanted.then(|| {
            let on_stream = traffic::question_of(call, call.int(0), &bytes);
            on_stream.or_else(|| traffic::datagram_of(call, call.int(0), &bytes))
        });
        question.flatten()
    })
}

fn written(call: &Call<'_>, at: u64, length: u64) -> Option<Vec<u8>> {
    messages::first_bytes(call, at, length, metadata::HEAD_MAX)
}

/// A wait for another thread, without a limit.
fn waits_for_ever(call: &Call<'_>) -> bool {
    !asking::is_wake(call.word(1)) && call.address(3) == 0
}

/// Calls that wait for somebody else without a limit, and those after which there is no more to
/// see.
const WAITING: &[i64] = &[
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_flock,
    libc::SYS_msgrcv,
    libc::SYS_semtimedop,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
