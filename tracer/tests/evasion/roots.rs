//! Roots of a program's own: a file has the name that it has in the container, whatever root it was
//! opened from.

use super::*;

/// Runs Python in a folder that has a `jail` and what lies beside it.
fn run_beside_a_jail(name: &str, interest: &str, program: &str) -> (Record, Scratch) {
    need_root();
    let scratch = Scratch::new(name);
    let agent = Agent::start(&scratch);
    std::fs::create_dir(scratch.path("jail")).unwrap();
    for file in ["jail/secret", "jail/old", "beside", "old"] {
        std::fs::write(scratch.path(file), "x").unwrap();
    }
    let source = "int main(void) { return 0; }";
    let there = build(&scratch, "jail/program", &["-static"], source);
    std::fs::copy(there, scratch.path("other-program")).unwrap();
    let program = scratch.script("program.py", program);
    let words = ["python3", "-I", "-S", "-B", &program, &scratch.text("")];
    let inner = traced(&agent, interest, &words);
    // What is mounted does not come out.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.arg(inner.get_program()).args(inner.get_args());
    let ran = output(&mut command);
    assert!(ran.status.success(), "{}", stderr(&ran));
    (agent.finish(), scratch)
}

const INTEREST: &str = "exec,open,unlink,mkdir,rename,link,chmod,chown,connect";

/// What was done to which file below the scratch folder, opens of files that were there included.
fn told(record: &Record, scratch: &Scratch) -> Vec<String> {
    let here = scratch.text("");
    let here = here.trim_end_matches('/');
    let short = |path: &str| match path.strip_prefix(here) {
        Some(below) => below.trim_start_matches('/').to_owned(),
        None => path.to_owned(),
    };
    let line = |event: &&picket_events::Event| {
        let files = match &event.kind {
            EventKind::Rename { from, to } => vec![&from.path, &to.path],
            EventKind::Link { target, link, .. } => vec![&target.path, &link.path],
            EventKind::Connect {
                address: Address::UnixPath(path),
                ..
            } => vec![path],
            EventKind::Exec(image) => vec![&image.file.path, &image.cwd],
            kind => vec![&kind.file()?.path],
        };
        let named: Vec<_> = files.into_iter().map(|path| short(path)).collect();
        let is_ours = named.iter().any(|path| !path.starts_with('/'));
        is_ours.then(|| format!("{} {}", event.event_type().name(), named.join(" ")))
    };
    let events = record.events();
    let lines = events.iter().filter_map(line);
    let lines = lines.filter(|line| !line.ends_with(".py") && !line.starts_with("exec /"));
    lines.collect()
}

#[test]
fn a_root_of_its_own_gives_no_file_another_name() {
    const PROGRAM: &str = "
import os, socket, sys
os.chdir(sys.argv[1])
server = socket.socket(socket.AF_UNIX); server.bind('jail/socket'); server.listen()
os.chroot('jail'); os.chdir('/')
os.open('/secret', os.O_RDONLY)
os.open('/../../secret', os.O_RDWR)
os.mkdir('/made'); os.chmod('made', 0o711); os.chown('/old', 1, 1)
os.rename('old', '/made/new'); os.link('/made/new', '/again'); os.truncate('/again', 0)
os.unlink('made/../again')
client = socket.socket(socket.AF_UNIX); client.connect('/socket')
os.execv('/program', ['program'])
";
    let (record, scratch) = run_beside_a_jail("jailed", INTEREST, PROGRAM);
    assert_eq!(
        told(&record, &scratch),
        [
            "open jail/secret",
            "open jail/secret",
            "mkdir jail/made",
            "chmod jail/made",
            "chown jail/old",
            "rename jail/old jail/made/new",
            "link jail/made/new jail/again",
            "open jail/again",
            "unlink jail/again",
            "connect jail/socket",
            "exec jail/program jail",
        ]
    );
}

/// A file system of processes below a root of its own, where `/proc/self` is the program and not
/// the tracer.
#[test]
fn a_file_system_of_processes_in_its_root_is_the_program_s() {
    const PROGRAM: &str = "
import ctypes, os, sys
os.chdir(sys.argv[1]); os.mkdir('jail/proc')
assert ctypes.CDLL(None).mount(b'proc', b'jail/proc', b'proc', 0, None) == 0
inside = os.open('jail', os.O_RDONLY)
os.chroot('jail'); os.chdir('/')
os.open('/proc/self/status', os.O_RDONLY)
os.open('/proc/self/root/secret', os.O_RDONLY)
os.open('/proc/thread-self/fd/%d/old' % inside, os.O_RDONLY)
os.open('/proc/self/cwd/proc/self/mounts', os.O_RDONLY)
";
    let (record, scratch) = run_beside_a_jail("processes", "open", PROGRAM);
    let own = format!("jail/proc/{}", record.processes()[0].pid);
    assert_eq!(
        told(&record, &scratch),
        [
            "open jail".to_owned(),
            format!("open {own}/status"),
            "open jail/secret".to_owned(),
            "open jail/old".to_owned(),
            format!("open {own}/mounts"),
        ]
    );
}

/// `chroot` leaves the working directory and what is open where they are: outside.
#[test]
fn what_is_done_outside_of_its_root_is_told() {
    const PROGRAM: &str = "
import os, sys
os.chdir(sys.argv[1])
here = os.open('.', os.O_RDONLY)
os.symlink('/secret', 'into')
os.chroot('jail')
os.open('beside', os.O_RDONLY)
os.open('jail/../secret', os.O_RDWR)
os.open('into', os.O_RDWR)
os.mkdir('made'); os.chmod('made', 0o711); os.chown('old', 1, 1)
os.rename('old', 'made/new'); os.link('made/new', 'again', src_dir_fd=here, dst_dir_fd=here)
os.truncate('again', 0); os.unlink('again', dir_fd=here)
os.execv('other-program', ['program'])
";
    let (record, scratch) = run_beside_a_jail("outside", INTEREST, PROGRAM);
    let expected = [
        "open ",
        "link /secret into",
        "open beside",
        "open jail/secret",
        "open jail/secret",
        "mkdir made",
        "chmod made",
        "chown old",
        "rename old made/new",
        "link made/new again",
        "open again",
        "unlink again",
        "exec other-program ",
    ];
    assert_eq!(told(&record, &scratch), expected);
    let changes = record.events().into_iter();
    let changes = changes.filter(|event| {
        matches!(
            event.kind,
            EventKind::Mkdir { .. }
                | EventKind::Chmod { .. }
                | EventKind::Chown { .. }
                | EventKind::Rename { .. }
                | EventKind::Unlink { .. }
        )
    });
    let changes: Vec<_> = changes.map(|event| event.outcome).collect();
    assert!(changes.iter().copied().all(is_seen), "{changes:?}");
}

/// The old way out: a root below, and up from a directory that was left outside of it.
#[test]
fn a_way_out_of_a_root_is_followed() {
    const PROGRAM: &str = "
import os, sys
os.chdir(sys.argv[1])
os.chroot('jail'); os.chdir('/')
os.mkdir('deeper'); os.chroot('deeper')
for _ in range(64): os.chdir('..')
os.chroot('.')
os.open(sys.argv[1] + '/beside', os.O_RDONLY)
";
    let (record, scratch) = run_beside_a_jail("out", "open,chroot", PROGRAM);
    record.about(EventType::Open, &scratch.text("beside"));
    let roots = ["jail", "jail/deeper", ""].map(|name| scratch.text(name));
    let told = record.paths(EventType::Chroot);
    assert_eq!(told[..2], roots[..2]);
    assert_eq!(told[2], "/");
}

/// A thread may have a root of its own; those of the others stay.
#[test]
fn a_root_that_only_a_thread_has_is_that_thread_s() {
    let (record, scratch) = run_beside_a_jail(
        "thread-root",
        "open,mkdir,chroot",
        r#"
import ctypes, os, sys, threading
os.chdir(sys.argv[1])
def apart():
    assert ctypes.CDLL(None).unshare(0x200) == 0 # CLONE_FS
    os.chroot("jail")
    os.mkdir("/made")
    os.close(os.open("/secret", os.O_RDONLY))
    turn.set(); back.wait()
    os.mkdir("/again")
turn, back = threading.Event(), threading.Event()
thread = threading.Thread(target=apart); thread.start(); turn.wait()
os.mkdir(sys.argv[1] + "/by-main")
os.close(os.open(sys.argv[1] + "/beside", os.O_RDONLY))
back.set(); thread.join()
"#,
    );
    let made = record.paths(EventType::Mkdir);
    let expected = ["jail/made", "by-main", "jail/again"].map(|name| scratch.text(name));
    assert_eq!(made, expected);
    let opened = record.paths(EventType::Open);
    for name in ["jail/secret", "beside"] {
        assert!(opened.contains(&scratch.text(name)), "{name}: {opened:?}");
    }
}

/// What is told of opens in a root that somebody else leaves for all who share it, in the same moment.
fn opened_while_another_leaves(name: &str, shared_by: &str) -> Vec<String> {
    need_root();
    let scratch = Scratch::new(name);
    let agent = Agent::start(&scratch);
    let source = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile int *step;
static int outer;
static void *leave(void *unused) {
    if (fchdir(outer) || chroot(".")) abort();
    *step = 1;
    while (*step == 1) sched_yield();
    return 0;
}
int main(int argc, char **argv) {
    step = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (chdir(argv[1])) return 1;
    outer = open(".", O_DIRECTORY | O_RDONLY);
    mkdir("jail", 0777);
    for (int round = 0; round < 10; round++) {
        if (chroot("jail") || chdir("/")) return 2;
        *step = 0;
        pthread_t thread; long child = 0; char name[16];
        if (!strcmp(argv[2], "thread")) {
            if (pthread_create(&thread, 0, leave, 0)) return 3;
        } else {
            child = syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0);
            if (child == 0) { leave(0); _exit(0); }
        }
        while (*step == 0) sched_yield();
        sprintf(name, "/mark-%d", round);
        if (open(name, O_CREAT | O_WRONLY, 0600) < 0) return 4;
        *step = 2;
        if (child) waitpid(child, 0, 0); else pthread_join(thread, 0);
    }
    return 0;
}"#;
    let program = build(&scratch, "program", &["-static"], source);
    let words = [&*program, &scratch.text(""), shared_by];
    let ran = output(&mut traced(&agent, "open:write,chroot", &words));
    assert!(ran.status.success(), "{:?} {}", ran.status, stderr(&ran));
    let record = agent.finish();
    // Each change of the root is told: into it, and out again.
    assert_eq!(record.of(EventType::Chroot).len(), 20);
    told(&record, &scratch)
        .into_iter()
        .filter(|line| line.contains("mark"))
        .collect()
}

#[test]
fn a_root_that_another_leaves_for_all_who_share_it_is_left_at_once() {
    let expected: Vec<_> = (0..10).map(|round| format!("open mark-{round}")).collect();
    for shared_by in ["thread", "process"] {
        let name = format!("left-by-{shared_by}");
        assert_eq!(opened_while_another_leaves(&name, shared_by), expected);
    }
}

/// `openat2` with a directory as the root of the one path (`RESOLVE_IN_ROOT`): ways that lead out of it end at
/// it, and so come to another file than without.
#[test]
fn a_root_for_one_open_gives_no_file_another_name() {
    let record = record("root-for-one", "open", |scratch| {
        let source = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
static int opens(int in, const char *path, int flags) {
    struct open_how how = {.flags = flags, .mode = flags & O_CREAT ? 0600 : 0, .resolve = RESOLVE_IN_ROOT};
    return syscall(SYS_openat2, in, path, &how, sizeof how);
}
int main(int argc, char **argv) {
    if (mkdir(argv[1], 0755) || chdir(argv[1]) || mkdir("sub", 0755)) return 1;
    symlink("/sub/absolute", "link"); symlink("../../../sub/made-by-link", "dangling");
    int in = open(".", O_PATH);
    mknod("sub/dots", 0600, 0); mknod("sub/absolute", 0600, 0); mknod("sub/plain", 0600, 0);
    if (opens(in, "../../../../sub/dots", O_RDWR) < 0) return 2;
    if (opens(in, "link", O_RDWR) < 0) return 3;
    if (opens(in, "dangling", O_RDWR | O_CREAT) < 0) return 4;
    if (opens(in, "/sub/made", O_RDWR | O_CREAT | O_EXCL) < 0) return 5;
    if (opens(AT_FDCWD, "sub/../../sub/./plain", O_RDWR) < 0) return 6;
    if (opens(in, "../../etc/passwd", O_RDONLY) >= 0) return 7;
    return 0;
}"#;
        let program = build(scratch, "program", &["-Wno-unused-result"], source);
        format!("exec {program} {}", scratch.text("in"))
    });
    for name in ["dots", "absolute", "made-by-link", "made", "plain"] {
        let opens = record.of(EventType::Open).into_iter();
        // Those that `mknod` makes are told as opens as well.
        let is_ours = |event: &&picket_events::Event| {
            let is_made = matches!(event.kind, EventKind::Open { flags, .. } if flags & 2 == 0);
            let file = event.kind.file().unwrap();
            !is_made && file.path.ends_with(&format!("/in/sub/{name}"))
        };
        let found: Vec<_> = opens.filter(is_ours).collect();
        assert_eq!(
            found.len(),
            1,
            "{name}: {:#?}",
            record.paths(EventType::Open)
        );
        assert!(is_seen(found[0].outcome), "{:?}", found[0]);
    }
    let opened = record.paths(EventType::Open);
    assert!(!opened.contains(&"/etc/passwd".to_owned()), "{opened:#?}");
}

/// `/proc` bound to another place, where the program's links to itself are no other than at `/proc`.
#[test]
fn a_second_file_system_of_processes_leads_to_the_same_files() {
    need_root();
    let scratch = Scratch::new("second-proc");
    let agent = Agent::start(&scratch);
    let script = r#"
import ctypes, os, sys
here = sys.argv[1]
NEW_MOUNTS, BIND, PRIVATE = 0x20000, 0x1000 | 0x4000, 0x40000 | 0x4000
libc = ctypes.CDLL(None)
if len(sys.argv) > 2:
    assert libc.unshare(NEW_MOUNTS) == 0 and libc.mount(b"none", b"/", None, PRIVATE, None) == 0
os.mkdir(here + "/in"); os.mkdir(here + "/second"); os.symlink(here + "/second/self", here + "/me")
assert libc.mount(b"/proc", (here + "/second").encode(), None, BIND, None) == 0
try:
    number = os.open(here + "/in", os.O_RDONLY)
    os.close(os.open(f"{here}/second/self/fd/{number}/by-descriptor", os.O_CREAT | os.O_WRONLY))
    os.mkdir(f"{here}/second/thread-self/fd/{number}/by-thread")
    os.chdir(here + "/in")
    os.mkdir(here + "/second/self/cwd/by-directory")
    os.mkdir(here + "/me/cwd/by-link")
    os.mkdir(f"{here}/second/self/root{here}/in/by-root")
    os.unlink(here + "/second/self/cwd/by-descriptor")
finally:
    libc.umount2((here + "/second").encode(), 2)
"#;
    let program = scratch.script("program.py", script);
    let [one, two] = ["one", "two"].map(|name| scratch.text(name));
    let script = format!(
        "mkdir {one} {two}; python3 -I -S {program} {one}; exec python3 -I -S {program} {two} private"
    );
    let traced = traced(&agent, "open,mkdir,unlink", &sh(&script));
    // Nothing is mounted outside.
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    command.arg(traced.get_program()).args(traced.get_args());
    let output = output(&mut command);
    assert!(output.status.success(), "{}", stderr(&output));
    let record = agent.finish();
    let told = |kind, name: &str| {
        let paths = record.paths(kind);
        let ours = paths
            .iter()
            .filter(|path| path.ends_with(&format!("/in/{name}")));
        ours.count()
    };
    assert_eq!(
        told(EventType::Open, "by-descriptor"),
        2,
        "{:#?}",
        record.paths(EventType::Open)
    );
    assert_eq!(told(EventType::Unlink, "by-descriptor"), 2);
    for name in ["by-thread", "by-directory", "by-link", "by-root"] {
        let paths = record.paths(EventType::Mkdir);
        assert_eq!(told(EventType::Mkdir, name), 2, "{name}: {paths:#?}");
    }
}
