//! Fields of events about files and mounts.

use picket_events::EventKind;
use picket_rules::Value;

use super::{Fields, Scene, group, int, user};
use crate::context::file_fields::PERMISSIONS;
use crate::context::{PARAMETERS, WRITES};

/// `sysctl.action`, numbered as SECL's constants.
const SYSCTL_READ: u32 = 1;
const SYSCTL_WRITE: u32 = 2;

pub(super) const FIELDS: Fields = &[
    (
        "open.flags",
        of!(EventKind::Open { flags, .. } => int(*flags)),
    ),
    (
        "open.syscall.flags",
        of!(EventKind::Open { flags, .. } => int(*flags)),
    ),
    (
        "open.file.destination.mode",
        of!(EventKind::Open { mode, .. } => int(*mode)),
    ),
    (
        "open.syscall.mode",
        of!(EventKind::Open { mode, .. } => int(*mode)),
    ),
    (
        "mkdir.file.destination.mode",
        of!(EventKind::Mkdir { mode, .. } => int(*mode)),
    ),
    (
        "mkdir.file.destination.rights",
        of!(EventKind::Mkdir { mode, .. } => int(*mode & PERMISSIONS)),
    ),
    (
        "mkdir.syscall.mode",
        of!(EventKind::Mkdir { mode, .. } => int(*mode)),
    ),
    (
        "chmod.file.destination.mode",
        of!(EventKind::Chmod { mode, .. } => int(*mode)),
    ),
    (
        "chmod.file.destination.rights",
        of!(EventKind::Chmod { mode, .. } => int(*mode & PERMISSIONS)),
    ),
    (
        "chmod.syscall.mode",
        of!(EventKind::Chmod { mode, .. } => int(*mode)),
    ),
    (
        "chown.file.destination.uid",
        of!(EventKind::Chown { uid, .. } => owner(*uid)),
    ),
    (
        "chown.syscall.uid",
        of!(EventKind::Chown { uid, .. } => owner(*uid)),
    ),
    (
        "chown.file.destination.gid",
        of!(EventKind::Chown { gid, .. } => owner(*gid)),
    ),
    (
        "chown.syscall.gid",
        of!(EventKind::Chown { gid, .. } => owner(*gid)),
    ),
    ("chown.file.destination.user", |scene| {
        match &scene.event.kind {
            EventKind::Chown { uid: Some(uid), .. } => Some(user(scene, *uid)),
            _ => None,
        }
    }),
    ("chown.file.destination.group", |scene| {
        match &scene.event.kind {
            EventKind::Chown { gid: Some(gid), .. } => Some(group(scene, *gid)),
            _ => None,
        }
    }),
    (
        "unlink.flags",
        of!(EventKind::Unlink { flags, .. } => int(*flags)),
    ),
    (
        "unlink.syscall.flags",
        of!(EventKind::Unlink { flags, .. } => int(*flags)),
    ),
    (
        "link.symbolic",
        of!(EventKind::Link { symbolic, .. } => Value::Bool(*symbolic)),
    ),
    (
        "setxattr.file.destination.name",
        of!(EventKind::SetXattr { name, .. } => Value::Str(name)),
    ),
    (
        "setxattr.file.destination.namespace",
        of!(EventKind::SetXattr { name, .. } => namespace(name)),
    ),
    (
        "removexattr.file.destination.name",
        of!(EventKind::RemoveXattr { name, .. } => Value::Str(name)),
    ),
    (
        "removexattr.file.destination.namespace",
        of!(EventKind::RemoveXattr { name, .. } => namespace(name)),
    ),
    (
        "mount.fs_type",
        of!(EventKind::Mount { fs_type, .. } => Value::Str(fs_type)),
    ),
    (
        "mount.syscall.fs_type",
        of!(EventKind::Mount { fs_type, .. } => Value::Str(fs_type)),
    ),
    (
        "mount.source.path",
        of!(EventKind::Mount { source, .. } => Value::Str(source)),
    ),
    (
        "mount.syscall.source.path",
        of!(EventKind::Mount { source, .. } => Value::Str(source)),
    ),
    (
        "mount.mountpoint.path",
        of!(EventKind::Mount { mountpoint, .. } => Value::Str(mountpoint)),
    ),
    (
        "dup.descriptor",
        of!(EventKind::Dup { descriptor, .. } => int(*descriptor)),
    ),
    (
        "dup.is_socket",
        of!(EventKind::Dup { is_socket, .. } => Value::Bool(*is_socket)),
    ),
    ("sysctl.name", parameter),
    (
        "sysctl.action",
        of!(EventKind::Open { flags, .. } => int(match flags & WRITES {
            0 => SYSCTL_READ,
            _ => SYSCTL_WRITE,
        })),
    ),
    ("sysctl.name_truncated", |_| Some(Value::Bool(false))),
    (
        "mount.visible",
        of!(EventKind::Mount { mountpoint, .. } => Value::Bool(!mountpoint.is_empty())),
    ),
    (
        "mount.detached",
        of!(EventKind::Mount { mountpoint, .. } => Value::Bool(mountpoint.is_empty())),
    ),
];

/// The parameter that a file below `/proc/sys` stands for, as `net/ipv4/ip_forward`.
fn parameter<'a>(scene: &'a Scene<'_>) -> Option<Value<'a>> {
    let file = scene.event.kind.file()?;
    file.path.strip_prefix(PARAMETERS).map(Value::Str)
}

/// The id that `chown` sets; what it leaves alone is -1 as in the call.
fn owner(id: Option<u32>) -> Value<'static> {
    id.map_or(Value::Int(-1), int)
}

fn namespace(attribute: &str) -> Value<'_> {
    Value::Str(
        attribute
            .split_once('.')
            .map_or("", |(namespace, _)| namespace),
    )
}
