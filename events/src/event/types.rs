//! The types of events.

use serde::{Deserialize, Serialize};

macro_rules! event_types {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal ),+ $(,)?) => {
        /// The type of an event, named as in SECL.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum EventType { $( $(#[$doc])* $variant ),+ }

        impl EventType {
            /// Every type, in declaration order.
            pub const ALL: &'static [EventType] = &[ $( EventType::$variant ),+ ];

            /// SECL's name, which also prefixes the type's fields (`open.file.path`).
            pub const fn name(self) -> &'static str {
                match self { $( EventType::$variant => $name ),+ }
            }

            /// The type with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $( $name => Some(EventType::$variant), )+ _ => None }
            }
        }
    };
}

event_types! {
    /// A new program runs in a process.
    Exec = "exec",
    /// A process was made.
    Fork = "fork",
    /// A process ended.
    Exit = "exit",
    /// A file was opened or created.
    Open = "open",
    /// A file was removed.
    Unlink = "unlink",
    /// A directory was removed.
    Rmdir = "rmdir",
    /// A file or directory was renamed.
    Rename = "rename",
    /// A directory was made.
    Mkdir = "mkdir",
    /// A hard or symbolic link was made.
    Link = "link",
    /// Permission bits were changed.
    Chmod = "chmod",
    /// Owner or group was changed.
    Chown = "chown",
    /// Times were changed.
    Utimes = "utimes",
    /// The working directory was changed.
    Chdir = "chdir",
    /// An extended attribute was set.
    SetXattr = "setxattr",
    /// An extended attribute was removed.
    RemoveXattr = "removexattr",
    /// A file system was mounted.
    Mount = "mount",
    /// A file system was unmounted (no SECL fields).
    Umount = "umount",
    /// User ids were changed.
    SetUid = "setuid",
    /// Group ids were changed.
    SetGid = "setgid",
    /// Capabilities were changed.
    Capset = "capset",
    /// A resource limit was changed.
    SetRlimit = "setrlimit",
    /// A process attribute was changed.
    Prctl = "prctl",
    /// A signal was sent.
    Signal = "signal",
    /// `ptrace` was called.
    Ptrace = "ptrace",
    /// Another process's memory was written (`process_vm_writev`).
    MemoryWrite = "memory_write",
    /// Memory was mapped executable.
    Mmap = "mmap",
    /// Memory was made executable.
    Mprotect = "mprotect",
    /// `bpf` was called.
    Bpf = "bpf",
    /// `perf_event_open` was called.
    PerfEventOpen = "perf_event_open",
    /// `userfaultfd` was called.
    Userfaultfd = "userfaultfd",
    /// A kernel module was loaded.
    LoadModule = "load_module",
    /// A kernel module was unloaded.
    UnloadModule = "unload_module",
    /// Name spaces were unshared or entered.
    Unshare = "unshare",
    /// The root directory was changed (`chroot`, `pivot_root`).
    Chroot = "chroot",
    /// Data was spliced into or out of a pipe.
    Splice = "splice",
    /// A descriptor was put on standard input, output or error.
    Dup = "dup",
    /// A socket was made.
    Socket = "socket",
    /// A socket was bound.
    Bind = "bind",
    /// A socket listens.
    Listen = "listen",
    /// A connection was opened.
    Connect = "connect",
    /// A connection was accepted.
    Accept = "accept",
    /// A socket option was set.
    SetSockOpt = "setsockopt",
    /// A DNS question was sent or answered.
    Dns = "dns",
    /// An instance metadata service was asked or answered.
    Imds = "imds",
    /// `io_uring_setup` was called.
    IoUring = "io_uring",
    /// A descriptor was taken out of another process (`pidfd_getfd`).
    TakeDescriptor = "pidfd_getfd",
    /// A descriptor was passed over a Unix socket (`SCM_RIGHTS`).
    PassDescriptor = "scm_rights",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for event_type in EventType::ALL {
            assert_eq!(EventType::from_name(event_type.name()), Some(*event_type));
        }
    }
}
