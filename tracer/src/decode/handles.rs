//! Files that are opened by their handles, without a path.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use picket_events::file::FileFault;
use picket_events::{EventKind, File};

use super::{Call, Verdict, accepting, network};
use crate::confirm::Check;
use crate::proc;
use crate::resolve::Resolved;
use crate::sys::files::{self, AT_FDCWD};
use crate::sys::{Errno, Result};

/// Size of `struct file_handle` before the handle itself, and of that at most (`MAX_HANDLE_SZ`).
const HEAD: usize = 8;
const HANDLE_MAX: usize = 128;

/// `open_by_handle_at`: whoever may make it has CAP_DAC_READ_SEARCH, and with it the tracer, which
/// so can look for itself what the handle means.
pub(crate) fn open_by_handle(call: &Call<'_>) -> Verdict {
    let file = meant(call).map_or_else(|_| unresolved(), |found| named(&found, call));
    let kind = EventKind::Open {
        file,
        flags: call.word(2),
        mode: 0,
    };
    Verdict::Watch(kind, Check::Opened(accepting::descriptors(&call.view())))
}

fn unresolved() -> File {
    File {
        fault: Some(FileFault::Unresolved),
        ..File::default()
    }
}

fn named(found: &Resolved, call: &Call<'_>) -> File {
    let file = super::file_of(found, call.mounts);
    match is_nameless(&file) {
        true => without_name(file),
        false => file,
    }
}

/// The file that the handle means to the kernel now.
fn meant(call: &Call<'_>) -> Result<Resolved> {
    const DAC_READ_SEARCH: u64 = 1 << 2;
    let view = call.view();
    if !view.follows || call.process.credentials.cap_effective & DAC_READ_SEARCH == 0 {
        return Err(Errno(libc::EPERM)); // the kernel refuses it too, in most cases
    }
    let mut handle = vec![0; HEAD];
    let at = call.address(1);
    call.read(at, &mut handle)?;
    let length = u32::from_ne_bytes([handle[0], handle[1], handle[2], handle[3]]) as usize;
    if length > HANDLE_MAX {
        return Err(Errno(libc::EINVAL));
    }
    handle.resize(HEAD + length, 0);
    call.read(at + HEAD as u64, &mut handle[HEAD..])?;
    let file_system = file_system(call)?;
    let found = files::open_by_handle(file_system.as_fd(), &handle)?;
    Ok(view.behind(&format!("/proc/self/fd/{}", found.as_raw_fd())))
}

/// A descriptor in the file system that the handle is of.
fn file_system(call: &Call<'_>) -> Result<OwnedFd> {
    match call.int(0) {
        AT_FDCWD => {
            let path = CString::new(format!("/proc/{}/cwd", call.tid)).unwrap_or_default();
            let open = || files::open(&path, libc::O_RDONLY | libc::O_DIRECTORY, 0);
            proc::as_tracee(&call.process.credentials, open)
        }
        descriptor => network::take(call, descriptor),
    }
}

/// Whether a file was found without its name: the kernel does not look for it where it does not know
/// it, and the descriptor's link reads as if the file were the root.
pub(crate) fn is_nameless(file: &File) -> bool {
    file.inode != 0 && file.mode & libc::S_IFMT != libc::S_IFDIR && file.path == "/"
}

/// What is known of such a file.
pub(crate) fn without_name(file: File) -> File {
    File {
        path: String::new(),
        name: Default::default(),
        fault: Some(FileFault::Unresolved),
        ..file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_like_the_root_and_is_no_directory_has_no_name() {
        let file = |path: &str, mode| File {
            inode: 7,
            mode,
            ..File::from_path(path.to_owned())
        };
        for (path, mode, expected) in [
            ("/", libc::S_IFREG | 0o600, true),
            ("/", libc::S_IFIFO | 0o600, true),
            ("/", libc::S_IFDIR | 0o755, false),
            ("/etc/shadow", libc::S_IFREG | 0o600, false),
        ] {
            assert_eq!(is_nameless(&file(path, mode)), expected, "{path} {mode:o}");
        }
        let nameless = without_name(file("/", libc::S_IFREG));
        assert_eq!((&*nameless.path, nameless.inode), ("", 7));
        assert_eq!(nameless.fault, Some(FileFault::Unresolved));
    }
}
