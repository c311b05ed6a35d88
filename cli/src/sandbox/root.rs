//! The container's root file system: a tmpfs with what it may see bound into it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::pivot_root;

use super::{Container, Mount, SandboxError, Step};

/// What a distribution's image would bring, taken from the host.
const USERLAND: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc"];
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Builds the root and moves into it.
pub(super) fn make(container: &Container) -> Result<(), SandboxError> {
    let root = &container.root;
    // Nothing we mount may reach the host's name space.
    mount_at(
        None,
        Path::new("/"),
        None,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
    )?;
    mount_at(
        Some("tmpfs"),
        root,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
    )?;
    for folder in ["proc", "dev", "tmp"] {
        make_folder(&root.join(folder))?;
    }
    for device in DEVICES {
        let device = PathBuf::from("/dev").join(device);
        bind(&device, &within(root, &device), false)?;
    }
    if container.userland {
        for folder in USERLAND {
            take_from_host(root, Path::new(folder))?;
        }
    }
    for Mount {
        source,
        target,
        read_only,
    } in &container.mounts
    {
        bind(source, &within(root, target), *read_only)?;
    }
    // Process 1 of the new PID name space may mount that name space's own /proc.
    mount_at(
        Some("proc"),
        &root.join("proc"),
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
    )?;
    if container.read_only_root {
        remount_read_only(root)?;
    }
    enter(root)
}

fn enter(root: &Path) -> Result<(), SandboxError> {
    std::env::set_current_dir(root).step(|| format!("enter {}", root.display()))?;
    pivot_root(".", ".").step(|| "change the root".into())?;
    umount2(".", MntFlags::MNT_DETACH).step(|| "leave the host's root".into())?;
    std::env::set_current_dir("/").step(|| "enter the new root".into())
}

fn take_from_host(root: &Path, folder: &Path) -> Result<(), SandboxError> {
    let target = within(root, folder);
    match fs::symlink_metadata(folder) {
        // /bin -> usr/bin where the two are merged.
        Ok(found) if found.is_symlink() => {
            let to = fs::read_link(folder).step(|| format!("read {}", folder.display()))?;
            std::os::unix::fs::symlink(to, &target).step(|| format!("link {}", target.display()))
        }
        Ok(_) => bind(folder, &target, true),
        Err(_) => Ok(()),
    }
}

fn within(root: &Path, target: &Path) -> PathBuf {
    root.join(target.strip_prefix("/").unwrap_or(target))
}

fn bind(source: &Path, target: &Path, read_only: bool) -> Result<(), SandboxError> {
    if source.is_dir() {
        make_folder(target)?;
    } else if !target.exists() {
        if let Some(parent) = target.parent() {
            make_folder(parent)?;
        }
        fs::File::create(target).step(|| format!("make {}", target.display()))?;
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .step(|| format!("bind {} to {}", source.display(), target.display()))?;
    if read_only {
        remount_read_only(target)
    } else {
        Ok(())
    }
}

/// Makes a mount read-only. Flags it already has must be repeated: a user name space may not
/// clear them. (Those about access times a remount keeps by itself.)
fn remount_read_only(target: &Path) -> Result<(), SandboxError> {
    let present = statvfs(target)
        .step(|| format!("look at {}", target.display()))?
        .flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    for (has, keep) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ] {
        if present.contains(has) {
            flags |= keep;
        }
    }
    mount_at(None, target, None, flags)
}

fn make_folder(path: &Path) -> Result<(), SandboxError> {
    fs::create_dir_all(path).step(|| format!("make {}", path.display()))
}

fn mount_at(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
) -> Result<(), SandboxError> {
    mount(source, target, kind, flags, None::<&str>).step(|| format!("mount {}", target.display()))
}
