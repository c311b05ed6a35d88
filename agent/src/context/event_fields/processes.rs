//! Fields of events about processes.

use picket_events::{Credentials, EventKind, kept_name};
use picket_rules::Value;

use super::{Fields, Scene, bits, group, int, user};

pub(super) const FIELDS: Fields = &[
    (
        "exit.cause",
        of!(EventKind::Exit(exit) => int(exit.cause as u8)),
    ),
    (
        "exit.code",
        of!(EventKind::Exit(exit) => int(exit.code.unwrap_or(0))),
    ),
    ("setuid.uid", of!(EventKind::SetUid(ids) => int(ids.uid))),
    ("setuid.euid", of!(EventKind::SetUid(ids) => int(ids.euid))),
    (
        "setuid.fsuid",
        of!(EventKind::SetUid(ids) => int(ids.fsuid)),
    ),
    ("setuid.user", |scene| new_user(scene, |ids| ids.uid)),
    ("setuid.euser", |scene| new_user(scene, |ids| ids.euid)),
    ("setuid.fsuser", |scene| new_user(scene, |ids| ids.fsuid)),
    ("setgid.gid", of!(EventKind::SetGid(ids) => int(ids.gid))),
    ("setgid.egid", of!(EventKind::SetGid(ids) => int(ids.egid))),
    (
        "setgid.fsgid",
        of!(EventKind::SetGid(ids) => int(ids.fsgid)),
    ),
    ("setgid.group", |scene| new_group(scene, |ids| ids.gid)),
    ("setgid.egroup", |scene| new_group(scene, |ids| ids.egid)),
    ("setgid.fsgroup", |scene| new_group(scene, |ids| ids.fsgid)),
    (
        "capset.cap_effective",
        of!(EventKind::Capset { effective, .. } => bits(*effective)),
    ),
    (
        "capset.cap_permitted",
        of!(EventKind::Capset { permitted, .. } => bits(*permitted)),
    ),
    (
        "signal.type",
        of!(EventKind::Signal { signal, .. } => int(*signal)),
    ),
    (
        "signal.pid",
        of!(EventKind::Signal { target, .. } => int(*target)),
    ),
    (
        "setrlimit.resource",
        of!(EventKind::SetRlimit { resource, .. } => int(*resource)),
    ),
    (
        "setrlimit.rlim_cur",
        of!(EventKind::SetRlimit { current, .. } => bits(*current)),
    ),
    (
        "setrlimit.rlim_max",
        of!(EventKind::SetRlimit { maximum, .. } => bits(*maximum)),
    ),
    (
        "prctl.option",
        of!(EventKind::Prctl { option, .. } => int(*option)),
    ),
    (
        "prctl.argument",
        of!(EventKind::Prctl { argument, .. } => bits(*argument)),
    ),
    (
        "prctl.new_name",
        of!(EventKind::Prctl { name, .. } => Value::Str(kept_name(name))),
    ),
    (
        "prctl.is_name_truncated",
        of!(EventKind::Prctl { name, .. } => Value::Bool(kept_name(name) != name)),
    ),
    (
        "ptrace.request",
        of!(EventKind::Ptrace { request, .. } => int(*request)),
    ),
    (
        "memory_write.pid",
        of!(EventKind::MemoryWrite { target } => int(*target)),
    ),
    (
        "pidfd_getfd.pid",
        of!(EventKind::TakeDescriptor { target, .. } => int(*target)),
    ),
    (
        "pidfd_getfd.is_socket",
        of!(EventKind::TakeDescriptor { is_socket, .. } => Value::Bool(*is_socket)),
    ),
];

fn new_user<'a>(scene: &'a Scene<'_>, id: impl Fn(&Credentials) -> u32) -> Option<Value<'a>> {
    match &scene.event.kind {
        EventKind::SetUid(ids) => Some(user(scene, id(ids))),
        _ => None,
    }
}

fn new_group<'a>(scene: &'a Scene<'_>, id: impl Fn(&Credentials) -> u32) -> Option<Value<'a>> {
    match &scene.event.kind {
        EventKind::SetGid(ids) => Some(group(scene, id(ids))),
        _ => None,
    }
}
