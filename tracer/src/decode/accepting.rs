//! Connections that are accepted.

use std::os::fd::{AsFd, BorrowedFd};

use picket_events::{Address, EventKind};

use super::messages::{Span, read};
use super::network::{self, take};
use super::{Call, Verdict};
use crate::confirm::Check;
use crate::memory::Memory;
use crate::proc;
use crate::resolve::View;
use crate::sys::{Errno, poll, socket as sockets};
use crate::taking;

pub(super) fn accept_from(call: &Call<'_>, descriptor: i32, peer: u64, length: u64) -> Verdict {
    let socket = take(call, descriptor);
    let socket = socket.as_ref().ok().map(AsFd::as_fd);
    let local = socket
        .and_then(|socket| sockets::address(socket, sockets::End::Local).ok())
        .and_then(|raw| network::plain_address(&raw));
    let before = descriptors(&call.view());
    let room = Room::of(call, peer, length);
    let kind = EventKind::Accept { peer: None, local };
    let check = Check::Accepted {
        room,
        before,
        is_there: socket.is_some_and(poll::is_readable),
    };
    Verdict::Watch(kind, check)
}

/// `accept` and `accept4`.
pub(crate) fn accept(call: &Call<'_>) -> Verdict {
    accept_from(call, call.int(0), call.address(1), call.address(2))
}

/// Most descriptors among which a new one is looked for.
const DESCRIPTORS_MAX: usize = 256;

/// The descriptors of a thread, or the first of many.
pub(crate) fn descriptors(view: &View<'_>) -> Vec<i32> {
    let listed = proc::as_tracee(view.credentials, || {
        proc::descriptors(view.tid, DESCRIPTORS_MAX)
    });
    let numbers = listed.unwrap_or_default().into_iter();
    numbers.map(|number| number as i32).collect()
}

/// A socket among the descriptors that was not there before, and its peer where that is to be
/// had. `listening` is where the listener listens: another thread's new connection to somebody
/// else, or to this very listener, is none that was accepted.
pub(crate) fn new_socket(
    view: &View<'_>,
    pidfd: Option<BorrowedFd<'_>>,
    before: &[i32],
    listening: Option<&Address>,
) -> Option<Option<Address>> {
    let new = descriptors(view)
        .into_iter()
        .filter(|number| !before.contains(number));
    new.into_iter().find_map(|number| {
        let link = || proc::link(&format!("/proc/{}/fd/{number}", view.tid));
        let link = proc::as_tracee(view.credentials, link).ok()?;
        if !link.starts_with(b"socket:") {
            return None;
        }
        let ends = taking::take(view, pidfd, number).and_then(|socket| {
            let local = sockets::address(socket.as_fd(), sockets::End::Local)?;
            Ok((local, sockets::address(socket.as_fd(), sockets::End::Peer)?))
        });
        match ends {
            Ok((local, _)) if !is_from(listening, network::plain_address(&local).as_ref()) => None,
            Ok((_, raw)) => Some(network::plain_address(&raw)),
            // One that listens, or is not connected.
            Err(Errno(libc::ENOTCONN)) => None,
            Err(_) => Some(None),
        }
    })
}

/// Whether a socket with this address of its own may have come from a listener with that one.
fn is_from(listening: Option<&Address>, local: Option<&Address>) -> bool {
    match (listening, local) {
        (Some(Address::Ip { port, .. }), Some(Address::Ip { port: own, .. })) => port == own,
        (Some(Address::Ip { .. }), Some(_)) | (Some(_), Some(Address::Ip { .. })) => false,
        _ => true,
    }
}

/// Where a program has the kernel write a peer's address.
#[derive(Debug)]
pub(crate) struct Room {
    address: u64,
    length: u64,
    /// What stood there before the call.
    before: (u32, Vec<u8>),
}

impl Room {
    fn of(call: &Call<'_>, address: u64, length: u64) -> Option<Self> {
        if address == 0 {
            return None;
        }
        let mut size = [0u8; 4];
        call.read(length, &mut size).ok()?;
        let size = u32::from_ne_bytes(size);
        let span = Span {
            at: address,
            length: size as usize,
        };
        let before = (size, read(call, span, network::ADDRESS_MAX)?);
        Some(Self {
            address,
            length,
            before,
        })
    }

    /// The peer, if it stands there now. The room is mostly on the stack, so it may have been
    /// used for something else since: only what is an address by its family and its length is
    /// taken for one.
    pub(crate) fn written(&self, view: &View<'_>) -> Option<Address> {
        let memory = Memory::passing(view.tid, view.credentials);
        let mut size = [0u8; 4];
        memory.read(self.length, &mut size).ok()?;
        let size = u32::from_ne_bytes(size);
        let mut bytes = vec![0u8; self.before.1.len()];
        memory.read(self.address, &mut bytes).ok()?;
        if (size, &bytes) == (self.before.0, &self.before.1) {
            return None;
        }
        let raw = bytes.get(..size as usize)?;
        let family = u16::from_ne_bytes(raw.get(..2)?.try_into().ok()?);
        let is_address = match i32::from(family) {
            libc::AF_INET => size == 16,
            libc::AF_INET6 => size == 28,
            _ => false, // an unnamed Unix socket has nothing to show
        };
        network::plain_address(raw).filter(|_| is_address)
    }
}
