//! What is told about what programs do.
#![allow(missing_docs)]

mod support;

use picket_events::{Address, EventKind, EventType, Outcome};
use support::*;

#[test]
fn exec_fork_and_exit_tell_the_whole_lineage() {
    let record = record("lineage", "exec", |_| {
        "/bin/true; (/bin/echo a; exit 3); exit 0".into()
    });
    let (event, image) = record.exec("/bin/true");
    assert_eq!(event.outcome, Outcome::Returned(0));
    assert!(image.file.inode != 0 && image.file.path.ends_with("/true"));
    let main = record.processes()[0].pid;
    let parents = record.parents();
    assert_eq!(parents[&event.pid], main);
    let (echo, _) = record.exec("/bin/echo");
    assert_eq!(
        parents[&parents[&echo.pid]], main,
        "echo's parent is the subshell"
    );
    let exits: Vec<_> = record.of(EventType::Exit);
    assert_eq!(exits.len(), 4, "{exits:#?}");
    let code = |pid: u32| {
        exits.iter().find_map(|event| match &event.kind {
            EventKind::Exit(exit) if event.pid == pid => exit.code,
            _ => None,
        })
    };
    assert_eq!(code(event.pid), Some(0));
    assert_eq!(code(parents[&echo.pid]), Some(3));
}

#[test]
fn every_event_follows_the_fork_of_its_process() {
    let record = record("order", "all", |_| {
        "for i in 1 2 3; do ls / >/dev/null & done; wait".into()
    });
    let mut alive = std::collections::HashSet::new();
    for message in &record.0 {
        match message {
            picket_events::wire::ToAgent::Process(process) => {
                alive.insert(process.pid);
            }
            picket_events::wire::ToAgent::Event(event) => match &event.kind {
                EventKind::Fork(process) => {
                    assert!(process.parent == 0 || alive.contains(&process.parent));
                    alive.insert(process.pid);
                }
                EventKind::Exit(_) => assert!(alive.remove(&event.pid), "{event:?}"),
                _ => assert!(alive.contains(&event.pid), "{event:?}"),
            },
            _ => {}
        }
    }
    let sequences: Vec<_> = record.events().iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    assert_eq!(
        record.goodbye().unwrap().last_sequence,
        sequences.len() as u64
    );
}

#[test]
fn a_double_fork_keeps_its_ancestry() {
    let record = record("double", "exec", |scratch| {
        let done = scratch.text("done");
        format!(
            "( ( sleep 0.3; /bin/echo orphan; echo >{done} ) & ) ; while [ ! -e {done} ]; do sleep 0.05; done"
        )
    });
    let parents = record.parents();
    let main = record.processes()[0].pid;
    let (orphan, _) = record.exec("/bin/echo");
    let mut chain = vec![orphan.pid];
    while let Some(parent) = parents
        .get(chain.last().unwrap())
        .filter(|parent| **parent != 0)
    {
        chain.push(*parent);
    }
    assert_eq!(chain.last(), Some(&main), "{chain:?}");
    assert_eq!(
        chain.len(),
        4,
        "echo, inner subshell, outer subshell, main: {chain:?}"
    );
}

#[test]
fn opens_are_told_by_the_file_that_the_kernel_means() {
    let record = record("paths", "open", |scratch| {
        let dir = scratch.text("");
        std::fs::create_dir(scratch.path("sub")).unwrap();
        std::fs::write(scratch.path("file"), "x").unwrap();
        std::os::unix::fs::symlink(scratch.path("file"), scratch.path("sub/link")).unwrap();
        std::fs::write(scratch.path("root-file"), "x").unwrap();
        std::fs::write(scratch.path("cwd-file"), "x").unwrap();
        std::fs::write(scratch.path("fd-file"), "x").unwrap();
        std::fs::write(scratch.path("dots"), "x").unwrap();
        format!(
            "cat {dir}/sub/link; cat {dir}/sub/..//./dots; cat /proc/self/root{dir}/root-file; \
             cd {dir}/sub; cat /proc/self/cwd/../cwd-file; exec 5<{dir}/fd-file; cat /dev/fd/5; true"
        )
    });
    let opened = record.paths(EventType::Open);
    let ends = |name: &str| {
        opened
            .iter()
            .filter(|path| path.ends_with(&format!("/{name}")))
            .cloned()
            .collect::<Vec<_>>()
    };
    for (name, times) in [
        ("file", 1),
        ("dots", 1),
        ("root-file", 1),
        ("cwd-file", 1),
        ("fd-file", 2),
    ] {
        let found = ends(name);
        assert_eq!(found.len(), times, "{name}: {opened:#?}");
        for path in found {
            assert!(
                path.contains("/picket-paths-") && !path.contains(".."),
                "{path}"
            );
        }
    }
    assert!(
        !opened
            .iter()
            .any(|path| path.contains("link") || path.contains("/proc/self"))
    );
}

#[test]
fn an_open_of_nothing_is_not_told() {
    let record = record("missing", "open", |scratch| {
        format!(
            "cat {0}/not-there 2>/dev/null; echo > {0}/made; true",
            scratch.text("")
        )
    });
    let opened = record.paths(EventType::Open);
    assert!(
        !opened.iter().any(|path| path.ends_with("/not-there")),
        "{opened:#?}"
    );
    let made: Vec<_> = record
        .of(EventType::Open)
        .into_iter()
        .filter(|event| event.kind.file().unwrap().path.ends_with("/made"))
        .collect();
    assert_eq!(made.len(), 1);
    assert!(made[0].kind.file().unwrap().inode != 0);
    assert!(is_seen(made[0].outcome), "{:?}", made[0].outcome);
}

#[test]
fn removals_renames_and_modes_are_told_with_the_file_as_it_was() {
    let record = record(
        "changes",
        "unlink,rmdir,rename,chmod,mkdir,link",
        |scratch| {
            std::fs::write(scratch.path("a"), "x").unwrap();
            set_mode(&scratch.path("a"), 0o644);
            format!(
                "cd {}; chmod 755 a; mv a b; ln b hard; ln -s b soft; rm b; mkdir d; rmdir d; \
             rm -f never-there; mkdir d; mkdir -p d; true",
                scratch.text("")
            )
        },
    );
    let [chmod] = record.of(EventType::Chmod)[..] else {
        panic!("{record:#?}")
    };
    let EventKind::Chmod { file, mode } = &chmod.kind else {
        panic!()
    };
    assert_eq!((file.mode & 0o777, *mode & 0o777), (0o644, 0o755));
    assert!(is_seen(chmod.outcome), "{:?}", chmod.outcome);
    let inode = file.inode;
    let [rename] = record.of(EventType::Rename)[..] else {
        panic!("{record:#?}")
    };
    let EventKind::Rename { from, to } = &rename.kind else {
        panic!()
    };
    assert!(from.path.ends_with("/a") && to.path.ends_with("/b") && to.inode == inode);
    assert!(is_seen(rename.outcome), "{:?}", rename.outcome);
    let [unlink] = record.of(EventType::Unlink)[..] else {
        panic!("{record:#?}")
    };
    assert_eq!(unlink.kind.file().unwrap().inode, inode);
    assert!(is_seen(unlink.outcome), "{:?}", unlink.outcome);
    assert_eq!(record.of(EventType::Mkdir).len(), 2);
    assert_eq!(record.of(EventType::Rmdir).len(), 1);
    let [hard, soft] = record.of(EventType::Link)[..] else {
        panic!("{record:#?}")
    };
    let EventKind::Link {
        target,
        symbolic: false,
        ..
    } = &hard.kind
    else {
        panic!("{hard:?}")
    };
    assert_eq!(target.inode, inode);
    assert!(matches!(&soft.kind, EventKind::Link { symbolic: true, .. }));
}

#[test]
fn a_script_is_told_with_its_interpreter() {
    let scratch = Scratch::new("script");
    let agent = Agent::start(&scratch);
    let script = scratch.script("job", "#!/bin/sh\nexit 0\n");
    output(&mut traced(&agent, "exec", &[&script, "one"]));
    let record = agent.finish();
    let (_, image) = record.images()[0];
    assert_eq!(image.file.path, script);
    let interpreter = image.interpreter.as_ref().expect("an interpreter");
    assert!(interpreter.path.ends_with("sh"), "{interpreter:?}");
    assert_eq!(image.argv.last().unwrap(), "one");
}

#[test]
fn long_argument_lists_are_cut_and_say_so() {
    let record = record("argv", "exec", |_| {
        "/bin/true $(seq 300); /bin/echo $(head -c 40000 /dev/zero | tr '\\0' x) >/dev/null".into()
    });
    let (_, many) = record.exec("/bin/true");
    assert!(many.argv_truncated && many.argv.len() == 256);
    let (_, long) = record.exec("/bin/echo");
    assert!(long.argv_truncated && long.argv[1].len() > 1000);
    let (_, shell) = record.images()[0];
    assert!(!shell.argv_truncated);
}

#[test]
fn secrets_do_not_leave_the_tracer() {
    let scratch = Scratch::new("secrets");
    let agent = Agent::start(&scratch);
    let mut run = traced(
        &agent,
        "exec",
        &["/bin/true", "--password=hunter2", "--token", "hunter3"],
    );
    run.env("DB_PASS", "hunter4")
        .env("LD_LIBRARY_PATH", "/nowhere");
    output(&mut run);
    let record = agent.finish();
    let (_, image) = record.exec("/bin/true");
    assert!(image.envs.contains(&"DB_PASS".to_owned()));
    assert!(image.envs.contains(&"LD_LIBRARY_PATH=/nowhere".to_owned()));
    let everything = format!("{:?} {:?}", record.0, agent.heard()[0].hello);
    assert!(!everything.contains("hunter"), "{everything}");
}

/// Connects of a Python program, but for those that its libraries make on their own (such as
/// to a name service cache).
fn connects(name: &str, script: impl Fn(&Scratch) -> String) -> Vec<(Address, u16, bool)> {
    let record = record(name, "connect", |scratch| {
        // Ends without closing its sockets first, so that each can be looked at.
        format!(
            "python3 -I -S -c 'import os, socket as s\n{}\nos._exit(0)'",
            script(scratch)
        )
    });
    let events = record.of(EventType::Connect);
    let all = events.iter().map(|event| match &event.kind {
        EventKind::Connect { address, protocol } => {
            (address.clone(), protocol.0, is_seen(event.outcome))
        }
        _ => unreachable!(),
    });
    all.filter(|(address, ..)| !matches!(address, Address::UnixPath(path) if path.contains("nscd")))
        .collect()
}

fn ip(address: &str, port: u16) -> Address {
    Address::Ip {
        ip: address.parse().unwrap(),
        port,
    }
}

#[test]
fn connects_are_told_with_address_and_protocol() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let all = connects("connect", |scratch| {
        let socket = scratch.path("other.sock");
        let other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::mem::forget(other);
        format!(
            "a=s.socket(); a.connect((\"127.0.0.1\",{port}))
b=s.socket(s.AF_INET,s.SOCK_DGRAM); b.connect((\"127.0.0.1\",53))
c=s.socket(s.AF_UNIX); c.connect(\"{}\")",
            socket.display()
        )
    });
    let [tcp, udp, unix] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(*tcp, (ip("127.0.0.1", port), 6, true));
    assert_eq!(*udp, (ip("127.0.0.1", 53), 17, true));
    assert!(
        matches!(&unix.0, Address::UnixPath(path) if path.ends_with("/other.sock")),
        "{unix:?}"
    );
    assert!(unix.2, "{unix:?}");
}

/// Where the machine has no IPv6 the call fails: one engine knows, the other cannot tell.
#[test]
fn ipv6_connects_are_told_too() {
    let all = connects("connect6", |_| {
        "b=s.socket(s.AF_INET6,s.SOCK_DGRAM)
try: b.connect((\"::1\",53))
except OSError: pass"
            .into()
    });
    let has_ipv6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
    let expected = match (has_ipv6, engine()) {
        (false, "ptrace") => vec![],
        _ => vec![(ip("::1", 53), 17, has_ipv6)],
    };
    assert_eq!(all, expected);
}

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
fn threads_are_told_as_their_process() {
    let record = record("threads", "open:write", |scratch| {
        format!(
            "python3 -c 'import threading
def work(n):
    for i in range(20): open(\"{}/t%d\" % n, \"w\").close()
all=[threading.Thread(target=work,args=(n,)) for n in range(4)]
[t.start() for t in all]; [t.join() for t in all]'",
            scratch.text("")
        )
    });
    let opens: Vec<_> = record
        .of(EventType::Open)
        .into_iter()
        .filter(|event| matches!(&*event.kind.file().unwrap().name, "t0" | "t1" | "t2" | "t3"))
        .collect();
    assert_eq!(opens.len(), 80);
    let pids: std::collections::HashSet<_> = opens.iter().map(|event| event.pid).collect();
    let tids: std::collections::HashSet<_> = opens.iter().map(|event| event.tid).collect();
    assert_eq!(pids.len(), 1);
    assert_eq!(tids.len(), 4);
}

#[test]
fn what_no_rule_needs_is_not_told() {
    let record = record("interest", "exec", |scratch| {
        format!(
            "echo >{0}/x; rm {0}/x; cat /etc/passwd >/dev/null",
            scratch.text("")
        )
    });
    let types: std::collections::HashSet<_> = record
        .events()
        .iter()
        .map(|event| event.event_type())
        .collect();
    let lineage = [EventType::Exec, EventType::Fork, EventType::Exit].into();
    assert_eq!(types, lineage);
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
    let record = record("oldmmap", "mmap", |_| {
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
    let record = record("wx", "mmap,mprotect", |_| {
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

#[test]
fn whoever_a_signal_is_sent_to_is_known_even_if_it_only_forked() {
    let record = record("target", "signal", |_| {
        "python3 -c 'import os, signal
ready, told = os.pipe()
child = os.fork()
if child == 0:
    os.write(told, b\"x\")
    while True:
        signal.pause()
os.read(ready, 1)
os.kill(child, signal.SIGTERM)
assert os.waitpid(child, 0)[1] == signal.SIGTERM'"
            .into()
    });
    let [event] = record.of(EventType::Signal)[..] else {
        panic!("{record:#?}")
    };
    let EventKind::Signal { target, .. } = event.kind else {
        panic!("{event:?}")
    };
    assert_eq!(record.parents()[&(target as u32)], event.pid);
}

#[test]
fn a_name_is_told_as_it_was_given_and_an_owner_by_name() {
    need_root();
    let record = record("given", "prctl,chown", |scratch| {
        let file = scratch.text("file");
        std::fs::write(&file, "").unwrap();
        format!(
            "python3 -c 'import ctypes, os
ctypes.CDLL(None).prctl(15, b\"a-name-that-is-cut-off\", 0, 0, 0)
os.chown(\"{file}\", 33, 33)'"
        )
    });
    let names = record
        .of(EventType::Prctl)
        .into_iter()
        .map(|event| &event.kind);
    let names: Vec<_> = names
        .filter_map(|kind| match kind {
            EventKind::Prctl { name, .. } if !name.is_empty() => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["a-name-that-is-cut-off"]);
    assert!(
        record.0.iter().any(|message| matches!(
            message,
            picket_events::wire::ToAgent::Account(account) if account.id == 33 && !account.group
        )),
        "{record:#?}"
    );
}

#[test]
fn a_memory_file_that_is_run_is_told_as_one() {
    let record = record("memfd", "exec,open", |_| {
        "python3 -c 'import os
fd = os.memfd_create(\"payload\")
os.write(fd, open(\"/bin/true\", \"rb\").read())
os.execv(\"/proc/self/fd/%d\" % fd, [\"innocent\"])'"
            .into()
    });
    let (_, image) = record.exec("innocent");
    assert_eq!(
        (image.file.name.as_str(), image.file.path.as_str()),
        ("memfd:payload", "")
    );
    assert!(image.interpreter.is_none());
    let made: Vec<_> = record
        .of(EventType::Open)
        .into_iter()
        .filter(|event| event.kind.file().unwrap().is_memory_only())
        .collect();
    assert!(made.len() == 1 && is_seen(made[0].outcome), "{made:?}");
}
