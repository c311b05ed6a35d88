//! Socket addresses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Where a socket call points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// IPv4 or IPv6 with a port.
    Ip {
        /// The address; a v4-mapped v6 address is given as it was used.
        ip: IpAddr,
        /// Port in host order.
        port: u16,
    },
    /// A Unix socket in the file system, resolved to its canonical path.
    UnixPath(String),
    /// A Unix socket in the abstract name space, without the leading NUL.
    UnixAbstract(String),
    /// `AF_UNSPEC` (which dissolves an association), or a family we do not decode.
    Other {
        /// The address family (`AF_*`).
        family: u16,
    },
    /// The address could not be read from the tracee.
    Unreadable,
}

impl Address {
    /// The address family as the kernel numbers it (`AF_UNIX` 1, `AF_INET` 2, `AF_INET6` 10).
    pub fn family(&self) -> u16 {
        match self {
            Address::Ip {
                ip: IpAddr::V4(_), ..
            } => 2,
            Address::Ip {
                ip: IpAddr::V6(_), ..
            } => 10,
            Address::UnixPath(_) | Address::UnixAbstract(_) => 1,
            Address::Other { family } => *family,
            Address::Unreadable => 0,
        }
    }
}

/// Transport protocol of a socket, as `IPPROTO_*` numbers it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol(pub u16);

impl Protocol {
    /// Not known.
    pub const UNKNOWN: Self = Self(0);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
}
