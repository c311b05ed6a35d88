//! The one table of system calls: number per ABI, when to stop for it, decoder, event.
//!
//! To trace another call, add a row here and, if none fits, a decoder in [`crate::decode`].

use picket_events::{EventType, Interest};

use crate::decode::{Decoder, files, ids, kernel, network, process, tracer_safety};

/// A way in which a program talks to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abi {
    X86_64,
    X32,
    I386,
    Aarch64,
}

impl Abi {
    /// What this build's kernel serves.
    #[cfg(target_arch = "x86_64")]
    pub(crate) const NATIVE: [Abi; 3] = [Abi::X86_64, Abi::X32, Abi::I386];
    /// What this build's kernel serves.
    #[cfg(target_arch = "aarch64")]
    pub(crate) const NATIVE: [Abi; 1] = [Abi::Aarch64];

    /// Set in the number of an x32 call.
    pub(crate) const X32_BIT: u32 = 0x4000_0000;

    /// `AUDIT_ARCH_*`, as the filter sees it.
    pub(crate) const fn arch(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 => 0xc000_003e,
            Abi::I386 => 0x4000_0003,
            Abi::Aarch64 => 0xc000_00b7,
        }
    }

    /// The ABI of a call, and its number there.
    pub(crate) fn of(arch: u32, number: u32) -> Option<(Abi, u32)> {
        let is_x32 = number & Self::X32_BIT != 0;
        match arch {
            0xc000_003e if is_x32 => Some((Abi::X32, number & !Self::X32_BIT)),
            0xc000_003e => Some((Abi::X86_64, number)),
            0x4000_0003 => Some((Abi::I386, number)),
            0xc000_00b7 => Some((Abi::Aarch64, number)),
            _ => None,
        }
    }

    /// Size of a pointer in the memory of a program of this ABI.
    pub(crate) const fn pointer_size(self) -> usize {
        match self {
            Abi::X86_64 | Abi::Aarch64 => 8,
            Abi::X32 | Abi::I386 => 4,
        }
    }
}

/// When to stop for a call, by its arguments (counted from 0). Numbers are compared in their
/// low 32 bits. A row's tests are alternatives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Test {
    /// Always.
    Always,
    /// The inner test, and only where the row's event is wanted (for rows that also keep the
    /// tracer itself safe).
    IfInterested(&'static Test),
    /// Any bit of the mask is set.
    AnyBit(u8, u32),
    /// All bits of the mask are set.
    AllBits(u8, u32),
    /// It is one of these.
    OneOf(u8, &'static [u32]),
    /// It is anything but this.
    Not(u8, u32),
    /// It is not zero, in all 64 bits.
    NotZero(u8),
    /// It is this or less (unsigned).
    AtMost(u8, u32),
    /// Open flags, as the interest in opens asks.
    OpenFlags(u8),
}

/// Open flags that can change something: `O_WRONLY`, `O_RDWR`, `O_CREAT`, `O_TRUNC`.
pub(crate) const OPEN_WRITING: u32 = 0o1 | 0o2 | 0o100 | 0o1000;

/// Flags of opens that a person's tool hardly makes: `O_CLOEXEC`, `O_NONBLOCK`,
/// `O_DIRECTORY`, `O_PATH`.
pub(crate) const OPEN_QUIET: u32 =
    (libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_DIRECTORY | libc::O_PATH) as u32;

/// One system call.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    x86_64: u32,
    /// x32's own number, where it is not x86-64's.
    x32: u32,
    i386: u32,
    aarch64: u32,
    /// The event it is for.
    pub(crate) event: EventType,
    /// Another event that it may be for.
    also: Option<EventType>,
    /// Stopped for whatever the interest: lineage, the tracer's own picture of a process
    /// (ids, root), or its safety depends on it.
    always: bool,
    pub(crate) tests: &'static [Test],
    pub(crate) decode: Decoder,
}

impl Row {
    /// Number in an ABI.
    pub(crate) fn number(&self, abi: Abi) -> Option<u32> {
        let number = match abi {
            Abi::X86_64 => self.x86_64,
            Abi::X32 => self.x32,
            Abi::I386 => self.i386,
            Abi::Aarch64 => self.aarch64,
        };
        (number != NO).then_some(number)
    }

    /// Whether the filter has to stop for it at all.
    pub(crate) fn is_active(&self, interest: &Interest) -> bool {
        self.always
            || interest.contains(self.event)
            || self.also.is_some_and(|event| interest.contains(event))
    }
}

/// What of an interest the table can serve at all.
pub(crate) fn served(interest: &Interest) -> Interest {
    let mut served = Interest::lineage();
    served.insert_open(interest.open);
    for row in TABLE.iter().filter(|row| row.event != EventType::Open) {
        if interest.contains(row.event) {
            served.insert(row.event);
        }
    }
    served
}

/// The row of a call. The native table is looked up by number, once per notification.
pub(crate) fn find(abi: Abi, number: u32) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.number(abi) == Some(number))
}

/// The call does not exist there.
const NO: u32 = u32::MAX;

const fn row(
    name: &'static str,
    numbers: [u32; 3],
    event: EventType,
    tests: &'static [Test],
    decode: Decoder,
) -> Row {
    let [x86_64, i386, aarch64] = numbers;
    Row {
        name,
        x86_64,
        x32: x86_64,
        i386,
        aarch64,
        event,
        also: None,
        always: false,
        tests,
        decode,
    }
}

impl Row {
    const fn always(mut self) -> Self {
        self.always = true;
        self
    }

    const fn also(mut self, event: EventType) -> Self {
        self.also = Some(event);
        self
    }

    const fn x32(mut self, number: u32) -> Self {
        self.x32 = number;
        self
    }
}

const EVERY: &[Test] = &[Test::Always];
/// `CLONE_NEW*`: name spaces, as opposed to sharing.
const NEW_NAMESPACES: u32 = 0x7e02_0080;
const EXECUTABLE: u32 = 4; // PROT_EXEC
const WRITABLE_EXECUTABLE: u32 = 2 | 4; // PROT_WRITE | PROT_EXEC
/// `PR_SET_PDEATHSIG`, `PR_SET_DUMPABLE`, `PR_SET_NAME`, `PR_SET_SECCOMP`, `PR_CAPBSET_DROP`,
/// `PR_SET_SECUREBITS`, `PR_SET_MM`, `PR_SET_NO_NEW_PRIVS`, `PR_CAP_AMBIENT`,
/// `PR_SET_PTRACER`.
const PRCTL_OPTIONS: &[u32] = &[1, 4, 15, 22, 24, 28, 35, 38, 47, 0x5961_6d61];
/// `PTRACE_TRACEME`, `POKETEXT`, `POKEDATA`, `POKEUSER`, `ATTACH`, `SETREGS`, `SEIZE`,
/// `SETREGSET`.
const PTRACE_REQUESTS: &[u32] = &[0, 4, 5, 6, 16, 13, 0x4205, 0x4206];
/// `SYS_SOCKET`, `SYS_BIND`, `SYS_CONNECT`, `SYS_LISTEN`, `SYS_ACCEPT`, `SYS_SETSOCKOPT`,
/// `SYS_ACCEPT4`.
const SOCKET_CALLS: &[u32] = &[1, 2, 3, 4, 5, 14, 18];
/// `SIGURG`: Go preempts its threads with it thousands of times a second; nobody is harmed
/// by it, since it is ignored unless asked for.
const SIGURG: u32 = 23;
/// Several signal-owner commands: `F_SETOWN`, `F_SETOWN_EX`.
const SET_OWNER: &[u32] = &[8, 15];
/// `FIOSETOWN`, `SIOCSPGRP`.
const IOCTL_SET_OWNER: &[u32] = &[0x8901, 0x8902];

use EventType as E;

/// All traced calls.
pub(crate) static TABLE: &[Row] = &[
    row("execve", [59, 11, 221], E::Exec, EVERY, process::execve)
        .x32(520)
        .always(),
    row(
        "execveat",
        [322, 358, 281],
        E::Exec,
        EVERY,
        process::execveat,
    )
    .x32(545)
    .always(),
    row(
        "exit_group",
        [231, 252, 94],
        E::Exit,
        EVERY,
        process::exit_group,
    )
    .always(),
    // Files.
    row(
        "open",
        [2, 5, NO],
        E::Open,
        &[Test::OpenFlags(1)],
        files::open,
    ),
    row(
        "openat",
        [257, 295, 56],
        E::Open,
        &[Test::OpenFlags(2)],
        files::openat,
    ),
    row("openat2", [437, 437, 437], E::Open, EVERY, files::openat2),
    row("creat", [85, 8, NO], E::Open, EVERY, files::creat),
    row(
        "open_by_handle_at",
        [304, 342, 265],
        E::Open,
        EVERY,
        files::open_by_handle,
    ),
    row(
        "memfd_create",
        [319, 356, 279],
        E::Open,
        EVERY,
        files::memfd_create,
    ),
    row("truncate", [76, 92, 45], E::Open, EVERY, files::truncate),
    row("truncate64", [NO, 193, NO], E::Open, EVERY, files::truncate),
    row("unlink", [87, 10, NO], E::Unlink, EVERY, files::unlink),
    row(
        "unlinkat",
        [263, 301, 35],
        E::Unlink,
        EVERY,
        files::unlinkat,
    )
    .also(E::Rmdir),
    row("rmdir", [84, 40, NO], E::Rmdir, EVERY, files::rmdir),
    row("rename", [82, 38, NO], E::Rename, EVERY, files::rename),
    row(
        "renameat",
        [264, 302, 38],
        E::Rename,
        EVERY,
        files::renameat,
    ),
    row(
        "renameat2",
        [316, 353, 276],
        E::Rename,
        EVERY,
        files::renameat,
    ),
    row("mkdir", [83, 39, NO], E::Mkdir, EVERY, files::mkdir),
    row("mkdirat", [258, 296, 34], E::Mkdir, EVERY, files::mkdirat),
    row("link", [86, 9, NO], E::Link, EVERY, files::link),
    row("linkat", [265, 303, 37], E::Link, EVERY, files::linkat),
    row("symlink", [88, 83, NO], E::Link, EVERY, files::symlink),
    row(
        "symlinkat",
        [266, 304, 36],
        E::Link,
        EVERY,
        files::symlinkat,
    ),
    row("chmod", [90, 15, NO], E::Chmod, EVERY, files::chmod),
    row("fchmod", [91, 94, 52], E::Chmod, EVERY, files::fchmod),
    row("fchmodat", [268, 306, 53], E::Chmod, EVERY, files::fchmodat),
    row(
        "fchmodat2",
        [452, 452, 452],
        E::Chmod,
        EVERY,
        files::fchmodat,
    ),
    row("chown", [92, 182, NO], E::Chown, EVERY, files::chown),
    row("lchown", [94, 16, NO], E::Chown, EVERY, files::lchown),
    row("fchown", [93, 95, 55], E::Chown, EVERY, files::fchown),
    row("fchownat", [260, 298, 54], E::Chown, EVERY, files::fchownat),
    row("chown32", [NO, 212, NO], E::Chown, EVERY, files::chown),
    row("lchown32", [NO, 198, NO], E::Chown, EVERY, files::lchown),
    row("fchown32", [NO, 207, NO], E::Chown, EVERY, files::fchown),
    row("utime", [132, 30, NO], E::Utimes, EVERY, files::utimes),
    row("utimes", [235, 271, NO], E::Utimes, EVERY, files::utimes),
    row(
        "futimesat",
        [261, 299, NO],
        E::Utimes,
        EVERY,
        files::utimesat,
    ),
    row(
        "utimensat",
        [280, 320, 88],
        E::Utimes,
        EVERY,
        files::utimesat,
    ),
    row(
        "utimensat_time64",
        [NO, 412, NO],
        E::Utimes,
        EVERY,
        files::utimesat,
    ),
    row(
        "setxattr",
        [188, 226, 5],
        E::SetXattr,
        EVERY,
        files::setxattr,
    ),
    row(
        "lsetxattr",
        [189, 227, 6],
        E::SetXattr,
        EVERY,
        files::lsetxattr,
    ),
    row(
        "fsetxattr",
        [190, 228, 7],
        E::SetXattr,
        EVERY,
        files::fsetxattr,
    ),
    row(
        "removexattr",
        [197, 235, 14],
        E::RemoveXattr,
        EVERY,
        files::removexattr,
    ),
    row(
        "lremovexattr",
        [198, 236, 15],
        E::RemoveXattr,
        EVERY,
        files::lremovexattr,
    ),
    row(
        "fremovexattr",
        [199, 237, 16],
        E::RemoveXattr,
        EVERY,
        files::fremovexattr,
    ),
    row("chdir", [80, 12, 49], E::Chdir, EVERY, files::chdir),
    row("fchdir", [81, 133, 50], E::Chdir, EVERY, files::fchdir),
    row("chroot", [161, 61, 51], E::Chroot, EVERY, files::chroot).always(),
    row(
        "pivot_root",
        [155, 217, 41],
        E::Chroot,
        EVERY,
        files::chroot,
    )
    .always(),
    row("mount", [165, 21, 40], E::Mount, EVERY, kernel::mount),
    row(
        "move_mount",
        [429, 429, 429],
        E::Mount,
        EVERY,
        kernel::move_mount,
    ),
    row("umount", [NO, 22, NO], E::Umount, EVERY, kernel::umount),
    row("umount2", [166, 52, 39], E::Umount, EVERY, kernel::umount),
    row("setns", [308, 346, 268], E::Unshare, EVERY, kernel::setns).always(),
    row(
        "unshare",
        [272, 310, 97],
        E::Unshare,
        &[Test::AnyBit(0, NEW_NAMESPACES)],
        kernel::unshare,
    )
    .always(),
    // Ids and limits.
    row("setuid", [105, 23, 146], E::SetUid, EVERY, ids::set_uid).always(),
    row("setreuid", [113, 70, 145], E::SetUid, EVERY, ids::set_uid).always(),
    row("setresuid", [117, 164, 147], E::SetUid, EVERY, ids::set_uid).always(),
    row("setfsuid", [122, 138, 151], E::SetUid, EVERY, ids::set_uid).always(),
    row("setuid32", [NO, 213, NO], E::SetUid, EVERY, ids::set_uid).always(),
    row("setreuid32", [NO, 203, NO], E::SetUid, EVERY, ids::set_uid).always(),
    row("setresuid32", [NO, 208, NO], E::SetUid, EVERY, ids::set_uid).always(),
    row("setfsuid32", [NO, 215, NO], E::SetUid, EVERY, ids::set_uid).always(),
    row("setgid", [106, 46, 144], E::SetGid, EVERY, ids::set_gid).always(),
    row("setregid", [114, 71, 143], E::SetGid, EVERY, ids::set_gid).always(),
    row("setresgid", [119, 170, 149], E::SetGid, EVERY, ids::set_gid).always(),
    row("setfsgid", [123, 139, 152], E::SetGid, EVERY, ids::set_gid).always(),
    row("setgid32", [NO, 214, NO], E::SetGid, EVERY, ids::set_gid).always(),
    row("setregid32", [NO, 204, NO], E::SetGid, EVERY, ids::set_gid).always(),
    row("setresgid32", [NO, 210, NO], E::SetGid, EVERY, ids::set_gid).always(),
    row("setfsgid32", [NO, 216, NO], E::SetGid, EVERY, ids::set_gid).always(),
    row("capset", [126, 185, 91], E::Capset, EVERY, ids::capset),
    row(
        "setrlimit",
        [160, 75, 164],
        E::SetRlimit,
        EVERY,
        ids::setrlimit,
    ),
    row(
        "prlimit64",
        [302, 340, 261],
        E::SetRlimit,
        &[Test::NotZero(0), Test::IfInterested(&Test::NotZero(2))],
        ids::prlimit,
    )
    .always(),
    row(
        "prctl",
        [157, 172, 167],
        E::Prctl,
        &[Test::OneOf(0, PRCTL_OPTIONS)],
        process::prctl,
    ),
    // Processes reaching for each other.
    row("kill", [62, 37, 129], E::Signal, EVERY, tracer_safety::kill).always(),
    row(
        "tkill",
        [200, 238, 130],
        E::Signal,
        &[Test::Not(1, SIGURG)],
        tracer_safety::kill,
    )
    .always(),
    row(
        "tgkill",
        [234, 270, 131],
        E::Signal,
        &[Test::Not(2, SIGURG)],
        tracer_safety::tgkill,
    )
    .always(),
    row(
        "rt_sigqueueinfo",
        [129, 178, 138],
        E::Signal,
        EVERY,
        tracer_safety::kill,
    )
    .x32(524)
    .always(),
    row(
        "rt_tgsigqueueinfo",
        [297, 335, 240],
        E::Signal,
        EVERY,
        tracer_safety::tgkill,
    )
    .x32(536)
    .always(),
    row(
        "pidfd_send_signal",
        [424, 424, 424],
        E::Signal,
        EVERY,
        tracer_safety::pidfd_send_signal,
    )
    .always(),
    row(
        "ptrace",
        [101, 26, 117],
        E::Ptrace,
        &[Test::OneOf(0, PTRACE_REQUESTS)],
        tracer_safety::ptrace,
    )
    .x32(521)
    .always(),
    row(
        "process_vm_writev",
        [311, 348, 271],
        E::MemoryWrite,
        EVERY,
        tracer_safety::process_vm_writev,
    )
    .x32(540)
    .always(),
    row(
        "fcntl",
        [72, 55, 25],
        E::Signal,
        &[Test::OneOf(1, SET_OWNER)],
        tracer_safety::set_owner,
    )
    .always(),
    row(
        "fcntl64",
        [NO, 221, NO],
        E::Signal,
        &[Test::OneOf(1, SET_OWNER)],
        tracer_safety::set_owner,
    )
    .always(),
    row(
        "ioctl",
        [16, 54, 29],
        E::Signal,
        &[Test::OneOf(1, IOCTL_SET_OWNER)],
        tracer_safety::ioctl_owner,
    )
    .x32(514)
    .always(),
    row(
        "setpriority",
        [141, 97, 140],
        E::Signal,
        &[Test::NotZero(1)],
        tracer_safety::priority,
    )
    .always(),
    row(
        "sched_setscheduler",
        [144, 156, 119],
        E::Signal,
        &[Test::NotZero(0)],
        tracer_safety::scheduling,
    )
    .always(),
    row(
        "sched_setparam",
        [142, 154, 118],
        E::Signal,
        &[Test::NotZero(0)],
        tracer_safety::scheduling,
    )
    .always(),
    row(
        "sched_setaffinity",
        [203, 241, 122],
        E::Signal,
        &[Test::NotZero(0)],
        tracer_safety::scheduling,
    )
    .always(),
    row(
        "sched_setattr",
        [314, 351, 274],
        E::Signal,
        &[Test::NotZero(0)],
        tracer_safety::scheduling,
    )
    .always(),
    // Memory and kernel.
    row(
        "mmap",
        [9, NO, 222],
        E::Mmap,
        &[Test::AllBits(2, WRITABLE_EXECUTABLE)],
        kernel::mmap,
    ),
    row(
        "mmap2",
        [NO, 192, NO],
        E::Mmap,
        &[Test::AllBits(2, WRITABLE_EXECUTABLE)],
        kernel::mmap,
    ),
    row(
        "mprotect",
        [10, 125, 226],
        E::Mprotect,
        &[Test::AnyBit(2, EXECUTABLE)],
        kernel::mprotect,
    ),
    row(
        "pkey_mprotect",
        [329, 380, 288],
        E::Mprotect,
        &[Test::AnyBit(2, EXECUTABLE)],
        kernel::mprotect,
    ),
    row(
        "userfaultfd",
        [323, 374, 282],
        E::Userfaultfd,
        EVERY,
        kernel::userfaultfd,
    ),
    row("bpf", [321, 357, 280], E::Bpf, EVERY, kernel::bpf),
    row(
        "perf_event_open",
        [298, 336, 241],
        E::PerfEventOpen,
        EVERY,
        kernel::perf_event_open,
    ),
    row(
        "init_module",
        [175, 128, 105],
        E::LoadModule,
        EVERY,
        kernel::init_module,
    ),
    row(
        "finit_module",
        [313, 350, 273],
        E::LoadModule,
        EVERY,
        kernel::finit_module,
    ),
    row(
        "delete_module",
        [176, 129, 106],
        E::UnloadModule,
        EVERY,
        kernel::delete_module,
    ),
    row(
        "io_uring_setup",
        [425, 425, 425],
        E::IoUring,
        EVERY,
        kernel::io_uring_setup,
    )
    .always(),
    // Sockets.
    row("socket", [41, 359, 198], E::Socket, EVERY, network::socket),
    row("bind", [49, 361, 200], E::Bind, EVERY, network::bind),
    row("listen", [50, 363, 201], E::Listen, EVERY, network::listen),
    row(
        "connect",
        [42, 362, 203],
        E::Connect,
        EVERY,
        network::connect,
    )
    .always(),
    row(
        "setsockopt",
        [54, 366, 208],
        E::SetSockOpt,
        EVERY,
        network::setsockopt,
    )
    .x32(541),
    row(
        "socketcall",
        [NO, 102, NO],
        E::Connect,
        &[Test::OneOf(0, SOCKET_CALLS)],
        network::socketcall,
    )
    .always(),
    row(
        "dup2",
        [33, 63, NO],
        E::Dup,
        &[Test::AtMost(1, 2)],
        network::dup_onto,
    ),
    row(
        "dup3",
        [292, 330, 24],
        E::Dup,
        &[Test::AtMost(1, 2)],
        network::dup_onto,
    ),
    row("splice", [275, 313, 76], E::Splice, EVERY, kernel::splice),
    row("vmsplice", [278, 316, 75], E::Splice, EVERY, kernel::splice).x32(532),
    row("tee", [276, 315, 77], E::Splice, EVERY, kernel::splice),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_given_twice_in_one_abi() {
        for abi in [Abi::X86_64, Abi::X32, Abi::I386, Abi::Aarch64] {
            let mut numbers: Vec<_> = TABLE.iter().filter_map(|row| row.number(abi)).collect();
            numbers.sort_unstable();
            let before = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), before, "{abi:?}");
        }
    }

    #[test]
    fn what_no_row_serves_is_not_claimed() {
        let everything = Interest::everything();
        assert_eq!(served(&everything), everything.reported());
        let text = "exec,fork,exit,connect,open:plain";
        assert_eq!(super::served(&text.parse().unwrap()).to_string(), text);
    }

    #[test]
    fn every_call_is_documented() {
        let text = include_str!("../../docs/tracer.md").replace("\\*", "");
        let words: Vec<_> = text
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .collect();
        for row in TABLE {
            assert!(words.contains(&row.name), "{}", row.name);
        }
    }

    #[test]
    fn abis_are_told_apart() {
        assert_eq!(
            Abi::of(0xc000_003e, 0x4000_0000 | 520),
            Some((Abi::X32, 520))
        );
        assert_eq!(Abi::of(0xc000_003e, 59), Some((Abi::X86_64, 59)));
        assert_eq!(Abi::of(0x4000_0003, 11), Some((Abi::I386, 11)));
        assert_eq!(Abi::of(0, 11), None);
    }
}
