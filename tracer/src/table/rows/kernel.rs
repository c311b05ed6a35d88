//! Rows: mounts, name spaces, executable memory, and what reaches into the kernel.

use picket_events::{EventType as E, Interest};

use super::EVERY;
use crate::decode::{files, kernel};
use crate::table::{NO, Row, Test, row};

/// `CLONE_NEW*`: name spaces, as opposed to sharing.
const NEW_NAMESPACES: u32 = 0x7e02_0080;
/// The low byte of `clone`'s flags is the signal that tells of the child's end.
const EXIT_SIGNAL: u32 = 0xff;
const EXECUTABLE: u32 = 4; // PROT_EXEC
const WRITABLE_EXECUTABLE: u32 = 2 | 4; // PROT_WRITE | PROT_EXEC
/// What is mapped executable, and writable where only that is asked for.
const MAPPINGS: &[Test] = &[
    Test::AllBits(2, WRITABLE_EXECUTABLE),
    Test::If(wants_every_mapping, &Test::AnyBit(2, EXECUTABLE)),
];

fn wants_every_mapping(interest: &Interest) -> bool {
    interest.every_mapping
}

const OPEN_TREE_CLONE: u32 = 1;
/// `FSCONFIG_SET_STRING`, `FSCONFIG_SET_PATH`.
const SET_TEXT: &[u32] = &[1, 3];

/// Mounts, name spaces, executable memory, and what reaches into the kernel.
pub(super) static ROWS: &[Row] = &[
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
    row("fsmount", [432, 432, 432], E::Mount, EVERY, kernel::fsmount),
    row(
        "open_tree",
        [428, 428, 428],
        E::Mount,
        &[Test::AnyBit(2, OPEN_TREE_CLONE)],
        kernel::open_tree,
    ),
    row(
        "open_tree_attr",
        [467, 467, 467],
        E::Mount,
        &[Test::AnyBit(2, OPEN_TREE_CLONE)],
        kernel::open_tree,
    ),
    row(
        "fsconfig",
        [431, 431, 431],
        E::Mount,
        &[Test::OneOf(1, SET_TEXT)],
        kernel::fsconfig,
    ),
    row("fspick", [433, 433, 433], E::Mount, EVERY, kernel::fspick),
    row(
        "mount_setattr",
        [442, 442, 442],
        E::Mount,
        EVERY,
        kernel::mount_setattr,
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
    row("mmap", [9, NO, 222], E::Mmap, MAPPINGS, kernel::mmap),
    row("old_mmap", [NO, 90, NO], E::Mmap, EVERY, kernel::old_mmap),
    row("mmap2", [NO, 192, NO], E::Mmap, MAPPINGS, kernel::mmap),
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
    // Code in shared memory of System V.
    row(
        "shmat",
        [30, 397, 196],
        E::Mmap,
        &[Test::AllBits(2, kernel::SHM_EXEC)],
        kernel::shmat,
    ),
    row(
        "ipc",
        [NO, 117, NO],
        E::Mmap,
        &[Test::AllBits(0, kernel::IPC_SHMAT)],
        kernel::ipc,
    ),
    // What can be read can be executed from then on.
    row(
        "personality",
        [135, 136, 92],
        E::Mprotect,
        &[Test::AllBits(0, kernel::READ_IMPLIES_EXEC)],
        kernel::personality,
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
    row("splice", [275, 313, 76], E::Splice, EVERY, kernel::splice),
    row("vmsplice", [278, 316, 75], E::Splice, EVERY, kernel::splice).x32(532),
    row("tee", [276, 315, 77], E::Splice, EVERY, kernel::splice),
];
