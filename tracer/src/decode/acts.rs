//! Calls that can be denied, as acts that the tracer can do in the caller's place.

use std::ffi::CString;

use picket_events::file::FileFault;

use super::files::{AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, itself};
use super::{Call, Located};
use crate::sys::{Errno, Result};

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Open what a path leads to.
    Open { at: Located, flags: u32, mode: u32 },
    /// Cut it.
    Truncate { at: Located, length: i64 },
    /// Remove a name.
    Unlink { at: Located, flags: u32 },
    /// Move a name.
    Rename {
        from: Located,
        to: Located,
        flags: u32,
    },
    /// Make a directory.
    Mkdir { at: Located, mode: u32 },
    /// Make a file that is not opened: its type stands in the mode.
    Make { at: Located, mode: u32, device: u32 },
    /// Give a file another name.
    Link { target: Located, to: Located },
    /// Make a symbolic link.
    Symlink { text: CString, at: Located },
    /// Set permission bits.
    Chmod { at: Located, mode: u32 },
    /// Set owner and group; `u32::MAX` for unchanged.
    Chown { at: Located, uid: u32, gid: u32 },
}

const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;

/// What the call of this name asks for; an error is what the caller gets instead.
pub(crate) fn act(call: &Call<'_>, name: &str) -> Result<Act> {
    let act = asked(call, name)?;
    let places = match &act {
        Act::Open { at, .. }
        | Act::Truncate { at, .. }
        | Act::Unlink { at, .. }
        | Act::Mkdir { at, .. }
        | Act::Make { at, .. }
        | Act::Symlink { at, .. }
        | Act::Chmod { at, .. }
        | Act::Chown { at, .. } => [Some(at), None],
        Act::Rename { from, to, .. } => [Some(from), Some(to)],
        Act::Link { target, to } => [Some(target), Some(to)],
    };
    for at in places.into_iter().flatten() {
        match at.fault {
            // The kernel could not read it either.
            Some(FileFault::Unreadable) if call.process.memory().is_some() => {
                return Err(Errno(libc::EFAULT));
            }
            Some(FileFault::Unreadable) => return Err(Errno(libc::EPERM)),
            Some(_) => return Err(Errno(libc::ENOENT)),
            None => {}
        }
        if at.path.is_empty() && at.descriptor.is_none() {
            return Err(Errno(libc::ENOENT)); // an empty path names nothing
        }
    }
    Ok(act)
}

fn asked(call: &Call<'_>, name: &str) -> Result<Act> {
    let path = |argument, follow| call.path(argument, follow);
    let path_at = |directory, argument, follow| call.path_at(call.int(directory), argument, follow);
    Ok(match name {
        "open" => open(path(0, true), call.word(1), call.word(2)),
        "openat" => open(path_at(0, 1, true), call.word(2), call.word(3)),
        "creat" => {
            let flags = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u32;
            open(path(0, true), flags, call.word(1))
        }
        "openat2" => openat2(call)?,
        "truncate" => Act::Truncate {
            at: path(0, true),
            length: match call.abi.register_size() {
                8 => call.args[1] as i64,
                _ => i64::from(call.int(1)),
            },
        },
        "truncate64" => Act::Truncate {
            at: path(0, true),
            length: (u64::from(call.word(2)) << 32 | u64::from(call.word(1))) as i64,
        },
        "unlink" => Act::Unlink {
            at: path(0, false),
            flags: 0,
        },
        "rmdir" => Act::Unlink {
            at: path(0, false),
            flags: AT_REMOVEDIR,
        },
        "unlinkat" => Act::Unlink {
            at: path_at(0, 1, false),
            flags: call.word(2),
        },
        "rename" => Act::Rename {
            from: path(0, false),
            to: path(1, false),
            flags: 0,
        },
        "renameat" | "renameat2" => Act::Rename {
            from: path_at(0, 1, false),
            to: path_at(2, 3, false),
            flags: if name == "renameat2" { call.word(4) } else { 0 },
        },
        "mkdir" => Act::Mkdir {
            at: path(0, false),
            mode: call.word(1),
        },
        "mkdirat" => Act::Mkdir {
            at: path_at(0, 1, false),
            mode: call.word(2),
        },
        "mknod" => Act::Make {
            at: path(0, false),
            mode: call.word(1),
            device: call.word(2),
        },
        "mknodat" => Act::Make {
            at: path_at(0, 1, false),
            mode: call.word(2),
            device: call.word(3),
        },
        "link" => Act::Link {
            target: path(0, false),
            to: path(1, false),
        },
        "linkat" => Act::Link {
            target: path_at(0, 1, call.word(4) & AT_SYMLINK_FOLLOW != 0),
            to: path_at(2, 3, false),
        },
        "symlink" => Act::Symlink {
            text: text(call, 0)?,
            at: path(1, false),
        },
        "symlinkat" => Act::Symlink {
            text: text(call, 0)?,
            at: path_at(1, 2, false),
        },
        "chmod" => Act::Chmod {
            at: path(0, true),
            mode: call.word(1),
        },
        "fchmod" => Act::Chmod {
            at: itself(call.int(0)),
            mode: call.word(1),
        },
        "fchmodat" => Act::Chmod {
            at: path_at(0, 1, true),
            mode: call.word(2),
        },
        "fchmodat2" => Act::Chmod {
            at: path_at(0, 1, call.word(3) & AT_SYMLINK_NOFOLLOW == 0),
            mode: call.word(2),
        },
        "chown" | "chown32" => owned(call, path(0, true), 1),
        "lchown" | "lchown32" => owned(call, path(0, false), 1),
        "fchown" | "fchown32" => owned(call, itself(call.int(0)), 1),
        "fchownat" => {
            let follow = call.word(4) & AT_SYMLINK_NOFOLLOW == 0;
            owned(call, path_at(0, 1, follow), 2)
        }
        // A file that is known by a handle only has no path that could be judged.
        _ => return Err(Errno(libc::EPERM)),
    })
}

fn open(at: Located, flags: u32, mode: u32) -> Act {
    let is_new = flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL;
    let follow = flags & libc::O_NOFOLLOW as u32 == 0 && !is_new;
    let at = Located { follow, ..at };
    Act::Open { at, flags, mode }
}

/// One that restricts how its path is walked is answered as by a kernel that does not know the
/// call: programs have another way then.
fn openat2(call: &Call<'_>) -> Result<Act> {
    let mut how = [0u8; 24];
    call.read(call.address(2), &mut how)?;
    let word = |at: usize| {
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(&how[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    if word(16) != 0 {
        return Err(Errno(libc::ENOSYS));
    }
    let at = call.path_at(call.int(0), 1, true);
    Ok(open(at, word(0) as u32, word(8) as u32))
}

/// The 16-bit calls of i386 have a -1 of their own.
fn owned(call: &Call<'_>, at: Located, first: usize) -> Act {
    let id = |argument| match call.word(argument) {
        0xffff if call.abi.register_size() == 4 => u32::MAX,
        id => id,
    };
    Act::Chown {
        at,
        uid: id(first),
        gid: id(first + 1),
    }
}

fn text(call: &Call<'_>, argument: usize) -> Result<CString> {
    let text = call.string(argument, crate::memory::PATH_MAX)?;
    CString::new(text).map_err(|_| Errno(libc::EINVAL))
}
