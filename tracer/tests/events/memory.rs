//! Memory that is executable, and doors of the kernel that are seldom used.

use super::*;

#[test]
fn io_uring_is_refused_and_told() {
    let record = record("uring", "exec,io_uring", |_| {
        "python3 -c 'import ctypes,errno
l=ctypes.CDLL(None,use_errno=True)
assert l.syscall(425,8,0)==-1 and ctypes.get_errno()==errno.ENOSYS'"
            .into()
    });
    let [event] = record.of(EventType::IoUring)[..] else {
        panic!("{record:#?}")
    };
    assert_eq!(event.outcome, Outcome::Denied(38));
    assert_eq!(event.kind, EventKind::IoUring { entries: 8 });
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_by_the_other_door_are_seen() {
    // i386's open, by int 0x80 from a 64-bit program.
    let record = record("int80", "open", |scratch| {
        let file = scratch.text("secret");
        std::fs::write(&file, "x").unwrap();
        format!(
            "python3 -c 'import ctypes, mmap, struct
m = mmap.mmap(-1, 4096, flags=0x62, prot=7)
at = ctypes.addressof(ctypes.c_char.from_buffer(m))
path = b\"{file}\" + bytes(1)
m[2048:2048+len(path)] = path
m[0:20] = b\"\\x53\\xb8\" + struct.pack(\"<I\", 5) + b\"\\xbb\" + struct.pack(\"<I\", at + 2048) + b\"\\x31\\xc9\\xcd\\x80\\x5b\\xc3\" + bytes(3)
fd = ctypes.CFUNCTYPE(ctypes.c_int)(at)()
assert fd > 2, fd'"
        )
    });
    assert_eq!(
        record
            .paths(EventType::Open)
            .iter()
            .filter(|path| path.ends_with("/secret"))
            .count(),
        1
    );
}

#[test]
fn memory_mapped_by_the_oldest_door_is_seen() {
    // i386's first mmap, whose arguments lie in memory, by int 0x80 from a 64-bit program.
    let record = record("oldmmap", "mmap:write", |_| {
        "python3 -c 'import ctypes, mmap, struct
m = mmap.mmap(-1, 4096, flags=0x62, prot=7)
at = ctypes.addressof(ctypes.c_char.from_buffer(m))
m[2048:2072] = struct.pack(\"<IIIIiI\", 0, 8192, 7, 0x22, -1, 0)
m[0:18] = b\"\\x53\\xb8\" + struct.pack(\"<I\", 90) + b\"\\xbb\" + struct.pack(\"<I\", at + 2048) + b\"\\xcd\\x80\\x5b\\xc3\" + bytes(3)
mapped = ctypes.CFUNCTYPE(ctypes.c_uint)(at)()
assert mapped < 0xfffff000, hex(mapped)'"
            .into()
    });
    // The second of the two is the one by the old door.
    assert_eq!(record.of(EventType::Mmap).len(), 2, "{record:#?}");
}

#[test]
fn memory_that_can_be_written_and_run_is_told() {
    let record = record("wx", "mmap:write,mprotect", |_| {
        "python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)'".into()
    });
    let [event] = record.of(EventType::Mmap)[..] else {
        panic!("{record:#?}")
    };
    assert!(matches!(event.kind, EventKind::Mmap { protection: 7, .. }));
}

#[test]
fn memory_that_becomes_executable_is_told_with_what_it_was() {
    let record = record("mprotect", "mprotect", |_| {
        "python3 -c 'import ctypes
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
at = libc.mmap(None, 8192, 3, 0x22, -1, 0)
assert libc.mprotect(at, 4096, 5) == 0
assert libc.mprotect(at, 4096, 7) == 0'"
            .into()
    });
    let changes = record.of(EventType::Mprotect);
    let changes: Vec<_> = changes.iter().map(|event| &event.kind).collect();
    let change = |before, requested| EventKind::Mprotect { before, requested };
    assert!(
        changes.ends_with(&[&change(3, 5), &change(5, 7)]),
        "{changes:?}"
    );
}

/// Those that are not writable are libraries, mostly.
#[test]
fn every_mapping_that_is_executable_is_told_where_a_rule_wants_it() {
    for (interest, expected) in [("mmap:write", &[7][..]), ("mmap", &[5, 7])] {
        let record = record("mappings", interest, |_| {
            "python3 -c 'import mmap; mmap.mmap(-1, 40960, prot=5); mmap.mmap(-1, 40960, prot=7)'"
                .into()
        });
        let mapped = record.of(EventType::Mmap).into_iter();
        let mapped = mapped.filter_map(|event| match &event.kind {
            EventKind::Mmap {
                file, protection, ..
            } if file.path.is_empty() => Some(*protection),
            _ => None,
        });
        assert_eq!(mapped.collect::<Vec<_>>(), expected, "{interest}");
        let library = record.of(EventType::Mmap).into_iter().find(|event| {
            let file = event.kind.file();
            file.is_some_and(|file| file.name.starts_with("libc.so"))
        });
        assert_eq!(library.is_some(), interest == "mmap", "{interest}");
    }
}

/// x32: the numbers of 64-bit calls with a bit set. Where the kernel lacks it, the call fails;
/// the attempt is told by the engine that does not know what calls return.
#[test]
#[cfg(target_arch = "x86_64")]
fn calls_by_the_third_door_are_seen() {
    let scratch = Scratch::new(&format!("x32-{}", engine()));
    let agent = Agent::start(&scratch);
    let file = scratch.text("secret");
    std::fs::write(&file, "x").unwrap();
    let program = format!(
        "import ctypes
print(ctypes.CDLL(None).syscall(0x40000000 | 257, -100, b\"{file}\", 0, 0) >= 0)"
    );
    let ran = output(&mut traced(&agent, "open", &["python3", "-c", &program]));
    let is_there = stdout(&ran) == "True\n";
    let opened = agent.finish().paths(EventType::Open).into_iter();
    let times = opened.filter(|path| *path == file).count();
    let is_told = is_there || engine() == "notification";
    assert_eq!(times, usize::from(is_told), "{}", stderr(&ran));
}
