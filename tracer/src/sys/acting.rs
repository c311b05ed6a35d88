//! Calls that are made in a tracee's place: as its user, with no more rights than it has, on
//! directories and files that are held by descriptors, so that nothing else can come under the
//! path meanwhile.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result, check};

/// Refuse to follow any symbolic link.
pub(crate) const NO_SYMLINKS: u64 = 0x04;

/// By what the kernel judges whether a thread may touch a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// File system user id.
    pub(crate) uid: u32,
    /// File system group id.
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Effective capabilities.
    pub(crate) capabilities: u64,
}

const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityWords {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Effective, permitted and inheritable capabilities of the calling thread.
fn capabilities() -> Result<[CapabilityWords; 2]> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut words = [CapabilityWords::default(); 2];
    // SAFETY: with this version the kernel writes two entries.
    check(unsafe { libc::syscall(libc::SYS_capget, &header, words.as_mut_ptr()) })?;
    Ok(words)
}

fn set_capabilities(words: &[CapabilityWords; 2]) -> Result<()> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    // SAFETY: with this version the kernel reads two entries.
    check(unsafe { libc::syscall(libc::SYS_capset, &header, words.as_ptr()) })?;
    Ok(())
}

/// Leaves of the effective capabilities those that are in `mask`.
fn lower(words: &[CapabilityWords; 2], mask: u64) -> [CapabilityWords; 2] {
    let mut lowered = *words;
    for (index, word) in lowered.iter_mut().enumerate() {
        word.effective &= (mask >> (32 * index)) as u32;
    }
    lowered
}

fn groups() -> Result<Vec<u32>> {
    let mut groups = vec![0u32; 65536];
    // SAFETY: the kernel writes at most as many entries as are announced.
    let count = check(unsafe {
        libc::syscall(
            libc::SYS_getgroups,
            groups.len() as i32,
            groups.as_mut_ptr(),
        )
    })?;
    groups.truncate(count as usize);
    Ok(groups)
}

fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads as many entries as are announced. The raw call changes the
    // calling thread only.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    Ok(())
}

fn set_file_system_ids(uid: u32, gid: u32) -> Result<()> {
    // SAFETY: plain values, the calling thread only; never fail, and give the id before.
    let (now_gid, now_uid) = unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
        (
            libc::syscall(libc::SYS_setfsgid, u32::MAX),
            libc::syscall(libc::SYS_setfsuid, u32::MAX),
        )
    };
    match (now_uid as u32, now_gid as u32) == (uid, gid) {
        true => Ok(()),
        false => Err(Errno(libc::EPERM)),
    }
}

/// Runs `work` on the calling thread as somebody else, with those of our capabilities that they
/// have too.
///
/// # Errors
/// EPERM where we may not become them; nothing was run then.
pub(crate) fn with_identity<T>(identity: &Identity, work: impl FnOnce() -> T) -> Result<T> {
    let own = capabilities()?;
    let own_groups = groups()?;
    // SAFETY: as above: an id that is none leaves the present one, and gives it.
    let (own_gid, own_uid) = unsafe {
        (
            libc::syscall(libc::SYS_setfsgid, u32::MAX) as u32,
            libc::syscall(libc::SYS_setfsuid, u32::MAX) as u32,
        )
    };
    let same = |one: &[u32], other: &[u32]| {
        let sorted = |groups: &[u32]| {
            let mut groups = groups.to_vec();
            groups.sort_unstable();
            groups
        };
        sorted(one) == sorted(other)
    };
    let other_groups = !same(&own_groups, &identity.groups);
    let other_ids = (own_uid, own_gid) != (identity.uid, identity.gid);
    let back = || {
        // What was ours a moment ago can be ours again.
        let _ = set_capabilities(&own);
        if other_ids {
            let _ = set_file_system_ids(own_uid, own_gid);
            // Going from root to a user takes file capabilities away, coming back restores
            // those that root has; ours are what they were.
            let _ = set_capabilities(&own);
        }
        if other_groups {
            let _ = set_groups(&own_groups);
        }
    };
    let become_them = || {
        if other_groups {
            set_groups(&identity.groups)?;
        }
        if other_ids {
            set_file_system_ids(identity.uid, identity.gid)?;
        }
        set_capabilities(&lower(&capabilities()?, identity.capabilities))
    };
    if let Err(error) = become_them() {
        back();
        return Err(error);
    }
    let result = work();
    back();
    Ok(result)
}

/// The file mode creation mask of this process is none from now on: a tracee's own is applied
/// to what is made for it.
pub(crate) fn clear_umask() {
    // SAFETY: plain value, never fails.
    unsafe { libc::umask(0) };
}

/// The device that a device file stands for.
pub(crate) fn device_of(file: BorrowedFd<'_>) -> Result<(u32, u32)> {
    // SAFETY: stat is plain data that the kernel fills.
    let found = unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        check(libc::fstat(file.as_raw_fd(), &raw mut found).into())?;
        found
    };
    Ok((libc::major(found.st_rdev), libc::minor(found.st_rdev)))
}

/// Opens a name in a directory.
pub(crate) fn open_at(at: BorrowedFd<'_>, name: &CStr, flags: i32, mode: u32) -> Result<OwnedFd> {
    // SAFETY: the name lives during the call.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_openat,
            at.as_raw_fd(),
            name.as_ptr(),
            flags | libc::O_CLOEXEC | libc::O_NOCTTY,
            mode,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Removes a name from a directory.
pub(crate) fn unlink_at(at: BorrowedFd<'_>, name: &CStr, flags: u32) -> Result<()> {
    // SAFETY: the name lives during the call.
    check(unsafe { libc::unlinkat(at.as_raw_fd(), name.as_ptr(), flags as i32) }.into())?;
    Ok(())
}

/// Moves a name from a directory to another.
pub(crate) fn rename_at(
    from: (BorrowedFd<'_>, &CStr),
    to: (BorrowedFd<'_>, &CStr),
    flags: u32,
) -> Result<()> {
    // SAFETY: the names live during the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            from.0.as_raw_fd(),
            from.1.as_ptr(),
            to.0.as_raw_fd(),
            to.1.as_ptr(),
            flags,
        )
    })?;
    Ok(())
}

/// Makes a directory.
pub(crate) fn mkdir_at(at: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the name lives during the call.
    check(unsafe { libc::mkdirat(at.as_raw_fd(), name.as_ptr(), mode) }.into())?;
    Ok(())
}

/// Makes a file without opening it: the mode says of what type, `device` which one a device is.
pub(crate) fn make_at((at, name): (BorrowedFd<'_>, &CStr), mode: u32, device: u32) -> Result<()> {
    let device = device.into();
    // SAFETY: the name lives during the call.
    check(unsafe { libc::mknodat(at.as_raw_fd(), name.as_ptr(), mode, device) }.into())?;
    Ok(())
}

/// Makes a hard link. Without a directory `from` is a path, and is followed.
pub(crate) fn link_at(
    from: (Option<BorrowedFd<'_>>, &CStr),
    to: (BorrowedFd<'_>, &CStr),
) -> Result<()> {
    let (at, flags) = match from.0 {
        Some(directory) => (directory.as_raw_fd(), 0),
        None => (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW),
    };
    // SAFETY: the names live during the call.
    let result =
        unsafe { libc::linkat(at, from.1.as_ptr(), to.0.as_raw_fd(), to.1.as_ptr(), flags) };
    check(result.into())?;
    Ok(())
}

/// Makes a symbolic link.
pub(crate) fn symlink_at(text: &CStr, at: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: both texts live during the call.
    check(unsafe { libc::symlinkat(text.as_ptr(), at.as_raw_fd(), name.as_ptr()) }.into())?;
    Ok(())
}

/// Sets permission bits of what a path leads to.
pub(crate) fn change_mode(path: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the path lives during the call.
    check(unsafe { libc::chmod(path.as_ptr(), mode) }.into())?;
    Ok(())
}

/// Sets owner and group of an open file; `u32::MAX` leaves one as it is.
pub(crate) fn change_owner(file: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: the empty path lives.
    let result = unsafe {
        libc::fchownat(
            file.as_raw_fd(),
            c"".as_ptr(),
            uid,
            gid,
            libc::AT_EMPTY_PATH,
        )
    };
    check(result.into())?;
    Ok(())
}

/// Cuts what a path leads to.
pub(crate) fn truncate(path: &CStr, length: i64) -> Result<()> {
    // SAFETY: the path lives during the call.
    check(unsafe { libc::truncate(path.as_ptr(), length) }.into())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc;

    #[test]
    fn a_user_s_rights_are_taken_on_and_given_back() {
        let before = proc::status(std::process::id(), Some(0)).unwrap();
        let as_root = before.credentials.euid == 0;
        let identity = Identity {
            uid: before.credentials.fsuid,
            gid: before.credentials.fsgid,
            groups: before.groups.clone(),
            capabilities: 0,
        };
        let identity = match as_root {
            true => Identity {
                uid: 4242,
                gid: 4243,
                groups: vec![7, 8],
                ..identity
            },
            false => identity,
        };
        let thread = || {
            // SAFETY: gives the id of the calling thread.
            let tid = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
            proc::status(tid, Some(0)).unwrap()
        };
        let first = thread();
        let inside = with_identity(&identity, thread).unwrap();
        assert_eq!(inside.credentials.fsuid, identity.uid);
        assert_eq!(inside.credentials.fsgid, identity.gid);
        assert_eq!(inside.groups, identity.groups);
        assert_eq!(inside.credentials.cap_effective, 0);
        assert_eq!(thread(), first);
    }
}
