//! What connects, accepts and answers have left.

use std::os::fd::{AsFd, OwnedFd};

use picket_events::{EventKind, Outcome};

use super::{Settled, Sight};
use crate::decode::{self, accepting};
use crate::memory::Memory;
use crate::proc;
use crate::races::{self, Peer};
use crate::sys::socket;
use crate::taking;

impl Sight<'_> {
    /// The socket has a peer.
    pub(super) fn connected(
        &self,
        kind: &mut EventKind,
        descriptor: i32,
        cookie: Option<u64>,
        before: Option<&[u8]>,
    ) -> Settled {
        let is_it = |socket: &OwnedFd| socket::cookie(socket.as_fd()).ok() == cookie;
        let socket = taking::take(self.view, self.pidfd, descriptor).ok();
        let peer = socket
            .filter(is_it)
            .and_then(|socket| socket::address(socket.as_fd(), socket::End::Peer).ok());
        let peer = peer.map(|peer| races::compare_peer(kind, &peer, before));
        self.if_shown(match peer {
            Some(Peer::AsTold | Peer::Corrected) => Some(Outcome::Succeeded),
            // Another thread may have put another path there.
            Some(Peer::ByAnotherName) if races::has_threads(self.pid) => Some(Outcome::Unconfirmed),
            Some(Peer::ByAnotherName) => Some(Outcome::Succeeded),
            Some(Peer::AsBefore) | None => None,
        })
    }

    /// A connection was accepted, of which the peer shows.
    pub(super) fn accepted(
        &self,
        kind: &mut EventKind,
        room: Option<&accepting::Room>,
        before: &[i32],
        is_there: bool,
    ) -> Settled {
        let written = room.and_then(|room| room.written(self.view));
        let listening = match kind {
            EventKind::Accept { local, .. } => local.as_ref(),
            _ => None,
        };
        let accepted = written
            .map(Some)
            .or_else(|| accepting::new_socket(self.view, self.pidfd, before, listening));
        match accepted {
            Some(address) => {
                if let EventKind::Accept { peer, .. } = kind {
                    *peer = address;
                }
                Settled::Emit(Outcome::Succeeded)
            }
            // The new descriptor is one of too many, or closed again already.
            None if self.returned && is_there => Settled::Emit(Outcome::Unconfirmed),
            None if self.returned || !proc::exists(self.tid) => Settled::Drop,
            None => Settled::Wait,
        }
    }

    /// A DNS answer stands in the program's buffer, which it did not before; it `is_late` for one
    /// that is not there by now.
    pub(super) fn answered(
        &self,
        kind: &mut EventKind,
        at: u64,
        before: &[u8],
        is_late: bool,
    ) -> Settled {
        let mut now = vec![0u8; before.len()];
        let memory = Memory::passing(self.tid, self.view.credentials);
        let is_there = memory.read(at, &mut now).is_ok();
        let answer =
            decode::dns::decode(&now).filter(|dns| dns.response_code.is_some() && now != *before);
        match answer {
            Some(dns) if is_there => {
                *kind = EventKind::Dns(Box::new(dns));
                Settled::Emit(Outcome::Succeeded)
            }
            _ if self.returned || !is_there || is_late => Settled::Nothing,
            _ => Settled::Wait,
        }
    }
}
