//! Rows: programs, ids, limits, and processes that reach for each other.

use picket_events::{EventType as E, Interest};

use super::EVERY;
use crate::decode::{filters, ids, process, tracer_safety};
use crate::table::{NO, Row, Test, row};

/// `PR_SET_PDEATHSIG`, `PR_SET_DUMPABLE`, `PR_SET_NAME`, `PR_SET_SECCOMP`, `PR_CAPBSET_DROP`,
/// `PR_SET_SECUREBITS`, `PR_SET_MM`, `PR_SET_NO_NEW_PRIVS`, `PR_CAP_AMBIENT`,
/// `PR_SET_PTRACER`.
const PRCTL_OPTIONS: &[u32] = &[1, 4, 15, 22, 24, 28, 35, 38, 47, 0x5961_6d61];
/// `PTRACE_TRACEME`, `POKETEXT`, `POKEDATA`, `POKEUSER`, `ATTACH`, `SETREGS`, `SEIZE`,
/// `SETREGSET`.
const PTRACE_REQUESTS: &[u32] = &[0, 4, 5, 6, 16, 13, 0x4205, 0x4206];
/// `SIGURG`: Go preempts its threads with it thousands of times a second, and PostgreSQL's
/// processes wake each other with it; nobody is harmed
/// by it, since it is ignored unless asked for.
const SIGURG: u32 = 23;
/// Several signal-owner commands: `F_SETOWN`, `F_SETOWN_EX`.
const SET_OWNER: &[u32] = &[8, 15];
const FCNTL: &[Test] = &[
    Test::OneOf(1, SET_OWNER),
    Test::If(wants_duplicates, &Test::Duplicates(1, 2)),
];

fn wants_duplicates(interest: &Interest) -> bool {
    interest.contains(E::Dup)
}

/// `SECCOMP_SET_MODE_FILTER`.
const SET_FILTER: &[u32] = &[filters::SET_MODE_FILTER];
/// `PR_SET_DUMPABLE`, after which we could not open what we have to read, and `PR_SET_SECCOMP`.
const PRCTL_ALWAYS: &[u32] = &[4, filters::PR_SET_SECCOMP];
/// The processes of a user, the caller's own where it is 0.
const PRIO_USER: &[u32] = &[tracer_safety::PRIO_USER as u32];
const IOPRIO_WHO_USER: &[u32] = &[tracer_safety::IOPRIO_WHO_USER as u32];
/// `FIOSETOWN`, `SIOCSPGRP`.
const IOCTL_SET_OWNER: &[u32] = &[0x8901, 0x8902];

/// Programs, ids, limits, and processes that reach for each other.
pub(super) static ROWS: &[Row] = &[
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
    // Every C library's start calls it once: there, a new program is looked at.
    row(
        "set_tid_address",
        [218, 258, 96],
        E::Exec,
        EVERY,
        process::begins,
    )
    .start()
    .always(),
    row(
        "exit_group",
        [231, 252, 94],
        E::Exit,
        EVERY,
        process::exit_group,
    )
    .always(),
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
        &[Test::OneOf(0, SET_FILTER)],
        filters::seccomp,
    )
    .always(),
    row(
        "prctl",
        [157, 172, 167],
        E::Prctl,
        &[
            Test::OneOf(0, PRCTL_ALWAYS),
            Test::IfInterested(&Test::OneOf(0, PRCTL_OPTIONS)),
        ],
        process::prctl,
    )
    .always(),
    row(
        "setitimer",
        [38, 104, 103],
        E::Signal,
        &[Test::Rings(0, 2)],
        process::timer,
    )
    .always(),
    row(
        "kill",
        [62, 37, 129],
        E::Signal,
        &[Test::Aimed(0), Test::IfInterested(&Test::Not(1, SIGURG))],
        tracer_safety::kill,
    )
    .always(),
    row(
        "tkill",
        [200, 238, 130],
        E::Signal,
        &[Test::Aimed(0), Test::IfInterested(&Test::Not(1, SIGURG))],
        tracer_safety::kill,
    )
    .always(),
    row(
        "tgkill",
        [234, 270, 131],
        E::Signal,
        &[Test::Aimed(0), Test::IfInterested(&Test::Not(2, SIGURG))],
        tracer_safety::tgkill,
    )
    .always(),
    row(
        "rt_sigqueueinfo",
        [129, 178, 138],
        E::Signal,
        &[Test::Aimed(0), Test::IfInterested(&Test::Always)],
        tracer_safety::kill,
    )
    .x32(524)
    .always(),
    row(
        "rt_tgsigqueueinfo",
        [297, 335, 240],
        E::Signal,
        &[Test::Aimed(0), Test::IfInterested(&Test::Always)],
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
        "pidfd_getfd",
        [438, 438, 438],
        E::TakeDescriptor,
        EVERY,
        tracer_safety::pidfd_getfd,
    )
    .always(),
    row(
        "fcntl",
        [72, 55, 25],
        E::Signal,
        FCNTL,
        tracer_safety::fcntl,
    )
    .also(&[E::Dup])
    .always(),
    row(
        "fcntl64",
        [NO, 221, NO],
        E::Signal,
        FCNTL,
        tracer_safety::fcntl,
    )
    .also(&[E::Dup])
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
        &[Test::NotZero(1), Test::OneOf(0, PRIO_USER)],
        tracer_safety::priority,
    )
    .always(),
    row(
        "ioprio_set",
        [251, 289, 30],
        E::Signal,
        &[Test::NotZero(1), Test::OneOf(0, IOPRIO_WHO_USER)],
        tracer_safety::io_priority,
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
];
