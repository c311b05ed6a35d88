//! What a container in quarantine may not do: reach anybody over a network anew.
//!
//! Judged by what the kernel knows of the socket, not by an address in memory, which another
//! thread could change before the kernel reads it. Connections that are there stay.

use std::os::fd::AsFd;

use super::network::{self, take};
use super::traffic::MSG_FASTOPEN;
use super::{Call, Verdict};
use crate::sys::socket as sockets;
use crate::taking;

/// Calls that reach out, by name, and what is asked of each.
const CALLS: [&str; 6] = [
    "connect",
    "bind",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "socketcall",
];

/// Whether a call can reach out at all.
pub(crate) fn concerns(call: &str) -> bool {
    CALLS.contains(&call)
}

/// Whether a call is refused.
pub(crate) fn refuses(call: &Call<'_>, name: &str) -> bool {
    match name {
        "connect" | "bind" => is_network(call, call.int(0), Some((call.address(1), call.word(2)))),
        // The filter stops only for those with an address, or where more is wanted of it.
        "sendto" => {
            let address = (call.address(4), call.word(5));
            sends(call, call.int(0), Some(address), call.word(3))
        }
        "sendmsg" => sends(call, call.int(0), None, call.word(2)),
        "sendmmsg" => sends(call, call.int(0), None, call.word(3)),
        "socketcall" => by_socketcall(call),
        _ => false,
    }
}

/// Sends open a way where they need no connection before: datagrams, and TCP's fast open.
/// Without an address of its own a `sendto` goes where a connection goes already.
fn sends(call: &Call<'_>, descriptor: i32, address: Option<(u64, u32)>, flags: u32) -> bool {
    if address.is_some_and(|(at, _)| at == 0) {
        return false;
    }
    let opens_a_way = flags & MSG_FASTOPEN != 0 || !is_stream(call, descriptor);
    opens_a_way && is_network(call, descriptor, address)
}

fn is_stream(call: &Call<'_>, descriptor: i32) -> bool {
    let kind =
        take(call, descriptor).and_then(|socket| sockets::option(socket.as_fd(), libc::SO_TYPE));
    kind == Ok(libc::SOCK_STREAM)
}

/// Whether a socket reaches beyond this machine's own processes. Where the socket may not be
/// looked at, its address tells.
fn is_network(call: &Call<'_>, descriptor: i32, address: Option<(u64, u32)>) -> bool {
    let domain =
        take(call, descriptor).and_then(|socket| sockets::option(socket.as_fd(), libc::SO_DOMAIN));
    match (domain, address) {
        (Ok(domain), _) => !matches!(domain, libc::AF_UNIX | libc::AF_NETLINK),
        (Err(taking::ANOTHER), _) => true,
        (Err(_), Some((at, length))) => {
            let family = network::family(call, at, length);
            !matches!(
                family.map(i32::from),
                Some(libc::AF_UNIX | libc::AF_NETLINK) | None
            )
        }
        (Err(_), None) => true,
    }
}

/// i386's one call for all: its arguments stand in memory, so a thread could change them; what
/// matters of them is asked of the socket.
fn by_socketcall(call: &Call<'_>) -> bool {
    let mut bytes = [0u8; 24];
    let count = match call.word(0) {
        2 | 3 | 16 => 3, // bind, connect, sendmsg
        11 => 6,         // sendto
        20 => 4,         // sendmmsg
        _ => return false,
    };
    if call.read(call.address(1), &mut bytes[..4 * count]).is_err() {
        return false; // nor can the kernel
    }
    let word =
        |at: usize| u32::from_ne_bytes(bytes[4 * at..4 * at + 4].try_into().unwrap_or([0; 4]));
    let descriptor = word(0) as i32;
    match call.word(0) {
        2 | 3 => is_network(call, descriptor, Some((word(1).into(), word(2)))),
        11 => sends(call, descriptor, Some((word(4).into(), word(5))), word(3)),
        16 => sends(call, descriptor, None, word(2)),
        _ => sends(call, descriptor, None, word(3)),
    }
}

/// What is refused, and the event that tells of it, if the decoder found one.
pub(crate) fn refusal(decoded: Verdict) -> Verdict {
    let event = match decoded {
        Verdict::Watch(kind, _) => Some(kind),
        Verdict::Tell(events, _) => events.into_iter().next(),
        // It is refused already, for a reason of its own.
        refused @ Verdict::Refuse { .. } => return refused,
        _ => None,
    };
    Verdict::Refuse {
        errno: libc::EPERM,
        event,
        tampering: false,
    }
}
