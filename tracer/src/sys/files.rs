//! Files: opening by path as the kernel walks it, metadata, reading at an offset.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Errno, Result, check};

/// The working directory instead of a descriptor.
pub(crate) const AT_FDCWD: RawFd = libc::AT_FDCWD;

#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Refuse to pass through a magic link (`/proc/PID/exe`, …).
pub(crate) const NO_MAGICLINKS: u64 = 0x02;
/// Take the directory for the root, as chroot would.
pub(crate) const IN_ROOT: u64 = 0x10;

/// Opens a path without opening the file (`O_PATH`): nothing blocks, nothing is read.
pub(crate) fn open_path(at: RawFd, path: &CStr, follow: bool, resolve: u64) -> Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_CLOEXEC | if follow { 0 } else { libc::O_NOFOLLOW };
    let how = How {
        flags: flags as u64,
        mode: 0,
        resolve,
    };
    // SAFETY: path and structure live during the call; the size is the structure's.
    let result = check(unsafe {
        libc::syscall(libc::SYS_openat2, at, path.as_ptr(), &how, size_of::<How>())
    });
    let fd = match result {
        // Sandboxes that do not know openat2 refuse it. Magic links are told by their
        // result then; a foreign root cannot be walked safely.
        Err(Errno(libc::ENOSYS | libc::EPERM)) if resolve & IN_ROOT == 0 => {
            // SAFETY: the path lives during the call.
            check(unsafe { libc::openat(at, path.as_ptr(), flags) }.into())?
        }
        other => other?,
    };
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Opens a file.
pub(crate) fn open(path: &CStr, flags: i32, mode: u32) -> Result<OwnedFd> {
    // SAFETY: the path lives during the call.
    let fd = check(unsafe {
        // Not by the C library, whose open() on musl makes a second call for O_CLOEXEC.
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags | libc::O_CLOEXEC,
            mode,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Opens what a handle (`struct file_handle`) means in a file system, as no more than a path
/// (`O_PATH`). Needs CAP_DAC_READ_SEARCH.
pub(crate) fn open_by_handle(file_system: BorrowedFd<'_>, handle: &[u8]) -> Result<OwnedFd> {
    let length = handle.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    if length.is_none_or(|length| handle.len() < 8 + length as usize) {
        return Err(Errno(libc::EINVAL));
    }
    // Where integers can be.
    let mut words = vec![0u32; handle.len().div_ceil(4)];
    for (word, bytes) in words.iter_mut().zip(handle.chunks(4)) {
        let mut whole = [0; 4];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u32::from_ne_bytes(whole);
    }
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: the kernel reads the head and as many bytes as that says, which are there.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            file_system.as_raw_fd(),
            words.as_mut_ptr(),
            flags,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Reads a symbolic link into `buffer`; gives the length, which equals the buffer's when the
/// target was cut.
pub(crate) fn read_link(at: RawFd, path: &CStr, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most the buffer's length.
    let length = check(unsafe {
        libc::readlinkat(at, path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) as _
    })?;
    Ok(length as usize)
}

/// Metadata of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) inode: u64,
    pub(crate) device: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    pub(crate) change_time: u64,
    pub(crate) modification_time: u64,
    pub(crate) mount_id: u64,
}

impl Metadata {
    /// Whether both are the same file.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        (self.inode, self.device) == (other.inode, other.device)
    }
}

/// `STATX_MNT_ID` of `linux/stat.h`.
const MOUNT_ID: u32 = 0x1000;

/// The mount that a path leads to, 0 where the kernel does not tell (before Linux 5.8). The file system
/// is not asked for anything.
pub(crate) fn mount_of(path: &CStr) -> Result<u64> {
    const DONT_SYNC: i32 = 0x4000; // AT_STATX_DONT_SYNC
    // SAFETY: statx is plain data that the kernel fills; the path lives during the call.
    let found = unsafe {
        let mut found: libc::statx = std::mem::zeroed();
        let flags = libc::AT_NO_AUTOMOUNT | DONT_SYNC;
        let path = path.as_ptr();
        let result = libc::syscall(
            libc::SYS_statx,
            AT_FDCWD,
            path,
            flags,
            MOUNT_ID,
            &raw mut found,
        );
        check(result)?;
        found
    };
    Ok(if found.stx_mask & MOUNT_ID != 0 {
        found.stx_mnt_id
    } else {
        0
    })
}

/// Metadata of what a path names; an empty path means the descriptor itself.
pub(crate) fn metadata(at: RawFd, path: &CStr, follow: bool) -> Result<Metadata> {
    let mut flags = libc::AT_NO_AUTOMOUNT;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    if !follow {
        flags |= libc::AT_SYMLINK_NOFOLLOW;
    }
    // SAFETY: statx is plain data that the kernel fills.
    let found = unsafe {
        let mut found: libc::statx = std::mem::zeroed();
        let mask = libc::STATX_BASIC_STATS | MOUNT_ID;
        let result = libc::syscall(
            libc::SYS_statx,
            at,
            path.as_ptr(),
            flags,
            mask,
            &raw mut found,
        );
        check(result)?;
        found
    };
    let time = |t: libc::statx_timestamp| {
        (t.tv_sec.max(0) as u64).saturating_mul(1_000_000_000) + u64::from(t.tv_nsec)
    };
    Ok(Metadata {
        inode: found.stx_ino,
        device: libc::makedev(found.stx_dev_major, found.stx_dev_minor),
        mode: found.stx_mode.into(),
        uid: found.stx_uid,
        gid: found.stx_gid,
        links: found.stx_nlink,
        change_time: time(found.stx_ctime),
        modification_time: time(found.stx_mtime),
        mount_id: if found.stx_mask & MOUNT_ID != 0 {
            found.stx_mnt_id
        } else {
            0
        },
    })
}

/// `PROC_SUPER_MAGIC`: a file system that shows processes.
pub(crate) const PROC: u32 = 0x9fa0;

/// The number of a file system's type (`linux/magic.h`).
pub(crate) fn file_system_magic(path: &CStr) -> Result<u32> {
    // SAFETY: statfs is plain data that the kernel fills; the path lives during the call.
    let found = unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        check(libc::statfs(path.as_ptr(), &raw mut found).into())?;
        found
    };
    Ok(found.f_type as u32)
}

/// Whether something open is shown by a file system of processes.
pub(crate) fn is_of_processes(file: &OwnedFd) -> bool {
    let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    path.is_ok_and(|path| file_system_magic(&path).is_ok_and(|magic| magic == PROC))
}

/// Reads at an offset.
pub(crate) fn read_at(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize> {
    // SAFETY: the kernel writes at most the buffer's length.
    let got = check(unsafe {
        libc::pread(
            fd.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            offset as i64,
        ) as _
    })?;
    Ok(got as usize)
}

/// The first numbers among the names in a directory, at most `limit`: descriptors, in their order.
///
/// The kernel makes something of each name that there is room for, so that a directory of
/// thousands takes a third of a millisecond where it is listed as usual.
pub(crate) fn first_numbers(directory: &CStr, limit: usize) -> Result<Vec<u32>> {
    /// Inode, offset, length and type come before a name in `struct linux_dirent64`.
    const LENGTH_AT: usize = 16;
    const NAME_AT: usize = 19;
    let file = open(directory, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let mut numbers = Vec::new();
    let mut buffer = [0u8; 2048];
    loop {
        // SAFETY: the kernel writes at most the buffer's length.
        let got = check(unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                file.as_raw_fd(),
                buffer.as_mut_ptr(),
                buffer.len(),
            )
        })?;
        let mut entries = &buffer[..got as usize];
        while let Some([low, high]) = entries.get(LENGTH_AT..LENGTH_AT + 2) {
            let length = usize::from(u16::from_ne_bytes([*low, *high]));
            let Some((entry, rest)) = entries.split_at_checked(length.max(NAME_AT)) else {
                break;
            };
            entries = rest;
            let name = CStr::from_bytes_until_nul(&entry[NAME_AT..]).unwrap_or_default();
            let number = name.to_str().ok().and_then(|name| name.parse::<u32>().ok());
            numbers.extend(number);
            if numbers.len() == limit {
                return Ok(numbers);
            }
        }
        if got == 0 {
            return Ok(numbers);
        }
    }
}

/// Descriptors that are open now, above the standard ones.
pub(crate) fn open_descriptors() -> Vec<RawFd> {
    let Ok(names) = std::fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let numbers = names
        .flatten()
        .filter_map(|name| name.file_name().to_str()?.parse().ok());
    let mut all: Vec<RawFd> = numbers.filter(|number| *number > 2).collect();
    // The directory that was read is among them, and closed by now.
    // SAFETY: only asks whether the descriptor is open.
    all.retain(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } != -1);
    all
}

/// Closes what we were started with, which is the application's, and puts /dev/null in place
/// of our standard descriptors: whoever reads the application's output must see its end when
/// the application closes it. `inherited` was listed before we made any descriptor.
pub(crate) fn let_go(inherited: &[RawFd]) {
    // SAFETY: plain values; nobody in this process uses these descriptors afterwards, but
    // 0, 1 and 2 as null.
    unsafe {
        for fd in inherited {
            libc::close(*fd);
        }
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        for fd in 0..3 {
            if null < 0 || libc::dup2(null, fd) < 0 {
                libc::close(fd);
            }
        }
        if null > 2 {
            libc::close(null);
        }
    }
}

/// Writes to a descriptor that nobody owns as an object (standard error).
pub(crate) fn write_raw(fd: RawFd, bytes: &[u8]) {
    // SAFETY: the kernel reads at most the slice's length.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_listed_as_far_as_asked() {
        let many: Vec<_> = (0..300)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let fds: Vec<u32> = many.iter().map(|file| file.as_raw_fd() as u32).collect();
        let all = first_numbers(c"/proc/self/fd", usize::MAX).unwrap();
        assert!(fds.iter().all(|fd| all.contains(fd)));
        assert_eq!(first_numbers(c"/proc/self/fd", 70).unwrap(), all[..70]);
        assert!(first_numbers(c"/proc/self/none", 1).is_err());
    }
}
