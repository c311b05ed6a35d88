//! Mounts, name spaces, executable memory, and what reaches into the kernel.

use picket_events::{EventKind, File, Outcome};

use super::{Call, Located, Verdict, accepting};
use crate::confirm::Check;
use crate::memory::PATH_MAX;
use crate::mounts;
use crate::proc;

const AT_SYMLINK_NOFOLLOW: u32 = 0x100;

fn watch(kind: EventKind) -> Verdict {
    Verdict::Watch(kind, Check::Nothing)
}

fn canonical(call: &Call<'_>, at: &Located) -> String {
    call.look(at).0.path
}

/// To be looked for at its mount point.
fn watch_mount(call: &Call<'_>, kind: EventKind) -> Verdict {
    let (EventKind::Mount { mountpoint, .. } | EventKind::Umount { mountpoint }) = &kind else {
        return watch(kind);
    };
    if mountpoint.is_empty() {
        return watch(kind);
    }
    let before = mounts::at(&call.view(), mountpoint);
    let at = mountpoint.clone();
    Verdict::Watch(kind, Check::Mounted { at, before })
}

pub(crate) fn mount(call: &Call<'_>) -> Verdict {
    const BIND: u32 = 0x1000;
    /// `MS_REMOUNT`, `MS_UNBINDABLE`, `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`: what is mounted
    /// already is changed.
    const CHANGES: u32 = 0x20 | 0x2_0000 | 0x4_0000 | 0x8_0000 | 0x10_0000;
    let flags = call.word(3);
    let fs_type = if flags & BIND != 0 {
        "bind".to_owned()
    } else {
        call.text(2, 64)
    };
    let mountpoint = canonical(call, &call.path(1, true));
    let kind = EventKind::Mount {
        source: call.text(0, PATH_MAX),
        mountpoint,
        fs_type,
    };
    match flags & CHANGES {
        0 => watch_mount(call, kind),
        _ => watch(kind),
    }
}

pub(crate) fn move_mount(call: &Call<'_>) -> Verdict {
    let from = call.path_at(call.int(0), 1, true);
    // A mount that is attached nowhere yet has no path.
    let source = match from.descriptor {
        Some(descriptor) if mounts::is_detached(&call.view(), descriptor) => String::new(),
        _ => canonical(call, &from),
    };
    let mountpoint = canonical(call, &call.path_at(call.int(2), 3, true));
    let kind = EventKind::Mount {
        source,
        mountpoint,
        fs_type: String::new(),
    };
    watch_mount(call, kind)
}

/// A mount that can be reached through its descriptor only.
fn detached(call: &Call<'_>, source: String, fs_type: &str) -> Verdict {
    let kind = EventKind::Mount {
        source,
        mountpoint: String::new(),
        fs_type: fs_type.to_owned(),
    };
    let before = accepting::descriptors(&call.view());
    Verdict::Watch(kind, Check::Detached(before))
}

pub(crate) fn fsmount(call: &Call<'_>) -> Verdict {
    detached(call, String::new(), "")
}

/// `open_tree` and `open_tree_attr` with `OPEN_TREE_CLONE`.
pub(crate) fn open_tree(call: &Call<'_>) -> Verdict {
    let follow = call.word(2) & AT_SYMLINK_NOFOLLOW == 0;
    let source = canonical(call, &call.path_at(call.int(0), 1, follow));
    detached(call, source, "bind")
}

/// What a file system is to be made of; whatever else is set shows nothing.
pub(crate) fn fsconfig(call: &Call<'_>) -> Verdict {
    if call.text(2, 64) != "source" {
        return Verdict::Pass;
    }
    watch(EventKind::Mount {
        source: call.text(3, PATH_MAX),
        mountpoint: String::new(),
        fs_type: String::new(),
    })
}

/// A file system that is mounted already is about to be changed, as `MS_REMOUNT` does.
pub(crate) fn fspick(call: &Call<'_>) -> Verdict {
    const NO_FOLLOW: u32 = 2; // FSPICK_SYMLINK_NOFOLLOW
    changed(call, call.word(2) & NO_FOLLOW == 0)
}

pub(crate) fn mount_setattr(call: &Call<'_>) -> Verdict {
    changed(call, call.word(2) & AT_SYMLINK_NOFOLLOW == 0)
}

/// A mount that is there already, or one by its descriptor, gets other attributes.
fn changed(call: &Call<'_>, follow: bool) -> Verdict {
    let at = call.path_at(call.int(0), 1, follow);
    let mountpoint = match at.descriptor {
        Some(descriptor) if mounts::is_detached(&call.view(), descriptor) => String::new(),
        _ => canonical(call, &at),
    };
    watch(EventKind::Mount {
        source: String::new(),
        mountpoint,
        fs_type: String::new(),
    })
}

pub(crate) fn umount(call: &Call<'_>) -> Verdict {
    let kind = EventKind::Umount {
        mountpoint: canonical(call, &call.path(0, true)),
    };
    watch_mount(call, kind)
}

pub(crate) fn unshare(call: &Call<'_>) -> Verdict {
    let kind = EventKind::Unshare {
        flags: call.args[0],
        entered: false,
    };
    Verdict::Watch(kind, Check::Nothing)
}

fn made_with(flags: u64) -> Verdict {
    const NEW_NAMESPACES: u64 = 0x7e02_0080;
    match flags & NEW_NAMESPACES {
        0 => Verdict::Pass,
        // The caller itself stays where it is: nothing of it will show.
        flags => {
            let kind = EventKind::Unshare {
                flags,
                entered: false,
            };
            Verdict::Tell(vec![kind], Outcome::Unconfirmed)
        }
    }
}

/// A child in name spaces of its own.
pub(crate) fn clone(call: &Call<'_>) -> Verdict {
    const EXIT_SIGNAL: u64 = 0xff;
    made_with(call.args[0] & !EXIT_SIGNAL)
}

/// The same; the flags stand in memory.
pub(crate) fn clone3(call: &Call<'_>) -> Verdict {
    let mut flags = [0u8; 8];
    match call.read(call.address(0), &mut flags) {
        Ok(()) => made_with(u64::from_le_bytes(flags)),
        Err(_) => Verdict::Pass,
    }
}

/// Without flags, any kind of name space is entered: told with the flag of the one that it is.
pub(crate) fn setns(call: &Call<'_>) -> Verdict {
    let (flags, check) = match call.word(1) {
        0 => (
            namespace_behind(call),
            Check::Root(call.process.root.clone()),
        ),
        asked => (asked, Check::Nothing),
    };
    let kind = EventKind::Unshare {
        flags: u64::from(flags),
        entered: true,
    };
    Verdict::Watch(kind, check)
}

/// `CLONE_NEW…` for the name space that a descriptor is for, by its name, as `net:[4026531840]`; 0 for none.
fn namespace_behind(call: &Call<'_>) -> u32 {
    const KINDS: [(&[u8], u32); 8] = [
        (b"time", 0x80),
        (b"mnt", 0x2_0000),
        (b"cgroup", 0x200_0000),
        (b"uts", 0x400_0000),
        (b"ipc", 0x800_0000),
        (b"user", 0x1000_0000),
        (b"pid", 0x2000_0000),
        (b"net", 0x4000_0000),
    ];
    let found = call.view().descriptor(call.int(0)).path;
    let name = found.split(|byte| *byte == b':').next();
    let kind = KINDS.iter().find(|(kind, _)| name == Some(*kind));
    kind.map_or(0, |(_, flag)| *flag)
}

pub(crate) fn mmap(call: &Call<'_>) -> Verdict {
    mapping(call, call.word(2), call.word(3), call.int(4))
}

/// i386's first form, whose six arguments lie in memory.
pub(crate) fn old_mmap(call: &Call<'_>) -> Verdict {
    const EXECUTABLE: u32 = 4;
    let mut arguments = [0u8; 24];
    if call.read(call.address(0), &mut arguments).is_err() {
        return Verdict::Pass;
    }
    let word = |at: usize| {
        let bytes = &arguments[4 * at..4 * at + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    };
    if word(2) & EXECUTABLE == 0 {
        return Verdict::Pass;
    }
    mapping(call, word(2), word(3), word(4) as i32)
}

fn mapping(call: &Call<'_>, protection: u32, flags: u32, descriptor: i32) -> Verdict {
    const ANONYMOUS: u32 = 0x20;
    let file = match flags & ANONYMOUS {
        0 => call.descriptor(descriptor).0,
        _ => File::default(),
    };
    watch(EventKind::Mmap {
        file,
        protection,
        flags,
    })
}

pub(crate) fn mprotect(call: &Call<'_>) -> Verdict {
    let credentials = &call.process.credentials;
    let before = proc::as_tracee(credentials, || proc::protection(call.tid, call.address(0)));
    watch(EventKind::Mprotect {
        before: before.unwrap_or(0),
        requested: call.word(2),
    })
}

/// `SHM_EXEC`, `SHM_RDONLY` of `linux/shm.h`.
pub(crate) const SHM_EXEC: u32 = 0o100_000;
const SHM_READ_ONLY: u32 = 0o10_000;
/// `SHMAT`, which i386's `ipc` is to do.
pub(crate) const IPC_SHMAT: u32 = 21;

/// Shared memory of System V, attached so that it can be executed.
fn attached(flags: u32) -> Verdict {
    const SHARED: u32 = 1;
    let protection = match flags & SHM_READ_ONLY {
        0 => 7,
        _ => 5,
    };
    watch(EventKind::Mmap {
        file: File::default(),
        protection,
        flags: SHARED,
    })
}

pub(crate) fn shmat(call: &Call<'_>) -> Verdict {
    attached(call.word(2))
}

/// i386's one call for all of System V: the first argument's lower half says what it is to do.
pub(crate) fn ipc(call: &Call<'_>) -> Verdict {
    match call.word(0) & 0xffff == IPC_SHMAT && call.word(2) & SHM_EXEC != 0 {
        true => attached(call.word(2)),
        false => Verdict::Pass,
    }
}

/// `READ_IMPLIES_EXEC` of `linux/personality.h`.
pub(crate) const READ_IMPLIES_EXEC: u32 = 0x0040_0000;

/// With `READ_IMPLIES_EXEC`, memory that is mapped from then on can be executed where it can be read,
/// without being asked for: told once, as a change of protection.
pub(crate) fn personality(call: &Call<'_>) -> Verdict {
    const QUESTION: u32 = u32::MAX;
    const READ_WRITE: u32 = 3;
    match call.word(0) {
        QUESTION => Verdict::Pass,
        _ => watch(EventKind::Mprotect {
            before: READ_WRITE,
            requested: 7,
        }),
    }
}

pub(crate) fn userfaultfd(call: &Call<'_>) -> Verdict {
    watch(EventKind::Userfaultfd {
        flags: call.word(0),
    })
}

pub(crate) fn bpf(call: &Call<'_>) -> Verdict {
    watch(EventKind::Bpf {
        command: call.word(0),
    })
}

pub(crate) fn perf_event_open(_: &Call<'_>) -> Verdict {
    watch(EventKind::PerfEventOpen)
}

pub(crate) fn init_module(call: &Call<'_>) -> Verdict {
    watch(EventKind::LoadModule {
        file: File::default(),
        from_memory: true,
        name: String::new(),
        arguments: call.text(2, PATH_MAX),
    })
}

pub(crate) fn finit_module(call: &Call<'_>) -> Verdict {
    let file = call.descriptor(call.int(0)).0;
    let name = file.name.split('.').next().unwrap_or_default().to_owned();
    let arguments = call.text(1, PATH_MAX);
    watch(EventKind::LoadModule {
        file,
        from_memory: false,
        name,
        arguments,
    })
}

pub(crate) fn delete_module(call: &Call<'_>) -> Verdict {
    watch(EventKind::UnloadModule {
        name: call.text(0, 64),
    })
}

/// What io_uring does afterwards cannot be seen, so it is said not to exist; programs fall
/// back to ordinary calls, as on a kernel without it.
pub(crate) fn io_uring_setup(call: &Call<'_>) -> Verdict {
    Verdict::Refuse {
        errno: libc::ENOSYS,
        event: Some(EventKind::IoUring {
            entries: call.word(0),
        }),
        tampering: false,
    }
}

pub(crate) fn splice(call: &Call<'_>) -> Verdict {
    let is_pipe = |file: &File| file.mode & libc::S_IFMT == libc::S_IFIFO;
    let input = call.descriptor(call.int(0)).0;
    // splice's output stands third, tee's second; vmsplice has one descriptor only.
    let file = if is_pipe(&input) {
        call.descriptor(call.int(2)).0
    } else {
        input
    };
    let file = if is_pipe(&file) {
        File::default()
    } else {
        file
    };
    watch(EventKind::Splice { file })
}
