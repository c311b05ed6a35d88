//! Files.

use super::*;

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

/// Its metadata is looked at when it is there.
#[test]
fn a_new_file_is_told_as_it_is_after_the_call() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new(&format!("new-{}", engine()));
    let agent = Agent::start(&scratch);
    let (file, folder) = (scratch.text("file"), scratch.text("folder"));
    let script = format!("umask 027; : >{file}; mkdir {folder}");
    let ran = output(&mut traced(&agent, "open:write,mkdir", &sh(&script)));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let record = agent.finish();
    for (kind, path, mode) in [
        (EventType::Open, &file, 0o100_640),
        (EventType::Mkdir, &folder, 0o40_750),
    ] {
        let told = record.about(kind, path).kind.file().unwrap();
        let there = std::fs::metadata(path).unwrap();
        let nanoseconds = |seconds: i64, rest: i64| (seconds * 1_000_000_000 + rest) as u64;
        assert_eq!(told.mode, mode, "{told:?}");
        assert_eq!(
            (told.inode, told.uid, told.gid, u64::from(told.links)),
            (there.ino(), there.uid(), there.gid(), there.nlink()),
            "{told:?}"
        );
        assert_eq!(
            (told.modification_time, told.change_time),
            (
                nanoseconds(there.mtime(), there.mtime_nsec()),
                nanoseconds(there.ctime(), there.ctime_nsec())
            ),
            "{told:?}"
        );
        assert_eq!(told.fault, None, "{told:?}");
    }
}

/// Names are bytes. What is no UTF-8 is told as `\\x` and two digits.
#[test]
fn odd_names_are_told_byte_for_byte() {
    let scratch = Scratch::new(&format!("odd-{}", engine()));
    let agent = Agent::start(&scratch);
    let program = scratch.script(
        "program",
        r#"
import os, sys
here = os.fsencode(sys.argv[1])
os.chdir(here)
def make(name): return os.open(name, os.O_CREAT | os.O_WRONLY, 0o600)
make(b"new\nline")
make(b"\xff\xfe")
# The longest path that a call takes: 4095 bytes and their end.
deep = here
while len(deep) + 101 < 4000:
    deep += b"/" + b"d" * 100
    os.mkdir(deep)
make(deep + b"/" + b"f" * (4095 - len(deep) - 1))
# What has two names, and what has none any more.
os.close(make(b"one")); os.link(b"one", b"two")
os.open(b"two", os.O_WRONLY)
fd = make(b"gone"); os.unlink(b"gone")
os.open(b"/proc/self/fd/%d" % fd, os.O_WRONLY)
# No path of any call leads here.
os.chdir(deep)
for i in range(2): os.mkdir(b"e" * 200); os.chdir(b"e" * 200)
make(b"beyond")
"#,
    );
    let here = scratch.text("here");
    std::fs::create_dir(&here).unwrap();
    let words = ["python3", "-I", "-S", "-B", &program, &here];
    let ran = output(&mut traced(&agent, "open:write", &words));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let record = agent.finish();
    let opens = record.of(EventType::Open).into_iter();
    let files: Vec<_> = opens
        .filter(|event| event.pid == record.processes()[0].pid)
        .filter_map(|event| event.kind.file())
        .filter(|file| file.path.starts_with(&here) || file.name == "beyond")
        .collect();
    let [newline, bytes, longest, one, two, gone, again, beyond] = files[..] else {
        panic!(
            "{:#?}",
            files.iter().map(|file| &file.name).collect::<Vec<_>>()
        )
    };
    assert_eq!(newline.path, format!("{here}/new\nline"));
    assert_eq!(bytes.path, format!("{here}/\\xff\\xfe"));
    assert_eq!((longest.path.len(), longest.fault), (4095, None));
    assert!(longest.name.starts_with("ffff"), "{longest:?}");
    assert_eq!(one.path, format!("{here}/one"));
    assert_eq!((&two.path, two.links), (&format!("{here}/two"), 2));
    assert_eq!(one.inode, two.inode);
    assert_eq!(gone.path, format!("{here}/gone"));
    assert_eq!((&again.path, again.links), (&gone.path, 0));
    assert_eq!(beyond.name, "beyond");
}

/// The same words, and another directory each time: what they led to when the call was made is told,
/// though the program is elsewhere at once. Where a link of its own hides that from those who read
/// the path, another file may be told, which is not said to have been opened.
#[test]
fn a_path_that_leads_elsewhere_each_time_is_told_as_it_led_then() {
    let scratch = Scratch::new(&format!("elsewhere-{}", engine()));
    let agent = Agent::start(&scratch);
    let program = scratch.script(
        "program",
        r#"
import os, sys
here = sys.argv[1]
os.chdir(here)
os.symlink("/proc/self/cwd", "link")
places = ["one", "two"]
for place in places:
    os.mkdir(place); os.close(os.open(f"{place}/{place}", os.O_CREAT | os.O_WRONLY))
descriptors = [os.open(place, os.O_RDONLY) for place in places]
def go(turn):
    os.chdir(here + "/" + places[turn % 2]); os.dup2(descriptors[turn % 2], 77)
def opened(way, turn):
    go(turn)
    fd = os.open(f"{way}/{places[turn % 2]}", os.O_RDONLY)
    go(turn + 1)
    os.write(1, b"%d %s %s\n" % (os.getpid(), os.fsencode(way), os.fsencode(os.readlink("/proc/self/fd/%d" % fd))))
    os.close(fd)
for turn in range(8):
    for way in ("/proc/self/cwd", "/proc/thread-self/cwd/.", "/proc/self/fd/77", "/dev/fd/77", here + "/link"):
        opened(way, turn)
        if os.fork() == 0:
            # Another process' directory and descriptor, by the same words.
            opened(way, turn + 1)
            os._exit(0)
        os.wait()
"#,
    );
    let here = scratch.text("here");
    std::fs::create_dir(&here).unwrap();
    let words = ["python3", "-I", "-S", "-B", &program, &here];
    let ran = output(&mut traced(&agent, "open", &words));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let record = agent.finish();
    let names = [format!("{here}/one"), format!("{here}/two")];
    let opens = record.of(EventType::Open).into_iter().filter(|event| {
        let path = &event.kind.file().unwrap().path;
        path.starts_with(&here) && !names.contains(path) && *path != here
    });
    let opens: Vec<_> = opens.skip(2).collect(); // when they were made
    let said = stdout(&ran);
    assert_eq!((opens.len(), said.lines().count()), (80, 80));
    let mut of_process = std::collections::HashMap::<u32, Vec<_>>::new();
    for event in opens {
        of_process.entry(event.pid).or_default().push(event);
    }
    for (pid, events) in of_process {
        let lines = said
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{pid} ")));
        for (event, line) in events.into_iter().zip(lines) {
            let (way, path) = line.split_once(' ').unwrap();
            let is_hidden = way.ends_with("link") && event.outcome == Outcome::Unconfirmed;
            let told = &event.kind.file().unwrap().path;
            assert!(told == path || is_hidden, "{line}: {event:?}");
        }
    }
}

/// As is a directory that is made, or gone to, by such a path.
#[test]
fn changes_by_a_path_that_leads_elsewhere_afterwards_are_told() {
    let record = record("elsewhere-changes", "mkdir,link,rename", |scratch| {
        let here = scratch.text("");
        format!(
            "python3 -I -S -c 'import os
os.chdir(\"{here}\"); os.mkdir(\"one\"); os.mkdir(\"two\")
for way in (\"/proc/self/cwd\", \"/proc/self/fd/77\"):
    os.chdir(\"{here}one\"); os.dup2(os.open(\".\", os.O_RDONLY), 77); two = os.open(\"../two\", os.O_RDONLY)
    os.mkdir(way + \"/made\"); os.fchdir(two); os.dup2(two, 77)
    os.chdir(\"{here}one\"); os.dup2(os.open(\".\", os.O_RDONLY), 77)
    os.symlink(\"text\", way + \"/soft\"); os.fchdir(two); os.dup2(two, 77)
    os.chdir(\"{here}one\"); os.dup2(os.open(\".\", os.O_RDONLY), 77)
    os.rename(way + \"/made\", way + \"/moved\"); os.fchdir(two); os.dup2(two, 77)
    os.rmdir(\"../one/moved\"); os.unlink(\"../one/soft\")
'"
        )
    });
    let name = |path: &str| path.rsplit_once("/one/").map(|(_, name)| name.to_owned());
    let made: Vec<_> = record
        .paths(EventType::Mkdir)
        .iter()
        .filter_map(|path| name(path))
        .collect();
    assert_eq!(made, ["made", "made"]);
    for kind in [EventType::Link, EventType::Rename] {
        let files = record.of(kind).into_iter().map(|event| match &event.kind {
            EventKind::Link { link, .. } => name(&link.path),
            EventKind::Rename { to, .. } => name(&to.path),
            _ => None,
        });
        let expected = if kind == EventType::Link {
            "soft"
        } else {
            "moved"
        };
        assert_eq!(
            files.collect::<Vec<_>>(),
            vec![Some(expected.to_owned()); 2]
        );
    }
}

/// By calls that nobody asks about, and so not stopped for, everything is as it was before.
#[test]
fn what_is_undone_at_once_is_told() {
    let record = record("undone", "mkdir,link,rename", |scratch| {
        std::fs::write(scratch.path("file"), "x").unwrap();
        let program = scratch.script(
            "program",
            "
import os, sys
os.chdir(sys.argv[1])
for turn in range(5):
    os.mkdir('made'); os.rmdir('made')
    os.symlink('text', 'soft'); os.unlink('soft')
    os.link('file', 'hard'); os.unlink('hard')
    os.close(os.open('old', os.O_CREAT | os.O_WRONLY)); os.rename('old', 'new'); os.unlink('new')
",
        );
        format!("python3 -I -S -B {program} {}", scratch.text(""))
    });
    let counts = [EventType::Mkdir, EventType::Link, EventType::Rename];
    assert_eq!(counts.map(|kind| record.of(kind).len()), [5, 10, 5]);
}
