//! Sockets.

use std::os::fd::{AsFd, OwnedFd};

use picket_events::{Address, EventKind, Protocol};

use super::{Call, Verdict, accepting, traffic};
use crate::confirm::Check;
use crate::sys::{Errno, Result, socket as sockets};
use crate::taking;

/// Longest socket address (`struct sockaddr_storage`).
pub(super) const ADDRESS_MAX: usize = 128;
const TYPE_MASK: u32 = 0xf;

pub(crate) fn socket(call: &Call<'_>) -> Verdict {
    let kind = EventKind::Socket {
        domain: call.word(0),
        socket_type: call.word(1) & TYPE_MASK,
        protocol: call.word(2),
    };
    Verdict::Watch(kind, Check::Nothing)
}

/// A copy of one of the caller's sockets. Some sandboxes refuse it; then what only the socket
/// itself knows stays unknown.
pub(super) fn take(call: &Call<'_>, descriptor: i32) -> Result<OwnedFd> {
    let pidfd = call.process.pidfd.as_ref().map(AsFd::as_fd);
    taking::take(&call.view(), pidfd, descriptor)
}

fn protocol_of(call: &Call<'_>, descriptor: i32) -> Protocol {
    let protocol = take(call, descriptor)
        .and_then(|socket| sockets::option(socket.as_fd(), libc::SO_PROTOCOL));
    protocol.map_or(Protocol::UNKNOWN, |protocol| Protocol(protocol as u16))
}

/// Decodes a socket address that the caller passed.
fn address(call: &Call<'_>, at: u64, length: u32) -> Address {
    let mut buffer = [0u8; ADDRESS_MAX];
    let length = (length as usize).min(ADDRESS_MAX);
    if length < 2 || call.read(at, &mut buffer[..length]).is_err() {
        return Address::Unreadable;
    }
    decode_address(call, &buffer[..length])
}

/// An address that has no path to be resolved in the caller's view.
pub(crate) fn plain_address(raw: &[u8]) -> Option<Address> {
    if let Some((ip, port)) = sockets::ip_of(raw) {
        return Some(Address::Ip { ip, port });
    }
    let family = u16::from_ne_bytes(raw.get(..2)?.try_into().ok()?);
    Some(match &raw[2..] {
        [0, name @ ..] if i32::from(family) == libc::AF_UNIX => {
            Address::UnixAbstract(picket_events::text::from_bytes(name))
        }
        [first, ..] if i32::from(family) == libc::AF_UNIX && *first != 0 => {
            let path = raw[2..].split(|byte| *byte == 0).next().unwrap_or_default();
            Address::UnixPath(picket_events::text::from_bytes(path))
        }
        _ => Address::Other { family },
    })
}

fn decode_address(call: &Call<'_>, raw: &[u8]) -> Address {
    if let Some((ip, port)) = sockets::ip_of(raw) {
        return Address::Ip { ip, port };
    }
    let family = u16::from_ne_bytes([raw[0], raw[1]]);
    if i32::from(family) != libc::AF_UNIX {
        return Address::Other { family };
    }
    match &raw[2..] {
        [0, name @ ..] => Address::UnixAbstract(picket_events::text::from_bytes(name)),
        path => {
            let end = path
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(path.len());
            if end == 0 {
                return Address::Other { family };
            }
            let at = call.locate(libc::AT_FDCWD, path[..end].to_vec(), true);
            let (file, _) = call.look(&at);
            let written = || picket_events::text::from_bytes(&path[..end]);
            Address::UnixPath(if file.path.is_empty() {
                written()
            } else {
                file.path
            })
        }
    }
}

/// The family of an address that the caller passed.
pub(super) fn family(call: &Call<'_>, at: u64, length: u32) -> Option<u16> {
    let mut family = [0u8; 2];
    let is_there = length >= 2 && call.read(at, &mut family).is_ok();
    is_there.then(|| u16::from_ne_bytes(family))
}

fn bind_to(call: &Call<'_>, descriptor: i32, at: u64, length: u32) -> Verdict {
    let address = address(call, at, length);
    let kind = EventKind::Bind {
        address,
        protocol: protocol_of(call, descriptor),
    };
    Verdict::Watch(kind, Check::Nothing)
}

pub(crate) fn bind(call: &Call<'_>) -> Verdict {
    bind_to(call, call.int(0), call.address(1), call.word(2))
}

fn listen_on(call: &Call<'_>, descriptor: i32) -> Verdict {
    let local = take(call, descriptor)
        .and_then(|socket| sockets::address(socket.as_fd(), sockets::End::Local))
        .ok()
        .filter(|raw| raw.len() >= 2)
        .map(|raw| decode_address(call, &raw));
    Verdict::Watch(EventKind::Listen { address: local }, Check::Nothing)
}

pub(crate) fn listen(call: &Call<'_>) -> Verdict {
    listen_on(call, call.int(0))
}

pub(super) fn connect_to(call: &Call<'_>, descriptor: i32, at: u64, length: u32) -> Verdict {
    let address = address(call, at, length);
    if let Address::UnixPath(path) = &address
        && is_agents_socket(call, path)
    {
        return Verdict::tampering();
    }
    let socket = take(call, descriptor);
    let socket = socket.as_ref().ok().map(AsFd::as_fd);
    let protocol = match address.family() {
        1 => Protocol::UNKNOWN,
        _ => socket
            .and_then(|socket| sockets::option(socket, libc::SO_PROTOCOL).ok())
            .map_or(Protocol::UNKNOWN, |protocol| Protocol(protocol as u16)),
    };
    let before = socket.and_then(|socket| sockets::address(socket, sockets::End::Peer).ok());
    Verdict::Watch(
        EventKind::Connect { address, protocol },
        Check::Connected {
            descriptor,
            cookie: socket.and_then(|socket| sockets::cookie(socket).ok()),
            before,
        },
    )
}

/// Whether a path leads to the agent's socket, by whatever name or mount.
fn is_agents_socket(call: &Call<'_>, path: &str) -> bool {
    let own = call.own;
    if own.socket.is_empty() {
        return false;
    }
    let is_it = || {
        let theirs = call.view().metadata(path.as_bytes(), true).ok()?;
        let mut ours = own.socket_file.into_iter().chain(own.socket_now());
        ours.find(|ours| ours.same_file(&theirs))
    };
    path.as_bytes() == own.socket || is_it().is_some()
}

pub(crate) fn connect(call: &Call<'_>) -> Verdict {
    connect_to(call, call.int(0), call.address(1), call.word(2))
}

fn set_option(call: &Call<'_>, descriptor: i32, level: u32, option: u32) -> Verdict {
    let socket = take(call, descriptor);
    let number = |name: i32| {
        let value = socket
            .as_ref()
            .ok()
            .and_then(|s| sockets::option(s.as_fd(), name).ok());
        value.unwrap_or(0) as u32
    };
    let kind = EventKind::SetSockOpt {
        level,
        option,
        family: number(libc::SO_DOMAIN),
        socket_type: number(libc::SO_TYPE),
        protocol: number(libc::SO_PROTOCOL),
    };
    Verdict::Watch(kind, Check::Nothing)
}

pub(crate) fn setsockopt(call: &Call<'_>) -> Verdict {
    set_option(call, call.int(0), call.word(1), call.word(2))
}

/// i386's one call for all socket calls: the arguments stand in memory.
pub(crate) fn socketcall(call: &Call<'_>) -> Verdict {
    // As many words as each call has arguments (net/socket.c).
    let count = match call.word(0) {
        11 | 12 => 6,
        14 => 5,
        18 | 20 => 4,
        _ => 3,
    };
    let mut bytes = [0u8; 24];
    if call.read(call.address(1), &mut bytes[..4 * count]).is_err() {
        return Verdict::Pass;
    }
    let word = |at: usize| {
        u32::from_le_bytes([
            bytes[4 * at],
            bytes[4 * at + 1],
            bytes[4 * at + 2],
            bytes[4 * at + 3],
        ])
    };
    let (descriptor, at) = (word(0) as i32, u64::from(word(1)));
    match call.word(0) {
        1 => {
            let kind = EventKind::Socket {
                domain: word(0),
                socket_type: word(1) & TYPE_MASK,
                protocol: word(2),
            };
            Verdict::Watch(kind, Check::Nothing)
        }
        2 => bind_to(call, descriptor, at, word(2)),
        3 => connect_to(call, descriptor, at, word(2)),
        4 => listen_on(call, descriptor),
        5 | 18 => accepting::accept_from(call, descriptor, at, word(2).into()),
        11 => {
            let arguments = [at, word(2).into(), word(4).into(), word(5).into()];
            traffic::send_to(call, descriptor, arguments, word(3))
        }
        12 if word(4) != 0 => traffic::receive(call, descriptor, at, word(2) as usize, word(3)),
        16 => traffic::send_message(call, descriptor, at, word(2)),
        20 => traffic::send_all(call, descriptor, at, (word(2), word(3))),
        14 => set_option(call, descriptor, word(1), word(2)),
        _ => Verdict::Pass,
    }
}

/// `dup2` and `dup3` onto standard input, output or error.
pub(crate) fn dup_onto(call: &Call<'_>) -> Verdict {
    becomes(call, call.int(0), call.word(1))
}

/// `dup`.
pub(crate) fn dup(call: &Call<'_>) -> Verdict {
    duplicate(call, 0)
}

/// A duplicate of the first argument, to the first number that is free from this one on: of interest
/// where that is standard input, output or error.
pub(super) fn duplicate(call: &Call<'_>, from: u32) -> Verdict {
    const STANDARD_ERROR: u32 = 2;
    let view = call.view();
    let is_free = |number: &u32| view.directory(*number as i32) == Err(Errno(libc::ENOENT));
    match (from..=STANDARD_ERROR).find(is_free) {
        Some(new) => becomes(call, call.int(0), new),
        None => Verdict::Pass,
    }
}

/// A descriptor becomes standard input, output or error.
fn becomes(call: &Call<'_>, old: i32, new: u32) -> Verdict {
    let link = call.view().directory(old).unwrap_or_default();
    let is_socket = link.starts_with(b"socket:");
    let peer = is_socket
        .then(|| take(call, old))
        .and_then(Result::ok)
        .and_then(|socket| sockets::address(socket.as_fd(), sockets::End::Peer).ok())
        .filter(|raw| raw.len() >= 2)
        .map(|raw| decode_address(call, &raw));
    Verdict::Watch(
        EventKind::Dup {
            descriptor: new,
            is_socket,
            peer,
        },
        Check::Nothing,
    )
}
