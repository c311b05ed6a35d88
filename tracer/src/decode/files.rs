//! Calls that name files.

use picket_events::{EventKind, File};

use super::{Call, Located, Verdict, within};
use crate::confirm::Check;
use crate::resolve::Resolved;
use crate::table::OPEN_WRITING;

pub(super) const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
pub(super) const AT_REMOVEDIR: u32 = 0x200;
pub(super) const AT_SYMLINK_FOLLOW: u32 = 0x400;
const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;
const O_TMPFILE: u32 = 0o20_000_000;

/// A new file's name may not be a link; neither is one followed with O_NOFOLLOW.
fn follows(flags: u32) -> bool {
    flags & libc::O_NOFOLLOW as u32 == 0 && flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL
}

fn open_as(call: &Call<'_>, at: Located, flags: u32, mode: u32) -> Verdict {
    let creates = flags & O_CREAT != 0 && flags & O_TMPFILE == 0;
    let writes = flags & OPEN_WRITING != 0;
    let at = Located {
        follow: follows(flags),
        ..at
    };
    // What is to be made and is there already is not opened: afterwards it would look as if it had been
    // made, or was open since.
    let (file, check) = match flags & MADE {
        MADE if creates => {
            let (file, resolved) = call.look(&at);
            (file, resolved.metadata.map(|_| Check::Nothing))
        }
        _ => (File::default(), None),
    };
    let kind = EventKind::Open {
        file,
        flags,
        // Where nothing is made, whatever the register holds means nothing.
        mode: match flags & (O_CREAT | O_TMPFILE) {
            0 => 0,
            _ => mode,
        },
    };
    let stamps = flags & (O_CREAT | O_TRUNC) != 0;
    let check = check.unwrap_or(Check::Open {
        at,
        creates,
        writes,
        stamps,
    });
    Verdict::Watch(kind, check)
}

pub(crate) fn open(call: &Call<'_>) -> Verdict {
    open_as(call, call.path(0, true), call.word(1), call.word(2))
}

pub(crate) fn openat(call: &Call<'_>) -> Verdict {
    open_as(
        call,
        call.path_at(call.int(0), 1, true),
        call.word(2),
        call.word(3),
    )
}

pub(crate) fn openat2(call: &Call<'_>) -> Verdict {
    let mut how = [0u8; 24];
    if call.read(call.address(2), &mut how).is_err() {
        return open_as(call, call.path_at(call.int(0), 1, true), 0, 0);
    }
    let word = |at: usize| {
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(&how[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let (flags, mode, resolve) = (word(0) as u32, word(8) as u32, word(16));
    const IN_ROOT: u64 = 0x10; // RESOLVE_IN_ROOT
    let at = match resolve & IN_ROOT {
        0 => call.path_at(call.int(0), 1, true),
        _ => within::within(call, call.int(0), 1, follows(flags)),
    };
    open_as(call, at, flags, mode)
}

pub(crate) fn creat(call: &Call<'_>) -> Verdict {
    let flags = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u32;
    open_as(call, call.path(0, true), flags, call.word(1))
}

/// The file is known only by a handle: it shows when it is open.
pub(crate) fn memfd_create(call: &Call<'_>) -> Verdict {
    let name = call.string(0, 250).unwrap_or_default();
    let link = [b"/memfd:".as_slice(), &name, b" (deleted)"].concat();
    let name = format!("memfd:{}", picket_events::text::from_bytes(&name)).into();
    let file = File {
        name,
        ..File::default()
    };
    let flags = (libc::O_CREAT | libc::O_RDWR) as u32;
    let kind = EventKind::Open {
        file,
        flags,
        mode: 0,
    };
    Verdict::Watch(kind, Check::Descriptor(link))
}

/// Memory that only its own process can read: no tracer could know what a call names whose path stands
/// there. So it is said not to exist; kernels without it, or that are told not to have it, say the same.
pub(crate) fn memfd_secret(_call: &Call<'_>) -> Verdict {
    let file = File {
        name: "secretmem".into(),
        ..File::default()
    };
    Verdict::Refuse {
        errno: libc::ENOSYS,
        event: Some(EventKind::Open {
            file,
            flags: (libc::O_CREAT | libc::O_RDWR) as u32,
            mode: 0,
        }),
        tampering: false,
    }
}

pub(crate) fn truncate(call: &Call<'_>) -> Verdict {
    let flags = (libc::O_WRONLY | libc::O_TRUNC) as u32;
    let (file, resolved) = call.look(&call.path(0, true));
    if resolved.is_missing() {
        return Verdict::Pass;
    }
    Verdict::Watch(
        EventKind::Open {
            file,
            flags,
            mode: 0,
        },
        Check::Nothing,
    )
}

/// The way to what was found, as it was written; for an open descriptor, its name.
pub(super) fn way(at: &Located, found: &Resolved) -> Vec<u8> {
    match at.descriptor {
        Some(_) => found.path.clone(),
        None => at.path.clone(),
    }
}

/// Looks at a name before it is removed; `None` when there is nothing to remove.
fn before_removal(call: &Call<'_>, at: &Located) -> Option<(File, Check)> {
    let (file, resolved) = call.look(at);
    if resolved.is_missing() {
        return None;
    }
    let check = match resolved.metadata {
        Some(before) => Check::Gone {
            way: way(at, &resolved),
            path: resolved.path,
            before,
        },
        None => Check::Nothing,
    };
    Some((file, check))
}

fn remove(call: &Call<'_>, at: &Located, flags: u32) -> Verdict {
    let Some((file, check)) = before_removal(call, at) else {
        return Verdict::Pass;
    };
    let kind = if flags & AT_REMOVEDIR != 0 {
        EventKind::Rmdir { file }
    } else {
        EventKind::Unlink { file, flags }
    };
    Verdict::Watch(kind, check)
}

pub(crate) fn unlink(call: &Call<'_>) -> Verdict {
    remove(call, &call.path(0, false), 0)
}

pub(crate) fn unlinkat(call: &Call<'_>) -> Verdict {
    remove(call, &call.path_at(call.int(0), 1, false), call.word(2))
}

pub(crate) fn rmdir(call: &Call<'_>) -> Verdict {
    remove(call, &call.path(0, false), AT_REMOVEDIR)
}

fn rename_as(call: &Call<'_>, from: &Located, to: Located) -> Verdict {
    let (file, resolved) = call.look(from);
    if resolved.is_missing() {
        return Verdict::Pass;
    }
    let kind = EventKind::Rename {
        from: file,
        to: File::default(),
    };
    match resolved.metadata {
        Some(before) => {
            let way = way(from, &resolved);
            Verdict::Watch(kind, Check::Moved { way, to, before })
        }
        None => Verdict::Watch(kind, Check::Nothing),
    }
}

pub(crate) fn rename(call: &Call<'_>) -> Verdict {
    rename_as(call, &call.path(0, false), call.path(1, false))
}

pub(crate) fn renameat(call: &Call<'_>) -> Verdict {
    let from = call.path_at(call.int(0), 1, false);
    rename_as(call, &from, call.path_at(call.int(2), 3, false))
}

/// A call that makes a new name: it fails where the name is there already.
fn appears(call: &Call<'_>, at: Located, kind: EventKind) -> Verdict {
    let (_, resolved) = call.look(&at);
    if resolved.metadata.is_some() {
        return Verdict::Pass;
    }
    Verdict::Watch(kind, Check::Appears(at))
}

pub(crate) fn mkdir(call: &Call<'_>) -> Verdict {
    let kind = EventKind::Mkdir {
        file: File::default(),
        mode: call.word(1),
    };
    appears(call, call.path(0, false), kind)
}

pub(crate) fn mkdirat(call: &Call<'_>) -> Verdict {
    let kind = EventKind::Mkdir {
        file: File::default(),
        mode: call.word(2),
    };
    appears(call, call.path_at(call.int(0), 1, false), kind)
}

/// `O_CREAT` and `O_EXCL`: how a file that is made without being opened is told and judged.
pub(crate) const MADE: u32 = O_CREAT | O_EXCL;

/// A file is made, and not opened: told as an open that does only that, its mode with the type of
/// what is made.
fn made(call: &Call<'_>, at: Located, mode: u32) -> Verdict {
    let kind = EventKind::Open {
        file: File::default(),
        flags: MADE,
        mode,
    };
    appears(call, at, kind)
}

pub(crate) fn mknod(call: &Call<'_>) -> Verdict {
    made(call, call.path(0, false), call.word(1))
}

pub(crate) fn mknodat(call: &Call<'_>) -> Verdict {
    made(call, call.path_at(call.int(0), 1, false), call.word(2))
}

fn link_as(call: &Call<'_>, target: &Located, link: Located) -> Verdict {
    let (target, resolved) = call.look(target);
    if resolved.is_missing() {
        return Verdict::Pass;
    }
    appears(
        call,
        link,
        EventKind::Link {
            target,
            link: File::default(),
            symbolic: false,
        },
    )
}

pub(crate) fn link(call: &Call<'_>) -> Verdict {
    link_as(call, &call.path(0, false), call.path(1, false))
}

pub(crate) fn linkat(call: &Call<'_>) -> Verdict {
    let follow = call.word(4) & AT_SYMLINK_FOLLOW != 0;
    let target = call.path_at(call.int(0), 1, follow);
    link_as(call, &target, call.path_at(call.int(2), 3, false))
}

fn symlink_as(call: &Call<'_>, link: Located) -> Verdict {
    // The target is text: it need not exist, and is kept as it was written.
    let target = File::from_path(call.text(0, crate::memory::PATH_MAX));
    appears(
        call,
        link,
        EventKind::Link {
            target,
            link: File::default(),
            symbolic: true,
        },
    )
}

pub(crate) fn symlink(call: &Call<'_>) -> Verdict {
    symlink_as(call, call.path(1, false))
}

pub(crate) fn symlinkat(call: &Call<'_>) -> Verdict {
    symlink_as(call, call.path_at(call.int(1), 2, false))
}

/// An open descriptor as the object of a call.
pub(super) fn itself(descriptor: i32) -> Located {
    Located {
        path: Vec::new(),
        descriptor: Some(descriptor),
        follow: true,
        fault: None,
        below: None,
    }
}

pub(super) fn exists(at: Located, kind: EventKind) -> Verdict {
    Verdict::Watch(kind, Check::Exists(at))
}

/// Looked at before the call: afterwards a path through `/proc/self/cwd` leads elsewhere.
pub(crate) fn chdir(call: &Call<'_>) -> Verdict {
    let (file, resolved) = call.look(&call.path(0, true));
    if resolved.is_missing() {
        return Verdict::Pass;
    }
    Verdict::Watch(EventKind::Chdir { file }, Check::Nothing)
}

pub(crate) fn fchdir(call: &Call<'_>) -> Verdict {
    exists(
        itself(call.int(0)),
        EventKind::Chdir {
            file: File::default(),
        },
    )
}

/// `chroot` and `pivot_root`: the new root is looked at before the call, while its path still
/// leads there.
pub(crate) fn chroot(call: &Call<'_>) -> Verdict {
    let (file, resolved) = call.look(&call.path(0, true));
    if resolved.is_missing() {
        return Verdict::Pass;
    }
    let before = call.process.root.clone();
    Verdict::Watch(EventKind::Chroot { file }, Check::Root(before))
}
