//! Files as the kernel resolved them.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// A file that a system call named, with the metadata seen when the event was confirmed.
///
/// `path` is canonical in the tracee's own root: `..`, symbolic links, `/proc/self/...` and
/// descriptors are resolved. It is empty for files that have none (memfd: then
/// [`File::name`] starts with `memfd:`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Canonical absolute path, or empty.
    pub path: String,
    /// Last path component, or `memfd:NAME`.
    pub name: SmolStr,
    /// Inode number; 0 where it could not be read.
    pub inode: u64,
    /// Device the inode is on (`st_dev`), for identity together with `inode`.
    pub device: u64,
    /// `st_mode`: type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Last status change, nanoseconds since the epoch.
    pub change_time: u64,
    /// Last modification, nanoseconds since the epoch.
    pub modification_time: u64,
    /// Mount the file was reached through (`STATX_MNT_ID` or mountinfo); 0 where unknown.
    pub mount_id: u64,
    /// File system type as mountinfo names it (`overlay`, `tmpfs`, …); empty where unknown.
    pub filesystem: SmolStr,
    /// Number of hard links; 0 for a deleted file.
    pub links: u32,
    /// Why the path or the metadata is incomplete, where it is.
    pub fault: Option<FileFault>,
}

/// Why a file could not be described in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileFault {
    /// The tracee's memory could not be read, so the path itself is unknown.
    Unreadable,
    /// The path was read but not resolved; it is given as the program wrote it.
    Unresolved,
    /// The path was resolved but the file was gone or out of reach when it was looked at.
    NoMetadata,
}

impl File {
    /// A file known only by its canonical path.
    pub fn from_path(path: impl Into<String>) -> Self {
        let path = path.into();
        let name = base_name(&path).into();
        Self {
            path,
            name,
            ..Self::default()
        }
    }

    /// The extension with its leading dot (`.so`), or an empty string.
    pub fn extension(&self) -> &str {
        match self.name.rfind('.') {
            Some(dot) => &self.name[dot..],
            None => "",
        }
    }

    /// True for a file in memory only: memfd, or anonymous (no link, no path).
    pub fn is_memory_only(&self) -> bool {
        self.name.starts_with("memfd:")
    }
}

/// The part of a path behind its last slash.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_extension_follow_the_path() {
        let file = File::from_path("/usr/lib/libc.so");
        assert_eq!(file.name, "libc.so");
        assert_eq!(file.extension(), ".so");
        assert_eq!(File::from_path("/bin/sh").extension(), "");
    }
}
