//! What there is to look at after a call.

use crate::decode::{Located, accepting};
use crate::mounts::MountId;
use crate::resolve::Root;
use crate::sys::files::Metadata;

/// How to see whether a call had its effect.
#[derive(Debug)]
pub(crate) enum Check {
    /// There is nothing to look at.
    Nothing,
    /// An open: the file is there, and the thread has a descriptor for it.
    Open {
        /// The file.
        at: Located,
        /// `O_CREAT`: it may come into being by the call.
        creates: bool,
        /// It can change something: worth a search among the descriptors.
        writes: bool,
        /// It makes or empties the file, which shows in its times.
        stamps: bool,
    },
    /// A descriptor is there that is not among these: it shows which file was meant.
    Opened(Vec<i32>),
    /// A descriptor is there whose link reads like this (memfd).
    Descriptor(Vec<u8>),
    /// The name is gone, or means another file.
    Gone {
        /// Canonical path.
        path: Vec<u8>,
        /// The file before the call.
        before: Metadata,
        /// As [`Self::ways`] has it.
        way: Vec<u8>,
    },
    /// The file is to be found under another name.
    Moved {
        /// Old name, as [`Self::ways`] has it.
        way: Vec<u8>,
        /// New name.
        to: Located,
        /// The file before the call.
        before: Metadata,
    },
    /// The name, which was not there before, is there.
    Appears(Located),
    /// The file exists; whether the call changed it does not show.
    Exists(Located),
    /// The permission bits are these.
    Mode {
        /// Canonical path.
        path: Vec<u8>,
        /// The bits.
        mode: u32,
        /// As [`Self::ways`] has it.
        way: Vec<u8>,
    },
    /// Owner and group are these.
    Owner {
        /// Canonical path.
        path: Vec<u8>,
        /// Owner, where it is to change.
        uid: Option<u32>,
        /// Group, where it is to change.
        gid: Option<u32>,
        /// As [`Self::ways`] has it.
        way: Vec<u8>,
    },
    /// Another mount than before, or none, is on top at this canonical path.
    Mounted {
        /// Where.
        at: String,
        /// The one before, if there was one.
        before: Option<MountId>,
    },
    /// A descriptor for a mount that is attached nowhere is there, among these others.
    Detached(Vec<i32>),
    /// The process has other ids than before.
    Ids,
    /// The process has another root directory than this one, which it had before.
    Root(Root),
    /// The socket has a peer.
    Connected {
        /// The socket.
        descriptor: i32,
        /// Its number in the kernel: the descriptor may be for another one by the time of the look.
        cookie: Option<u64>,
        /// Its raw peer before the call, if it had one.
        before: Option<Vec<u8>>,
    },
    /// A connection was accepted: the kernel has written the peer where the program asked for
    /// it, or there is a connected socket that was not there before.
    Accepted {
        /// Where the peer goes.
        room: Option<accepting::Room>,
        /// Descriptors before, or the first of many.
        before: Vec<i32>,
        /// A connection was there to be accepted.
        is_there: bool,
    },
    /// A DNS answer stands in the program's buffer.
    Answered {
        /// The buffer.
        at: u64,
        /// What stood there before.
        before: Vec<u8>,
    },
}

impl Check {
    /// The path that is looked at, as it was read.
    pub(crate) fn place(&self) -> Option<&Located> {
        match self {
            Self::Open { at, .. }
            | Self::Appears(at)
            | Self::Exists(at)
            | Self::Moved { to: at, .. } => Some(at),
            _ => None,
        }
    }

    /// Paths, as they were written, that lead to what is looked at: names on them that another process
    /// gives to something else make it something else.
    pub(super) fn ways(&self) -> [&[u8]; 2] {
        match self {
            Self::Gone { way, .. } | Self::Mode { way, .. } | Self::Owner { way, .. } => [way, &[]],
            Self::Moved { way, to, .. } => [way, &to.path],
            Self::Appears(at) => [&at.path, &[]],
            _ => [&[], &[]],
        }
    }
}
