//! What changes of names, files and mounts have left.

use picket_events::{EventKind, Outcome};

use super::{Settled, Sight, set_file};
use crate::decode::{self, Located, accepting};
use crate::mounts::{self, MountId};
use crate::resolve::Resolved;
use crate::sys::Errno;
use crate::sys::files::Metadata;

impl Sight<'_> {
    /// The name is gone, or means another file.
    pub(super) fn gone(&self, path: &[u8], before: &Metadata) -> Settled {
        self.unless_seen(match self.view.metadata(path, false) {
            Ok(now) => Some(!now.same_file(before)),
            Err(Errno(libc::ENOENT | libc::ENOTDIR)) => Some(true),
            Err(_) => None,
        })
    }

    /// The file has another name.
    pub(super) fn moved(&self, kind: &mut EventKind, to: &Located, before: &Metadata) -> Settled {
        let (file, resolved) = decode::look(self.view, to, self.mounts);
        let seen = is_seen(&resolved, |now| now.same_file(before));
        if let EventKind::Rename { to, .. } = kind {
            *to = file;
        }
        self.unless_seen(seen.filter(|seen| *seen || !self.may_be_undone(&resolved)))
    }

    /// The name, which was not there before, is there.
    pub(super) fn appears(&self, kind: &mut EventKind, at: &Located) -> Settled {
        let (file, resolved) = decode::look(self.view, at, self.mounts);
        set_file(kind, file);
        let seen = is_seen(&resolved, |_| true);
        self.unless_seen(seen.filter(|seen| *seen || !self.may_be_undone(&resolved)))
    }

    /// The file is there, which is all that can be seen.
    pub(super) fn exists(&self, kind: &mut EventKind, at: &Located) -> Settled {
        let (file, resolved) = decode::look(self.view, at, self.mounts);
        set_file(kind, file);
        if resolved.was_missing() {
            return Settled::Drop;
        }
        Settled::Emit(Outcome::Unconfirmed)
    }

    /// The permission bits are these.
    pub(super) fn mode(&self, path: &[u8], mode: u32) -> Settled {
        let now = self.view.metadata(path, true).ok();
        let is_so = |now: &Metadata| now.mode & 0o7777 == mode & 0o7777;
        self.unless_seen(now.and_then(|now| self.has_become(is_so(&now), &now)))
    }

    /// Owner and group are these, as far as they were to change.
    pub(super) fn owner(&self, path: &[u8], uid: Option<u32>, gid: Option<u32>) -> Settled {
        let now = self.view.metadata(path, false).ok();
        let is_so = |now: &Metadata| {
            uid.is_none_or(|uid| now.uid == uid) && gid.is_none_or(|gid| now.gid == gid)
        };
        self.unless_seen(now.and_then(|now| self.has_become(is_so(&now), &now)))
    }

    /// Whether a file has become what was asked for; `None` where it has been changed since then and is
    /// something else: the kernel leaves a bit of a mode out that the caller may not set, and a file
    /// system may keep less than was asked for.
    fn has_become(&self, is_so: bool, now: &Metadata) -> Option<bool> {
        (is_so || now.change_time < self.since()).then_some(is_so)
    }

    /// Another mount than before is on top.
    pub(super) fn mounted(
        &self,
        kind: &mut EventKind,
        at: &str,
        before: Option<MountId>,
    ) -> Settled {
        // A look while it is about to be made would use the mount, which the kernel then calls busy.
        if matches!(kind, EventKind::Umount { .. }) && !self.decides() {
            return Settled::Wait;
        }
        let seen = mounts::at(self.view, at) != before;
        if let (EventKind::Mount { fs_type, .. }, true) = (kind, seen)
            && fs_type.is_empty()
            && let Some(now) = mounts::on_top(self.view, at)
        {
            *fs_type = now.filesystem;
        }
        // An attempt that failed says something as well.
        self.if_shown(seen.then_some(Outcome::Succeeded))
    }

    /// There is a descriptor for a mount that is attached nowhere, not among those before.
    pub(super) fn detached(&self, kind: &mut EventKind, before: &[i32]) -> Settled {
        let found = accepting::descriptors(self.view)
            .into_iter()
            .filter(|number| !before.contains(number))
            .find_map(|number| mounts::filesystem_behind(self.view, number));
        let seen = found.is_some();
        if let (EventKind::Mount { fs_type, .. }, Some(found)) = (kind, found)
            && fs_type.is_empty()
        {
            *fs_type = found;
        }
        self.if_shown(seen.then_some(Outcome::Succeeded))
    }
}

/// Whether a file is there, and such; `None` where we cannot look at it.
fn is_seen(resolved: &Resolved, is_such: impl Fn(&Metadata) -> bool) -> Option<bool> {
    match &resolved.metadata {
        Some(now) => Some(is_such(now)),
        None => resolved.was_missing().then_some(false),
    }
}
