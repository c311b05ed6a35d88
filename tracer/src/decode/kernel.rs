//! Mounts, name spaces, executable memory, and what reaches into the kernel.

use picket_events::{EventKind, File, Outcome};

use super::{Call, Located, Verdict};
use crate::confirm::Check;
use crate::memory::PATH_MAX;

fn watch(kind: EventKind) -> Verdict {
    Verdict::Watch(kind, Check::Nothing)
}

fn canonical(call: &Call<'_>, at: &Located) -> String {
    call.look(at).0.path
}

pub(crate) fn mount(call: &Call<'_>) -> Verdict {
    const BIND: u32 = 4096;
    let is_bind = call.word(3) & BIND != 0;
    let fs_type = if is_bind {
        "bind".to_owned()
    } else {
        call.text(2, 64)
    };
    let mountpoint = canonical(call, &call.path(1, true));
    watch(EventKind::Mount {
        source: call.text(0, PATH_MAX),
        mountpoint,
        fs_type,
    })
}

pub(crate) fn move_mount(call: &Call<'_>) -> Verdict {
    let source = canonical(call, &call.path_at(call.int(0), 1, true));
    let mountpoint = canonical(call, &call.path_at(call.int(2), 3, true));
    watch(EventKind::Mount {
        source,
        mountpoint,
        fs_type: String::new(),
    })
}

pub(crate) fn umount(call: &Call<'_>) -> Verdict {
    watch(EventKind::Umount {
        mountpoint: canonical(call, &call.path(0, true)),
    })
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

pub(crate) fn setns(call: &Call<'_>) -> Verdict {
    let kind = EventKind::Unshare {
        flags: u64::from(call.word(1)),
        entered: true,
    };
    Verdict::Watch(kind, Check::Nothing)
}

pub(crate) fn mmap(call: &Call<'_>) -> Verdict {
    mapping(call, call.word(2), call.word(3), call.int(4))
}

/// i386's first form, whose six arguments lie in memory.
pub(crate) fn old_mmap(call: &Call<'_>) -> Verdict {
    const WRITABLE_EXECUTABLE: u32 = 2 | 4;
    let mut arguments = [0u8; 24];
    if call.read(call.address(0), &mut arguments).is_err() {
        return Verdict::Pass;
    }
    let word = |at: usize| {
        let bytes = &arguments[4 * at..4 * at + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    };
    if word(2) & WRITABLE_EXECUTABLE != WRITABLE_EXECUTABLE {
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
    watch(EventKind::Mprotect {
        before: 0,
        requested: call.word(2),
    })
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
