//! The rows: one for each system call.

use picket_events::EventType;

use super::{NO, Row, Test, row};
use crate::decode::{files, ids, kernel, network, process, tracer_safety, traffic};

const EVERY: &[Test] = &[Test::Always];
/// `CLONE_NEW*`: name spaces, as opposed to sharing.
const NEW_NAMESPACES: u32 = 0x7e02_0080;
/// The low byte of `clone`'s flags is the signal that tells of the child's end.
const EXIT_SIGNAL: u32 = 0xff;
const EXECUTABLE: u32 = 4; // PROT_EXEC
const WRITABLE_EXECUTABLE: u32 = 2 | 4; // PROT_WRITE | PROT_EXEC
/// `PR_SET_PDEATHSIG`, `PR_SET_DUMPABLE`, `PR_SET_NAME`, `PR_SET_SECCOMP`, `PR_CAPBSET_DROP`,
/// `PR_SET_SECUREBITS`, `PR_SET_MM`, `PR_SET_NO_NEW_PRIVS`, `PR_CAP_AMBIENT`,
/// `PR_SET_PTRACER`.
const PRCTL_OPTIONS: &[u32] = &[1, 4, 15, 22, 24, 28, 35, 38, 47, 0x5961_6d61];
/// `PTRACE_TRACEME`, `POKETEXT`, `POKEDATA`, `POKEUSER`, `ATTACH`, `SETREGS`, `SEIZE`,
/// `SETREGSET`.
const PTRACE_REQUESTS: &[u32] = &[0, 4, 5, 6, 16, 13, 0x4205, 0x4206];
/// `SYS_SOCKET`, `SYS_BIND`, `SYS_CONNECT`, `SYS_LISTEN`, `SYS_ACCEPT`, `SYS_SENDTO`,
/// `SYS_RECVFROM`, `SYS_SETSOCKOPT`, `SYS_ACCEPT4`, `SYS_SENDMMSG`. The arguments of these
/// stand in memory, so they cannot be told apart further.
const SOCKET_CALLS: &[u32] = &[1, 2, 3, 4, 5, 11, 12, 14, 18, 20];
/// `SIGURG`: Go preempts its threads with it thousands of times a second, and PostgreSQL's
/// processes wake each other with it; nobody is harmed
/// by it, since it is ignored unless asked for.
const SIGURG: u32 = 23;
/// Several signal-owner commands: `F_SETOWN`, `F_SETOWN_EX`.
const SET_OWNER: &[u32] = &[8, 15];
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 8;
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
    // Only those that make name spaces: threads and ordinary children show by themselves.
    row(
        "clone",
        [56, 120, 220],
        E::Unshare,
        &[Test::AnyBit(0, NEW_NAMESPACES & !EXIT_SIGNAL)],
        kernel::clone,
    ),
    row("clone3", [435, 435, 435], E::Unshare, EVERY, kernel::clone3),
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
    row("setgroups", [116, 81, 159], E::SetGid, EVERY, ids::set_gid),
    row("setgroups32", [NO, 206, NO], E::SetGid, EVERY, ids::set_gid),
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
        "seccomp",
        [317, 354, 277],
        E::Prctl,
        &[Test::AllBits(1, NEW_LISTENER)],
        tracer_safety::own_listener,
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
    row(
        "kill",
        [62, 37, 129],
        E::Signal,
        &[Test::Not(1, SIGURG)],
        tracer_safety::kill,
    )
    .always(),
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
    row("old_mmap", [NO, 90, NO], E::Mmap, EVERY, kernel::old_mmap),
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
    // In quarantine it is refused.
    row("bind", [49, 361, 200], E::Bind, EVERY, network::bind).always(),
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
    row("accept", [43, NO, 202], E::Accept, EVERY, traffic::accept),
    row(
        "accept4",
        [288, 364, 242],
        E::Accept,
        EVERY,
        traffic::accept,
    ),
    // With an address it is a datagram; a request to a metadata service has none.
    row(
        "sendto",
        [44, 369, 206],
        E::Imds,
        &[Test::Question(2, 4), Test::IfInterested(&Test::Always)],
        traffic::sendto,
    )
    .also(E::Dns)
    .reaches_out(),
    row("sendmsg", [46, 370, 211], E::Imds, EVERY, traffic::sendmsg)
        .x32(518)
        .reaches_out(),
    row(
        "sendmmsg",
        [307, 345, 269],
        E::Dns,
        EVERY,
        traffic::sendmmsg,
    )
    .x32(538)
    .reaches_out(),
    // Who reads from a connection does not ask who has sent it.
    row(
        "recvfrom",
        [45, 371, 207],
        E::Dns,
        &[Test::NotZero(4)],
        traffic::recvfrom,
    )
    .x32(517),
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
