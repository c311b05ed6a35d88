//! Calls whose arguments somebody else may have changed between our look and the kernel's.
//!
//! A process with one thread cannot do so itself. With more, what is told is what the kernel shows
//! afterwards, where it shows that; else the event says that it is unconfirmed. Names on the way to a
//! file are everybody's, and another process may give them to other files in the same moment.

use std::os::unix::fs::MetadataExt;

use picket_events::{Address, EventKind};

use crate::confirm::CLOCK_TICK;
use crate::decode::network;
use crate::resolve::View;

/// Whether a process has several threads; true where that cannot be seen.
pub(crate) fn has_threads(pid: u32) -> bool {
    // The directory has a link for itself, one for its name, and one for each thread.
    std::fs::metadata(format!("/proc/{pid}/task")).map_or(true, |tasks| tasks.nlink() != 3)
}

/// Whether a name on the way that a path leads may mean something else than at a time (nanoseconds
/// since the epoch): a directory on it has got, lost or exchanged a name since then, or cannot be looked at.
pub(crate) fn is_unsteady(view: &View<'_>, path: &[u8], since: u64) -> bool {
    let mut is_unsteady = false;
    view.walk_by(path, true, |directory| {
        let directory = if directory.is_empty() {
            b"/"
        } else {
            directory
        };
        let found = view.metadata(directory, true);
        is_unsteady |= found.map_or(true, |found| found.change_time >= since);
    });
    is_unsteady
}

/// What a connected socket says of the address that a connect was told with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// It is the one.
    AsTold,
    /// It was bound by another name than was told, which may lead to it all the same.
    ByAnotherName,
    /// It was another, which stands in the event now.
    Corrected,
    /// It has the peer that it had before: of the call, nothing shows.
    AsBefore,
}

/// Compares a socket's raw peer address with the one that was told, and corrects that.
/// `before`: the peer that the socket had before the call.
pub(crate) fn compare_peer(kind: &mut EventKind, peer: &[u8], before: Option<&[u8]>) -> Peer {
    let EventKind::Connect { address, .. } = kind else {
        return Peer::AsTold;
    };
    let Some(now) = network::plain_address(peer) else {
        return Peer::AsTold;
    };
    match is_same(address, &now) {
        Some(true) => return Peer::AsTold,
        None => return Peer::ByAnotherName,
        Some(false) => {}
    }
    if before == Some(peer) {
        return Peer::AsBefore;
    }
    *address = now;
    Peer::Corrected
}

/// Whether names in the directory that a path is in have come or gone since then (nanoseconds since
/// the epoch).
pub(crate) fn has_changed(view: &View<'_>, path: &[u8], since: u64) -> bool {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let directory = slash.map(|slash| &path[..slash.max(1)]);
    let found = directory.and_then(|directory| view.metadata(directory, true).ok());
    found.is_some_and(|found| found.modification_time.saturating_add(CLOCK_TICK) >= since)
}

/// Whether a connect to the one leads to the other; `None` where the addresses do not tell.
fn is_same(told: &Address, peer: &Address) -> Option<bool> {
    let is_same = match (told, peer) {
        (
            Address::Ip { ip, port },
            Address::Ip {
                ip: now,
                port: there,
            },
        ) => {
            let (ip, now) = (ip.to_canonical(), now.to_canonical());
            // The unspecified address means this machine.
            port == there && (ip == now || ip.is_unspecified())
        }
        (Address::UnixAbstract(told), Address::UnixAbstract(peer)) => told == peer,
        // Paths are told as resolved, sockets know them as they were bound: relative, by way of a link,
        // or before they were moved.
        (Address::UnixPath(told), Address::UnixPath(peer)) if told != peer => return None,
        (Address::UnixPath(_), Address::UnixPath(_)) => true,
        (Address::UnixPath(_) | Address::UnixAbstract(_), Address::Other { .. }) => return None,
        (Address::UnixPath(_) | Address::UnixAbstract(_), _) => false,
        // What could not be read before shows now.
        (Address::Unreadable, _) => false,
        (Address::Other { .. }, _) => true,
        (Address::Ip { .. }, _) => false,
    };
    Some(is_same)
}

#[cfg(test)]
mod tests {
    use picket_events::Protocol;

    use super::*;

    fn connect(address: &str) -> EventKind {
        let address: std::net::SocketAddr = address.parse().unwrap();
        EventKind::Connect {
            address: Address::Ip {
                ip: address.ip(),
                port: address.port(),
            },
            protocol: Protocol::TCP,
        }
    }

    fn raw(ip: [u8; 4], port: u16) -> Vec<u8> {
        let mut raw = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        raw.extend(port.to_be_bytes());
        raw.extend(ip);
        raw.extend([0; 8]);
        raw
    }

    #[test]
    fn the_peer_that_the_kernel_has_is_the_one_that_counts() {
        let mut kind = connect("10.0.0.1:80");
        let same = raw([10, 0, 0, 1], 80);
        assert_eq!(compare_peer(&mut kind, &same, None), Peer::AsTold);
        let other = raw([10, 0, 0, 2], 4444);
        assert_eq!(
            compare_peer(&mut kind, &other, Some(&other)),
            Peer::AsBefore
        );
        assert_eq!(
            compare_peer(&mut kind, &other, Some(&same)),
            Peer::Corrected
        );
        assert_eq!(kind, connect("10.0.0.2:4444"));
    }

    #[test]
    fn a_unix_socket_is_known_by_the_name_that_it_was_bound_by() {
        let path = |path: &str| Address::UnixPath(path.to_owned());
        let hidden = |name: &str| Address::UnixAbstract(name.to_owned());
        assert_eq!(is_same(&path("/run/a"), &path("/run/a")), Some(true));
        assert_eq!(is_same(&path("/run/a"), &path("a")), None);
        assert_eq!(is_same(&path("/run/a"), &path("/run/b")), None);
        assert_eq!(is_same(&path("/run/a"), &hidden("a")), Some(false));
        assert_eq!(is_same(&hidden("a"), &hidden("a")), Some(true));
        assert_eq!(is_same(&hidden("a"), &hidden("b")), Some(false));
    }

    #[test]
    fn other_ways_to_write_an_address_are_no_lie() {
        let peer = raw([127, 0, 0, 1], 80);
        for told in ["0.0.0.0:80", "[::ffff:127.0.0.1]:80", "[::]:80"] {
            assert_eq!(compare_peer(&mut connect(told), &peer, None), Peer::AsTold);
        }
    }

    #[test]
    fn threads_are_counted() {
        let mut alone = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert!(!has_threads(alone.id()));
        let _ = alone.kill();
        let _ = alone.wait();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || receiver.recv());
        assert!(has_threads(std::process::id()));
        drop(sender);
        let _ = other.join();
    }
}
