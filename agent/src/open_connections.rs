//! The connections that are open in the pod's network: quarantine refuses new ones and leaves
//! these, so they are listed.
//!
//! All containers of a pod share one network namespace, so the agent reads its own tables
//! (`/proc/net/tcp` and its kin, proc(5)). Its own connections are left out.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde::Serialize;

/// Most connections that are listed; those that leave the pod come first.
const MOST: usize = 256;

/// An open connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenConnection {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The kernel's word for its state, such as `ESTABLISHED`.
    pub state: &'static str,
    /// Whose socket it is: the user's number.
    pub uid: u32,
}

/// The open connections, and how many there was no room for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OpenConnections {
    /// Those that are listed.
    pub connections: Vec<OpenConnection>,
    /// How many are not.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl OpenConnections {
    /// Those of this process's network namespace at this moment; a table that cannot be read has
    /// none.
    pub fn read() -> Self {
        Self::read_from(Path::new("/proc/self"))
    }

    fn read_from(process: &Path) -> Self {
        let own = own_sockets(&process.join("fd"));
        let mut all = Vec::new();
        for (file, protocol) in [
            ("tcp", "tcp"),
            ("tcp6", "tcp"),
            ("udp", "udp"),
            ("udp6", "udp"),
        ] {
            let table = fs::read_to_string(process.join("net").join(file)).unwrap_or_default();
            let rows = table.lines().skip(1).filter_map(|row| parse(row, protocol));
            let others = rows.filter(|(_, inode)| !own.contains(inode));
            all.extend(others.map(|(connection, _)| connection));
        }
        Self::of(all)
    }

    fn of(mut connections: Vec<OpenConnection>) -> Self {
        connections.sort_by_key(|one| (one.remote.ip().is_loopback(), one.remote, one.local));
        let omitted = connections.len().saturating_sub(MOST);
        connections.truncate(MOST);
        Self {
            connections,
            omitted,
        }
    }
}

/// Inodes of the sockets among a process's descriptors.
fn own_sockets(descriptors: &Path) -> HashSet<u64> {
    let entries = fs::read_dir(descriptors).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            inode.parse().ok()
        })
        .collect()
}

/// A row of a table, if it is a connection that can carry something, and the socket's inode.
fn parse(row: &str, protocol: &'static str) -> Option<(OpenConnection, u64)> {
    let mut fields = row.split_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    // include/net/tcp_states.h; a connected UDP socket is ESTABLISHED, too.
    let state = match fields.next()? {
        "01" => "ESTABLISHED",
        "02" => "SYN_SENT",
        "03" => "SYN_RECV",
        "04" => "FIN_WAIT1",
        "05" => "FIN_WAIT2",
        "08" => "CLOSE_WAIT",
        _ => return None,
    };
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let connection = OpenConnection {
        protocol,
        local,
        remote,
        state,
        uid,
    };
    (remote.port() != 0).then_some((connection, inode))
}

/// `0100007F:1F90`: 32-bit words as this machine has them in memory, and the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for start in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn rows_of_both_families_are_read() {
        let row = "   1: 0200000A:D431 08080808:01BB 01 00000000:00000000 02:000000A0 00000000  1000        0 4711 2 0";
        let (connection, inode) = parse(row, "tcp").unwrap();
        assert_eq!(inode, 4711);
        assert_eq!(
            serde_json::to_value(&connection).unwrap(),
            serde_json::json!({
                "protocol": "tcp", "local": "10.0.0.2:54321", "remote": "8.8.8.8:443",
                "state": "ESTABLISHED", "uid": 1000,
            })
        );
        // An IPv4 address in an IPv6 socket.
        let row = "   1: 0000000000000000FFFF00000200000A:D431 0000000000000000FFFF000008080808:01BB 08 0:0 0:0 0  0  0 9 2 0";
        let (connection, _) = parse(row, "tcp").unwrap();
        assert_eq!(connection.remote.to_string(), "8.8.8.8:443");
        let listens = "   1: 00000000:0050 00000000:0000 0A 0:0 0:0 0  0  0 9 2 0";
        assert_eq!(parse(listens, "tcp"), None);
        assert_eq!(parse("no row", "tcp"), None);
    }

    #[test]
    fn what_others_have_open_is_listed_and_what_we_have_is_not() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let local = stream.local_addr().unwrap();
        let is_listed = |all: OpenConnections| {
            let mut connections = all.connections.iter();
            connections.any(|connection| connection.local == local)
        };
        assert!(!is_listed(OpenConnections::read()));
        // The same tables with the descriptors of nobody.
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/proc/self/net", elsewhere.path().join("net")).unwrap();
        let all = OpenConnections::read_from(elsewhere.path());
        assert!(all.omitted > 0 || is_listed(all));
    }

    #[test]
    fn what_leaves_the_pod_comes_first_and_the_rest_is_counted() {
        let connection = |remote: &str| OpenConnection {
            protocol: "tcp",
            local: "10.0.0.2:1".parse().unwrap(),
            remote: remote.parse().unwrap(),
            state: "ESTABLISHED",
            uid: 0,
        };
        let mut all = vec![connection("127.0.0.1:9"); MOST];
        all.push(connection("192.0.2.1:443"));
        let listed = OpenConnections::of(all);
        assert_eq!(listed.connections[0].remote.port(), 443);
        assert_eq!((listed.connections.len(), listed.omitted), (MOST, 1));
    }
}
