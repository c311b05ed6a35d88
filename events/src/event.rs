//! What happened: one enum, with SECL's names for types.

mod parts;
mod types;

use serde::{Deserialize, Serialize};

use crate::file::File;
use crate::network::{Address, Protocol};
use crate::process::{Credentials, Image, Process};

pub use parts::{Dns, Exit, ExitCause, Imds};
pub use types::EventType;

/// One thing that a traced process did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts every event of a connection's container, starting at 1, including those that
    /// were dropped before they could be sent: a gap is a loss.
    pub sequence: u64,
    /// Nanoseconds since the epoch, when the tracer saw it.
    pub time: u64,
    /// Process (thread group) that did it.
    pub pid: u32,
    /// Thread that did it.
    pub tid: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// What it was.
    pub kind: EventKind,
}

impl Event {
    /// The type of this event.
    pub fn event_type(&self) -> EventType {
        self.kind.event_type()
    }
}

/// What became of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The call is known to have returned this value; a failure is a negative errno.
    Returned(i64),
    /// The call was let through and its effect was seen (the file is open, the new program
    /// runs), but the exact value was not.
    Succeeded,
    /// The call was let through; what it returned is not known.
    Unconfirmed,
    /// The tracer refused it with this errno (positive).
    Denied(i32),
}

impl Outcome {
    /// The value for SECL's `.retval`: 0 when it succeeded or is not known.
    pub fn retval(self) -> i64 {
        match self {
            Outcome::Returned(value) => value,
            Outcome::Succeeded | Outcome::Unconfirmed => 0,
            Outcome::Denied(errno) => -i64::from(errno),
        }
    }
}

/// What happened, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// `execve` or `execveat` succeeded, or was refused ([`Event::outcome`] tells).
    Exec(Box<Image>),
    /// A process was made; the event's `pid` is the child's.
    Fork(Box<Process>),
    /// A process ended.
    Exit(Exit),
    /// Any form of open, `creat`, `memfd_create`, `truncate`.
    Open {
        /// What was opened.
        file: File,
        /// `O_*` flags as passed.
        flags: u32,
        /// Mode for a file that is created.
        mode: u32,
    },
    /// `unlink`, `unlinkat`.
    Unlink {
        /// What was removed.
        file: File,
        /// `AT_*` flags.
        flags: u32,
    },
    /// `rmdir`, `unlinkat(AT_REMOVEDIR)`.
    Rmdir {
        /// What was removed.
        file: File,
    },
    /// `rename`, `renameat`, `renameat2`.
    Rename {
        /// Old name.
        from: File,
        /// New name.
        to: File,
    },
    /// `mkdir`, `mkdirat`.
    Mkdir {
        /// What was made.
        file: File,
        /// Mode as passed.
        mode: u32,
    },
    /// `link`, `linkat`, `symlink`, `symlinkat`.
    Link {
        /// What the link points to.
        target: File,
        /// The new name.
        link: File,
        /// True for a symbolic link.
        symbolic: bool,
    },
    /// `chmod`, `fchmod`, `fchmodat`, `fchmodat2`.
    Chmod {
        /// The file, with its mode before the call.
        file: File,
        /// The new permission bits.
        mode: u32,
    },
    /// `chown` and its forms.
    Chown {
        /// The file.
        file: File,
        /// New owner, `None` for unchanged.
        uid: Option<u32>,
        /// New group, `None` for unchanged.
        gid: Option<u32>,
    },
    /// `utime` and its forms.
    Utimes {
        /// The file.
        file: File,
    },
    /// `chdir`, `fchdir`.
    Chdir {
        /// The directory.
        file: File,
    },
    /// `setxattr` and its forms.
    SetXattr {
        /// The file.
        file: File,
        /// Full attribute name (`security.capability`).
        name: String,
    },
    /// `removexattr` and its forms.
    RemoveXattr {
        /// The file.
        file: File,
        /// Full attribute name.
        name: String,
    },
    /// `mount`, `move_mount`, `fsmount`, `open_tree` with `OPEN_TREE_CLONE`.
    Mount {
        /// Source as passed.
        source: String,
        /// Mount point, canonical; empty for a mount that is attached nowhere yet.
        mountpoint: String,
        /// File system type, `bind` for a bind mount.
        fs_type: String,
    },
    /// `umount2`.
    Umount {
        /// Mount point, canonical.
        mountpoint: String,
    },
    /// The `setuid` family; the ids after the call.
    SetUid(Box<Credentials>),
    /// The `setgid` family; the ids after the call.
    SetGid(Box<Credentials>),
    /// `capset`.
    Capset {
        /// New effective set.
        effective: u64,
        /// New permitted set.
        permitted: u64,
    },
    /// `setrlimit`, `prlimit64`.
    SetRlimit {
        /// `RLIMIT_*`.
        resource: u32,
        /// New soft limit.
        current: u64,
        /// New hard limit.
        maximum: u64,
        /// Whose limit.
        target: u32,
    },
    /// `prctl`.
    Prctl {
        /// `PR_*`.
        option: u32,
        /// Second argument.
        argument: u64,
        /// New name for `PR_SET_NAME` as it was passed; see [`kept_name`](crate::kept_name).
        name: String,
    },
    /// `kill`, `tkill`, `tgkill`, `pidfd_send_signal`.
    Signal {
        /// Signal number.
        signal: u32,
        /// Target as passed: a pid, or 0, -1, -group.
        target: i32,
    },
    /// `ptrace`.
    Ptrace {
        /// `PTRACE_*`.
        request: u32,
        /// Target pid, 0 for `PTRACE_TRACEME`.
        target: u32,
    },
    /// `process_vm_writev`.
    MemoryWrite {
        /// Target pid.
        target: u32,
    },
    /// `mmap` with `PROT_EXEC`.
    Mmap {
        /// The file mapped; empty for anonymous memory.
        file: File,
        /// `PROT_*`.
        protection: u32,
        /// `MAP_*`.
        flags: u32,
    },
    /// `mprotect` with `PROT_EXEC`.
    Mprotect {
        /// Protection before, 0 where unknown.
        before: u32,
        /// Protection asked for.
        requested: u32,
    },
    /// `bpf`.
    Bpf {
        /// `BPF_*` command.
        command: u32,
    },
    /// `perf_event_open`.
    PerfEventOpen,
    /// `userfaultfd`.
    Userfaultfd {
        /// Flags as passed.
        flags: u32,
    },
    /// `init_module`, `finit_module`.
    LoadModule {
        /// Module file; empty when loaded from memory.
        file: File,
        /// True for `init_module`.
        from_memory: bool,
        /// Module name where known.
        name: String,
        /// Parameters.
        arguments: String,
    },
    /// `delete_module`.
    UnloadModule {
        /// Module name.
        name: String,
    },
    /// `unshare`, `setns`.
    Unshare {
        /// `CLONE_NEW*`.
        flags: u64,
        /// True for `setns`.
        entered: bool,
    },
    /// `chroot`, `pivot_root`.
    Chroot {
        /// The new root.
        file: File,
    },
    /// `splice`, `vmsplice`, `tee`.
    Splice {
        /// The file on the non-pipe side.
        file: File,
    },
    /// `dup2`, `dup3` onto 0, 1 or 2.
    Dup {
        /// New descriptor: 0, 1 or 2.
        descriptor: u32,
        /// True when the old descriptor is a socket.
        is_socket: bool,
        /// Peer of that socket where known.
        peer: Option<Address>,
    },
    /// `socket`.
    Socket {
        /// `AF_*`.
        domain: u32,
        /// `SOCK_*` without flags.
        socket_type: u32,
        /// Protocol as passed.
        protocol: u32,
    },
    /// `bind`.
    Bind {
        /// Local address.
        address: Address,
        /// Transport.
        protocol: Protocol,
    },
    /// `listen`.
    Listen {
        /// Local address where known.
        address: Option<Address>,
    },
    /// `connect`, and the first datagram to a new peer.
    Connect {
        /// Peer.
        address: Address,
        /// Transport.
        protocol: Protocol,
    },
    /// `accept`, `accept4`.
    Accept {
        /// Peer; `None` where it could not be told.
        peer: Option<Address>,
        /// Local address where known.
        local: Option<Address>,
    },
    /// `setsockopt`.
    SetSockOpt {
        /// Level.
        level: u32,
        /// Option.
        option: u32,
        /// `AF_*` of the socket, 0 where unknown.
        family: u32,
        /// `SOCK_*` of the socket, 0 where unknown.
        socket_type: u32,
        /// Protocol of the socket, 0 where unknown.
        protocol: u32,
    },
    /// A DNS question or answer.
    Dns(Box<Dns>),
    /// A metadata request or answer.
    Imds(Box<Imds>),
    /// `io_uring_setup`.
    IoUring {
        /// Entries asked for.
        entries: u32,
    },
    /// `pidfd_getfd`.
    TakeDescriptor {
        /// Process it is taken out of.
        target: u32,
        /// What it is open for.
        file: File,
        /// True for a socket.
        is_socket: bool,
    },
    /// A descriptor in a message with `SCM_RIGHTS`: one event for each.
    PassDescriptor {
        /// What it is open for.
        file: File,
        /// True for a socket.
        is_socket: bool,
        /// Descriptors in the message.
        count: u32,
    },
}

impl EventKind {
    /// The type of this event.
    pub fn event_type(&self) -> EventType {
        match self {
            EventKind::Exec(_) => EventType::Exec,
            EventKind::Fork(_) => EventType::Fork,
            EventKind::Exit(_) => EventType::Exit,
            EventKind::Open { .. } => EventType::Open,
            EventKind::Unlink { .. } => EventType::Unlink,
            EventKind::Rmdir { .. } => EventType::Rmdir,
            EventKind::Rename { .. } => EventType::Rename,
            EventKind::Mkdir { .. } => EventType::Mkdir,
            EventKind::Link { .. } => EventType::Link,
            EventKind::Chmod { .. } => EventType::Chmod,
            EventKind::Chown { .. } => EventType::Chown,
            EventKind::Utimes { .. } => EventType::Utimes,
            EventKind::Chdir { .. } => EventType::Chdir,
            EventKind::SetXattr { .. } => EventType::SetXattr,
            EventKind::RemoveXattr { .. } => EventType::RemoveXattr,
            EventKind::Mount { .. } => EventType::Mount,
            EventKind::Umount { .. } => EventType::Umount,
            EventKind::SetUid(_) => EventType::SetUid,
            EventKind::SetGid(_) => EventType::SetGid,
            EventKind::Capset { .. } => EventType::Capset,
            EventKind::SetRlimit { .. } => EventType::SetRlimit,
            EventKind::Prctl { .. } => EventType::Prctl,
            EventKind::Signal { .. } => EventType::Signal,
            EventKind::Ptrace { .. } => EventType::Ptrace,
            EventKind::MemoryWrite { .. } => EventType::MemoryWrite,
            EventKind::Mmap { .. } => EventType::Mmap,
            EventKind::Mprotect { .. } => EventType::Mprotect,
            EventKind::Bpf { .. } => EventType::Bpf,
            EventKind::PerfEventOpen => EventType::PerfEventOpen,
            EventKind::Userfaultfd { .. } => EventType::Userfaultfd,
            EventKind::LoadModule { .. } => EventType::LoadModule,
            EventKind::UnloadModule { .. } => EventType::UnloadModule,
            EventKind::Unshare { .. } => EventType::Unshare,
            EventKind::Chroot { .. } => EventType::Chroot,
            EventKind::Splice { .. } => EventType::Splice,
            EventKind::Dup { .. } => EventType::Dup,
            EventKind::Socket { .. } => EventType::Socket,
            EventKind::Bind { .. } => EventType::Bind,
            EventKind::Listen { .. } => EventType::Listen,
            EventKind::Connect { .. } => EventType::Connect,
            EventKind::Accept { .. } => EventType::Accept,
            EventKind::SetSockOpt { .. } => EventType::SetSockOpt,
            EventKind::Dns(_) => EventType::Dns,
            EventKind::Imds(_) => EventType::Imds,
            EventKind::IoUring { .. } => EventType::IoUring,
            EventKind::TakeDescriptor { .. } => EventType::TakeDescriptor,
            EventKind::PassDescriptor { .. } => EventType::PassDescriptor,
        }
    }

    /// The file that SECL's `‹event›.file` names, where the event has one.
    pub fn file(&self) -> Option<&File> {
        match self {
            EventKind::Exec(image) => Some(&image.file),
            EventKind::Open { file, .. }
            | EventKind::Unlink { file, .. }
            | EventKind::Rmdir { file }
            | EventKind::Mkdir { file, .. }
            | EventKind::Chmod { file, .. }
            | EventKind::Chown { file, .. }
            | EventKind::Utimes { file }
            | EventKind::Chdir { file }
            | EventKind::SetXattr { file, .. }
            | EventKind::RemoveXattr { file, .. }
            | EventKind::Mmap { file, .. }
            | EventKind::LoadModule { file, .. }
            | EventKind::Chroot { file }
            | EventKind::Splice { file }
            | EventKind::TakeDescriptor { file, .. }
            | EventKind::PassDescriptor { file, .. }
            | EventKind::Rename { from: file, .. }
            | EventKind::Link { target: file, .. } => Some(file),
            _ => None,
        }
    }

    /// The file that SECL's `‹event›.file.destination` names, where the event has one.
    pub fn destination(&self) -> Option<&File> {
        match self {
            EventKind::Rename { to, .. } => Some(to),
            EventKind::Link { link, .. } => Some(link),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_call_has_a_negative_retval() {
        assert_eq!(Outcome::Denied(1).retval(), -1);
        assert_eq!(Outcome::Returned(3).retval(), 3);
    }
}
