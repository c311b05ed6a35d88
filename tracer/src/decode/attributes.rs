//! Calls that change what a file is like: permissions, owner, times, extended attributes.

use picket_events::{EventKind, File};

use super::files::{AT_SYMLINK_NOFOLLOW, exists, itself, way};
use super::spaces::{Owner, owner};
use super::{Call, Located, Verdict};
use crate::confirm::Check;

fn chmod_as(call: &Call<'_>, at: &Located, mode: u32) -> Verdict {
    let (file, resolved) = call.look(at);
    if resolved.is_missing() {
        return Verdict::Pass;
    }
    let check = match resolved.metadata {
        Some(before) if before.mode & 0o7777 != mode & 0o7777 && !resolved.path.is_empty() => {
            Check::Mode {
                way: way(at, &resolved),
                path: resolved.path,
                mode,
            }
        }
        _ => Check::Nothing,
    };
    Verdict::Watch(EventKind::Chmod { file, mode }, check)
}

pub(crate) fn chmod(call: &Call<'_>) -> Verdict {
    chmod_as(call, &call.path(0, true), call.word(1))
}

pub(crate) fn fchmod(call: &Call<'_>) -> Verdict {
    chmod_as(call, &itself(call.int(0)), call.word(1))
}

/// The older call has no flags; what stands in a fourth argument is not looked at.
pub(crate) fn fchmodat(call: &Call<'_>) -> Verdict {
    chmod_as(call, &call.path_at(call.int(0), 1, true), call.word(2))
}

pub(crate) fn fchmodat2(call: &Call<'_>) -> Verdict {
    let follow = call.word(3) & AT_SYMLINK_NOFOLLOW == 0;
    chmod_as(call, &call.path_at(call.int(0), 1, follow), call.word(2))
}

fn chown_as(call: &Call<'_>, at: &Located, ids: [u32; 2]) -> Verdict {
    let (file, resolved) = call.look(at);
    if resolved.is_missing() {
        return Verdict::Pass;
    }
    // -1 leaves an id as it is; the 16-bit calls have a -1 of their own.
    let is_narrow = call.abi.register_size() == 4;
    let [uid, gid] = ids.map(|id| (id != u32::MAX && !(is_narrow && id == 0xffff)).then_some(id));
    let uid = uid.map(|uid| owner(call, Owner::User, uid));
    let gid = gid.map(|gid| owner(call, Owner::Group, gid));
    let check = match resolved.metadata {
        Some(before)
            if uid.is_some_and(|uid| uid != before.uid)
                || gid.is_some_and(|gid| gid != before.gid) =>
        {
            Check::Owner {
                way: way(at, &resolved),
                path: resolved.path,
                uid,
                gid,
            }
        }
        _ => Check::Nothing,
    };
    Verdict::Watch(EventKind::Chown { file, uid, gid }, check)
}

pub(crate) fn chown(call: &Call<'_>) -> Verdict {
    chown_as(call, &call.path(0, true), [call.word(1), call.word(2)])
}

pub(crate) fn lchown(call: &Call<'_>) -> Verdict {
    chown_as(call, &call.path(0, false), [call.word(1), call.word(2)])
}

pub(crate) fn fchown(call: &Call<'_>) -> Verdict {
    chown_as(call, &itself(call.int(0)), [call.word(1), call.word(2)])
}

pub(crate) fn fchownat(call: &Call<'_>) -> Verdict {
    let follow = call.word(4) & AT_SYMLINK_NOFOLLOW == 0;
    chown_as(
        call,
        &call.path_at(call.int(0), 1, follow),
        [call.word(2), call.word(3)],
    )
}

pub(crate) fn utimes(call: &Call<'_>) -> Verdict {
    exists(
        call.path(0, true),
        EventKind::Utimes {
            file: File::default(),
        },
    )
}

pub(crate) fn utimesat(call: &Call<'_>) -> Verdict {
    let kind = EventKind::Utimes {
        file: File::default(),
    };
    if call.address(1) == 0 {
        return exists(itself(call.int(0)), kind);
    }
    let follow = call.word(3) & AT_SYMLINK_NOFOLLOW == 0;
    exists(call.path_at(call.int(0), 1, follow), kind)
}

/// Longest name of an attribute, its end included.
const ATTRIBUTE_MAX: usize = 256;

fn set_named(call: &Call<'_>, at: Located, name: usize) -> Verdict {
    exists(
        at,
        EventKind::SetXattr {
            file: File::default(),
            name: call.text(name, ATTRIBUTE_MAX),
        },
    )
}

fn remove_named(call: &Call<'_>, at: Located, name: usize) -> Verdict {
    exists(
        at,
        EventKind::RemoveXattr {
            file: File::default(),
            name: call.text(name, ATTRIBUTE_MAX),
        },
    )
}

fn set_attribute(call: &Call<'_>, at: Located) -> Verdict {
    set_named(call, at, 1)
}

fn remove_attribute(call: &Call<'_>, at: Located) -> Verdict {
    remove_named(call, at, 1)
}

/// Directory, path, flags, as the calls since Linux 6.13 take them.
fn at_with_flags(call: &Call<'_>) -> Located {
    let follow = call.word(2) & AT_SYMLINK_NOFOLLOW == 0;
    call.path_at(call.int(0), 1, follow)
}

pub(crate) fn setxattrat(call: &Call<'_>) -> Verdict {
    set_named(call, at_with_flags(call), 3)
}

pub(crate) fn removexattrat(call: &Call<'_>) -> Verdict {
    remove_named(call, at_with_flags(call), 3)
}

pub(crate) fn setxattr(call: &Call<'_>) -> Verdict {
    set_attribute(call, call.path(0, true))
}

pub(crate) fn lsetxattr(call: &Call<'_>) -> Verdict {
    set_attribute(call, call.path(0, false))
}

pub(crate) fn fsetxattr(call: &Call<'_>) -> Verdict {
    set_attribute(call, itself(call.int(0)))
}

pub(crate) fn removexattr(call: &Call<'_>) -> Verdict {
    remove_attribute(call, call.path(0, true))
}

pub(crate) fn lremovexattr(call: &Call<'_>) -> Verdict {
    remove_attribute(call, call.path(0, false))
}

pub(crate) fn fremovexattr(call: &Call<'_>) -> Verdict {
    remove_attribute(call, itself(call.int(0)))
}
