//! Fields of a file.

use picket_events::File;
use picket_rules::Value;

use super::{Scene, clock};

/// Answers a field of a file.
pub(super) type FileField = for<'a> fn(&'a Scene<'a>, &'a File) -> Value<'a>;

/// Permission bits of a mode, set-id and sticky bits included.
pub(super) const PERMISSIONS: u32 = 0o7777;

const FIELDS: &[(&str, FileField)] = &[
    ("uid", |_, file| Value::Int(file.uid.into())),
    ("gid", |_, file| Value::Int(file.gid.into())),
    ("user", |scene, file| {
        Value::Str(known(file, scene.container.accounts.user(file.uid)))
    }),
    ("group", |scene, file| {
        Value::Str(known(file, scene.container.accounts.group(file.gid)))
    }),
    ("mode", |_, file| Value::Int(file.mode.into())),
    ("rights", |_, file| {
        Value::Int((file.mode & PERMISSIONS).into())
    }),
    ("change_time", |_, file| Value::Int(clock(file.change_time))),
    ("modification_time", |_, file| {
        Value::Int(clock(file.modification_time))
    }),
    ("inode", |_, file| Value::Int(file.inode as i64)),
    ("mount_id", |_, file| Value::Int(file.mount_id as i64)),
    ("in_upper_layer", |scene, file| {
        Value::Bool(is_changed(scene, file))
    }),
    ("path", |_, file| Value::Str(&file.path)),
    ("name", |_, file| Value::Str(&file.name)),
    ("filesystem", |_, file| Value::Str(&file.filesystem)),
    ("extension", |_, file| Value::Str(file.extension())),
    ("hashes", |scene, file| {
        Value::Strs(scene.derived.hashes(file))
    }),
    // What a path leads to is mounted where it can be seen.
    ("mount_visible", |_, file| {
        Value::Bool(!file.path.is_empty())
    }),
];

pub(super) fn find(name: &str) -> Option<FileField> {
    FIELDS
        .iter()
        .find(|(field, _)| *field == name)
        .map(|(_, get)| *get)
}

/// The name of an owner; nothing where no metadata was read, rather than root's.
fn known<'a>(file: &File, name: &'a str) -> &'a str {
    if file.inode == 0 { "" } else { name }
}

/// True when the file was changed since the container started. Overlay layers cannot be told
/// apart from inside; what an image brings was unpacked before.
pub(super) fn is_changed(scene: &Scene<'_>, file: &File) -> bool {
    file.change_time > scene.container.started_at && scene.container.started_at > 0
}
