//! What is denied by path: refused before it is done, whatever else the program does meanwhile;
//! and everything else goes on as if nobody had looked.
#![allow(missing_docs)]

mod support;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use picket_events::deny::{Condition, DenyRule, TextField};
use picket_events::pattern::Glob;
use picket_events::wire::ToTracer;
use picket_events::{EventKind, EventType, Outcome};
use support::*;

const REFUSED: Outcome = Outcome::Denied(1);

fn fits(field: TextField, pattern: &str) -> Condition {
    let is_glob = pattern.contains('*');
    Condition::Text {
        field,
        texts: (!is_glob).then(|| pattern.to_owned()).into_iter().collect(),
        globs: is_glob
            .then(|| Glob::new(pattern).unwrap())
            .into_iter()
            .collect(),
        wildcards: Vec::new(),
    }
}

fn rule(event: EventType, pattern: &str) -> DenyRule {
    DenyRule {
        rule: format!("deny_{}", event.name()),
        event,
        condition: fits(TextField::Path, pattern),
    }
}

/// A Python program that waits until it is told to go on, and then says what became of what it
/// tries. `got(function, …)` is "done" or the name of the error.
const PRELUDE: &str = r#"
import ctypes, errno, os, stat, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
here = sys.argv[1]
def got(function, *arguments, **named):
    try: result = function(*arguments, **named)
    except OSError as error: return errno.errorcode[error.errno]
    return result if isinstance(result, str) else "done"
def read(path, flags=os.O_RDONLY, **named):
    fd = os.open(path, flags, **named)
    try: return os.read(fd, 100).decode() or "empty"
    finally: os.close(fd)
open(here + "/ready", "w").close()
while not os.path.exists(here + "/go"): time.sleep(0.01)
"#;

struct Denied {
    scratch: Scratch,
    agent: Agent,
    child: Running,
}

impl Denied {
    /// Starts a program, and lets it go on once these rules are in force.
    fn start(name: &str, interest: &str, rules: &[DenyRule], program: &str) -> Self {
        Self::start_as(name, interest, &[], program, |_| rules.to_vec())
    }

    fn start_as(
        name: &str,
        interest: &str,
        through: &[&str],
        program: &str,
        rules: impl FnOnce(&Scratch) -> Vec<DenyRule>,
    ) -> Self {
        let scratch = Scratch::new(&format!("deny-{name}-{}", engine()));
        let agent = Agent::start(&scratch);
        let program = scratch.script("program", &format!("{PRELUDE}{program}"));
        let here = scratch.text("here");
        std::fs::create_dir(&here).unwrap();
        set_mode(Path::new(&here), 0o777);
        let mut words = through.to_vec();
        words.extend(["python3", "-I", "-S", "-B", &program, &here]);
        let mut command = traced(&agent, interest, &words);
        let child = start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
        eventually("the program", || {
            Path::new(&format!("{here}/ready")).exists()
        });
        let rules = rules(&scratch);
        agent.say(&ToTracer::Deny(rules));
        let denied = Self {
            scratch,
            agent,
            child,
        };
        denied.until_in_force();
        std::fs::write(format!("{here}/go"), "").unwrap();
        denied
    }

    /// The tracer has read what it was told: it answers a question that came behind it.
    fn until_in_force(&self) {
        let request = picket_events::wire::SumRequest {
            request: 4711,
            path: "/none".into(),
            ..Default::default()
        };
        self.agent.say(&ToTracer::Sum(Box::new(request)));
        self.agent.until("an answer", |record| {
            record.0.iter().any(|message| {
                matches!(message, picket_events::wire::ToAgent::Summed(summed)
                    if summed.request == 4711)
            })
        });
    }

    fn here(&self, name: &str) -> String {
        self.scratch.text(&format!("here/{name}"))
    }

    /// What it said, and what was told, when it has ended.
    fn end(mut self) -> (String, Record) {
        let mut said = String::new();
        let mut output = self.child.stdout.take().unwrap();
        output.read_to_string(&mut said).unwrap();
        let status = wait(&mut self.child);
        let record = self.agent.finish();
        assert!(status.success(), "{status:?}: {said}");
        (said, record)
    }
}

/// Paths of the refused calls of a type.
fn refused(record: &Record, event: EventType) -> Vec<String> {
    let events = record.of(event).into_iter();
    let refused = events.filter(|event| event.outcome == REFUSED);
    let file = |event: &picket_events::Event| event.kind.file().map(|file| file.path.clone());
    refused.filter_map(file).collect()
}

#[test]
fn a_denied_file_cannot_be_opened_by_any_of_its_names() {
    let denied = Denied::start_as(
        "names",
        "open",
        &[],
        r#"
secret = here + "/secret"
os.symlink(secret, here + "/link")
os.symlink("link", here + "/link2")
directory = os.open(here, os.O_RDONLY)
os.chdir(here)
print(*[
    got(read, secret),
    got(read, here + "/link2"),
    got(read, "/proc/self/root" + secret),
    got(read, "/proc/self/cwd/secret"),
    got(read, "../here/./secret"),
    got(read, "secret", dir_fd=directory),
    got(os.open, secret, os.O_RDWR | os.O_CREAT | os.O_TRUNC),
    got(os.open, secret, os.O_PATH),
    got(os.truncate, secret, 0),
    got(os.open, here + "/not-yet-secret.key", os.O_WRONLY | os.O_CREAT),
    got(read, here + "/plain"),
    got(read, here + "/nothing"),
    got(os.mkdir, here + "/sub"),
])
"#,
        |scratch| {
            std::fs::write(scratch.path("here/secret"), "the secret").unwrap();
            std::fs::write(scratch.path("here/plain"), "plain").unwrap();
            vec![
                rule(EventType::Open, &scratch.text("here/secret")),
                rule(EventType::Open, &scratch.text("here/*.key")),
            ]
        },
    );
    let secret = denied.here("secret");
    let plain = denied.here("plain");
    let (said, record) = denied.end();
    assert_eq!(
        said.trim_end(),
        "EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM plain ENOENT done"
    );
    let refused = refused(&record, EventType::Open);
    assert_eq!(
        refused.iter().filter(|path| **path == secret).count(),
        9,
        "{refused:?}"
    );
    let opened = record.about(EventType::Open, &plain);
    assert!(matches!(
        opened.outcome,
        Outcome::Returned(0..) | Outcome::Succeeded | Outcome::Unconfirmed
    ));
}

/// With a rule that denies, opens are made by the tracer: it must not be noticed.
#[test]
fn what_is_not_denied_is_opened_as_if_nobody_had_looked() {
    let denied = Denied::start(
        "same",
        "open",
        &[rule(EventType::Open, "/nowhere/*")],
        r#"
os.umask(0o027)
new = here + "/new"
fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
print(oct(stat.S_IMODE(os.fstat(fd).st_mode)), os.get_inheritable(fd), os.readlink(f"/proc/self/fd/{fd}") == new)
os.write(fd, b"0123456789")
print(got(os.open, new, os.O_CREAT | os.O_EXCL), got(os.open, here, os.O_RDWR), got(os.open, new + "/", os.O_RDONLY),
      got(os.open, new, os.O_DIRECTORY), got(os.open, "", os.O_RDONLY), got(os.open, here + "/no/x", os.O_CREAT))
fd = os.open(new, os.O_WRONLY | os.O_APPEND)
os.write(fd, b"x"); print(os.lseek(fd, 0, os.SEEK_CUR))
os.symlink("dangling-target", here + "/dangling")
print(got(os.open, here + "/dangling", os.O_RDONLY), got(os.open, here + "/dangling", os.O_CREAT | os.O_NOFOLLOW),
      got(os.open, here + "/dangling", os.O_CREAT | os.O_WRONLY), os.path.exists(here + "/dangling-target"))
fd = os.open(here, os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(fd, b"unnamed"); print(os.fstat(fd).st_nlink, oct(stat.S_IMODE(os.fstat(fd).st_mode)))
print(read("/dev/zero")[:1] == "\0", got(os.open, "/dev/null", os.O_WRONLY), got(os.open, "/dev/tty", os.O_RDWR))
print(read("/proc/self/stat").split()[0] == str(os.getpid()), read("/proc/thread-self/comm").strip() != "")
print(read("/proc/self/fd/%d" % os.open(new, os.O_RDONLY)), flush=True)
child = os.fork()
if child == 0:
    print(read("/proc/self/stat").split()[0] == str(os.getpid())); sys.stdout.flush(); os._exit(0)
os.waitpid(child, 0)
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
kept = []
def all_of_them():
    while True: kept.append(os.open(new, os.O_RDONLY))
print(got(all_of_them))
"#,
    );
    let (said, _) = denied.end();
    let expected = "\
0o640 False True
EEXIST EISDIR ENOTDIR ENOTDIR ENOENT ENOENT
11
ENOENT ELOOP done True
0 0o600
True done ENXIO
True True
0123456789x
True
EMFILE
";
    assert_eq!(said, expected);
}

#[test]
fn opens_are_made_with_the_rights_of_the_caller() {
    need_root();
    let denied = Denied::start_as(
        "rights",
        "open",
        &[],
        r#"
os.chown(here + "/mine", 4242, 4242); os.chmod(here + "/mine", 0o600)
os.chmod(here + "/root", 0o600)
os.chown(here + "/group", 0, 777); os.chmod(here + "/group", 0o640)
child = os.fork()
if child == 0:
    os.setgroups([777]); os.setresgid(4242, 4242, 4242); os.setresuid(4242, 4242, 4242)
    libc.prctl(4, 1, 0, 0, 0)  # readable again
    fd = os.open(here + "/made", os.O_CREAT | os.O_WRONLY, 0o600)
    made = os.fstat(fd)
    print(got(read, here + "/mine"), got(read, here + "/root"), got(read, here + "/group"), made.st_uid, made.st_gid)
    sys.stdout.flush(); os._exit(0)
assert os.waitpid(child, 0)[1] == 0
# Root without the right to pass over permissions.
child = os.fork()
if child == 0:
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)(0, 0, 0, 0, 0, 0)
    assert libc.capset(head, sets) == 0
    print(got(read, here + "/mine"), got(read, here + "/root")); sys.stdout.flush(); os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"#,
        |scratch| {
            for name in ["mine", "root", "group"] {
                std::fs::write(scratch.path(&format!("here/{name}")), name).unwrap();
            }
            vec![rule(EventType::Open, "/nowhere/*")]
        },
    );
    let (said, _) = denied.end();
    assert_eq!(said, "mine EACCES group 4242 4242\nEACCES root\n");
}

/// The path is rewritten by another thread as fast as it can be, between one that is denied and
/// one that is not.
#[test]
fn a_path_that_another_thread_swaps_never_gives_the_denied_file() {
    let denied = Denied::start_as(
        "swap",
        "open",
        &[],
        r#"
plain, secret = (here + "/plain").encode(), (here + "/cover").encode()
path = ctypes.create_string_buffer(plain)
stop = False
def swap():
    while not stop:
        ctypes.memmove(path, secret, len(secret)); ctypes.memmove(path, plain, len(plain))
sys.setswitchinterval(1e-6)
threading.Thread(target=swap).start()
seen = set()
for i in range(600):
    fd = libc.open(path, os.O_RDONLY)
    if fd < 0:
        seen.add(errno.errorcode[ctypes.get_errno()])
        continue
    seen.add(os.read(fd, 100).decode()); os.close(fd)
stop = True
print("the secret" in seen, "plain" in seen)
"#,
        |scratch| {
            std::fs::write(scratch.path("here/cover"), "the secret").unwrap();
            std::fs::write(scratch.path("here/plain"), "plain").unwrap();
            vec![rule(EventType::Open, &scratch.text("here/cover"))]
        },
    );
    if engine() == "ptrace" {
        // It cannot open for others: what a race has got it is killed for.
        return;
    }
    let (said, _) = denied.end();
    assert_eq!(said, "False True\n");
}

#[test]
fn a_fifo_waits_for_its_other_end_and_holds_nobody_up() {
    if engine() == "ptrace" {
        return; // its opens are not made by us
    }
    let denied = Denied::start(
        "fifo",
        "open",
        &[rule(EventType::Open, "/nowhere/*")],
        r#"
import signal
def threads():
    return [l for l in open(f"/proc/{os.getppid()}/status") if l.startswith("Threads")]
before = threads()
os.mkfifo(here + "/fifo"); os.mkfifo(here + "/never")
result = []
reader = threading.Thread(target=lambda: result.append(read(here + "/fifo")))
reader.start()
# Others go on while it waits, and so does this process.
for i in range(200): os.close(os.open("/dev/null", os.O_RDONLY))
fd = os.open(here + "/fifo", os.O_WRONLY)
os.write(fd, b"through")
reader.join()
print(result)
print(got(os.open, here + "/never", os.O_WRONLY | os.O_NONBLOCK), got(os.open, here + "/never", os.O_RDONLY | os.O_NONBLOCK))
# One that is killed while it waits, and one that gets a signal.
child = os.fork()
if child == 0:
    os.open(here + "/never", os.O_RDONLY); os._exit(1)
time.sleep(0.2)
os.kill(child, signal.SIGTERM)
print(os.waitpid(child, 0)[1] & 0x7f == signal.SIGTERM)
class Rang(Exception): pass
def ring(*_): raise Rang
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try: os.open(here + "/never", os.O_RDONLY)
except Rang: print("interrupted")
# Nobody is left waiting, in the tracer neither: the next pair meets.
deadline = time.monotonic() + 60
while threads() != before and time.monotonic() < deadline: time.sleep(0.01)
print("alone" if threads() == before else "threads are left behind")
reader = threading.Thread(target=lambda: result.append(read(here + "/never")))
reader.start()
fd = os.open(here + "/never", os.O_WRONLY); os.write(fd, b"again"); reader.join()
print(result)
"#,
    );
    let (said, _) = denied.end();
    assert_eq!(
        said,
        "['through']\nENXIO done\nTrue\ninterrupted\nalone\n['through', 'again']\n"
    );
}

#[test]
fn a_denied_program_does_not_run_by_whatever_name() {
    let denied = Denied::start_as(
        "exec",
        "exec",
        &[],
        r#"
import subprocess
tool = here + "/tool"
os.symlink(tool, here + "/alias")
script = here + "/script"
open(script, "w").write(chr(35) + "!" + tool + "\n"); os.chmod(script, 0o755)
def run(*words):
    child = os.fork()
    if child == 0:
        try: os.execv(words[0], words)
        except OSError as error: os._exit(100 + error.errno)
    status = os.waitpid(child, 0)[1]
    return "killed" if status == 9 else os.waitstatus_to_exitcode(status)
print(run(tool, here + "/ran"), run(here + "/alias", here + "/ran"), run("/proc/self/root" + tool, here + "/ran"))
fd = os.open(tool, os.O_RDONLY)
child = os.fork()
if child == 0:
    try: os.execve(fd, ["tool", here + "/ran"], {})
    except OSError as error: os._exit(100 + error.errno)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(run(script), run("/bin/true"), os.path.exists(here + "/ran"))
"#,
        |scratch| {
            std::fs::copy("/usr/bin/touch", scratch.path("here/tool")).unwrap();
            vec![rule(EventType::Exec, &scratch.text("here/tool"))]
        },
    );
    let tool = denied.here("tool");
    let (said, record) = denied.end();
    // As the interpreter of a script it is seen when it stands before its first instruction.
    assert_eq!(said, "101 101 101\n101\nkilled 0 False\n");
    let refused = refused(&record, EventType::Exec);
    assert_eq!(
        refused.iter().filter(|path| **path == tool).count(),
        4,
        "{refused:?}"
    );
}

/// The path of an exec is rewritten by another thread while the kernel takes it.
#[test]
fn a_denied_program_that_a_thread_slips_in_does_nothing() {
    let denied = Denied::start_as(
        "slip",
        "exec",
        &[],
        r#"
plain, tool = b"/bin/true", (here + "/tool").encode()
size = len(tool) + 1
for i in range(60):
    child = os.fork()
    if child == 0:
        path = ctypes.create_string_buffer(plain, size)
        def swap():
            while True:
                ctypes.memmove(path, tool, len(tool)); ctypes.memmove(path, plain + b"\0", len(plain) + 1)
        sys.setswitchinterval(1e-6)
        threading.Thread(target=swap, daemon=True).start()
        words = (ctypes.c_char_p * 3)(b"tool", (here + "/ran").encode(), None)
        libc.execv(path, words)
        os._exit(0)
    os.waitpid(child, 0)
print(os.path.exists(here + "/ran"))
"#,
        |scratch| {
            std::fs::copy("/usr/bin/touch", scratch.path("here/tool")).unwrap();
            vec![rule(EventType::Exec, &scratch.text("here/tool"))]
        },
    );
    let (said, _) = denied.end();
    assert_eq!(said, "False\n");
}

#[test]
fn changes_are_denied_by_path_and_others_are_made() {
    let kinds = [
        EventType::Unlink,
        EventType::Rmdir,
        EventType::Rename,
        EventType::Mkdir,
        EventType::Chmod,
        EventType::Chown,
        EventType::Link,
    ];
    let denied = Denied::start_as(
        "changes",
        "unlink,rmdir,rename,mkdir,chmod,chown,link",
        &[],
        r#"
for d in ["kept", "free"]:
    base = here + "/" + d
    open(base + "-old", "w").close()
    print(*[
        got(os.unlink, base + "/file"),
        got(os.rmdir, base + "/empty"),
        got(os.rename, base + "/from", base + "/to"),
        got(os.mkdir, base + "/new", 0o777),
        got(os.chmod, base + "/mode", 0o600),
        got(os.chown, base + "/mode", os.getuid(), os.getgid()),
        got(os.link, base + "/mode", base + "/hard"),
        got(os.unlink, base + "/nothing"),
    ])
print(got(os.symlink, "text", here + "/free/soft"), os.readlink(here + "/free/soft"),
      oct(stat.S_IMODE(os.stat(here + "/free/new").st_mode)), got(os.mkdir, here + "/free/new"),
      got(os.rmdir, here + "/free/to"), os.path.samefile(here + "/free/mode", here + "/free/hard"))
"#,
        |scratch| {
            for directory in ["kept", "free"] {
                std::fs::create_dir_all(scratch.path(&format!("here/{directory}/empty"))).unwrap();
                for name in ["file", "from", "mode"] {
                    std::fs::write(scratch.path(&format!("here/{directory}/{name}")), "").unwrap();
                }
            }
            let pattern = scratch.text("here/kept/**");
            kinds.map(|kind| rule(kind, &pattern)).to_vec()
        },
    );
    let kept = denied.here("kept/");
    let (said, record) = denied.end();
    let mut lines = said.lines();
    assert_eq!(
        lines.next(),
        Some("EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM")
    );
    assert_eq!(
        lines.next(),
        Some("done done done done done done done ENOENT")
    );
    assert_eq!(lines.next(), Some("done text 0o755 EEXIST ENOTDIR True"));
    for kind in kinds {
        let refused = refused(&record, kind);
        assert!(
            refused.iter().any(|path| path.starts_with(&kept)),
            "{kind:?}: {:#?}",
            record.of(kind)
        );
    }
    let free = record.of(EventType::Rename).into_iter();
    let moved: Vec<_> = free.filter(|event| event.outcome != REFUSED).collect();
    assert_eq!(moved.len(), 1, "{moved:?}");
    let EventKind::Rename { to, .. } = &moved[0].kind else {
        unreachable!()
    };
    assert!(to.path.ends_with("/free/to"), "{to:?}");
}

/// A call that is made in a program's place must not be made twice because a signal comes: on
/// kernels before 5.19 it interrupts the wait for the answer.
#[test]
fn a_signal_does_not_have_a_call_made_twice() {
    let denied = Denied::start(
        "signals",
        "open,mkdir,rmdir",
        &[
            rule(EventType::Open, "/nowhere/*"),
            rule(EventType::Mkdir, "/nowhere/*"),
            rule(EventType::Rmdir, "/nowhere/*"),
        ],
        r#"
import signal
rang = 0
def ring(*_):
    global rang
    rang += 1
signal.signal(signal.SIGALRM, ring)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
wrong = set()
for i in range(400):
    made, name = got(os.mkdir, here + "/d"), here + "/f%d" % i
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY); os.close(fd)
    wrong |= {made, got(os.rmdir, here + "/d")}
signal.setitimer(signal.ITIMER_REAL, 0)
print(wrong, rang > 10)
"#,
    );
    let (said, _) = denied.end();
    assert_eq!(said, "{'done'} True\n");
}

#[test]
fn a_root_of_its_own_gives_no_other_name() {
    need_root();
    let denied = Denied::start_as(
        "root",
        "open",
        &[],
        r#"
os.chroot(here + "/jail"); os.chdir("/")
print(got(read, "/secret"), got(read, "/plain"))
"#,
        |scratch| {
            std::fs::create_dir(scratch.path("here/jail")).unwrap();
            std::fs::write(scratch.path("here/jail/secret"), "the secret").unwrap();
            std::fs::write(scratch.path("here/jail/plain"), "plain").unwrap();
            vec![rule(EventType::Open, &scratch.text("here/jail/secret"))]
        },
    );
    let (said, _) = denied.end();
    assert_eq!(said, "EPERM plain\n");
}

fn worker_of(keeper: u32) -> Option<u32> {
    let path = format!("/proc/{keeper}/task/{keeper}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let pids = children.split_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).find(|pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name == "picket-tracer\n"
    })
}

#[test]
fn what_is_denied_stays_so_when_the_worker_is_killed() {
    let denied = Denied::start_as(
        "outlasts",
        "open",
        &[],
        r#"
seen = set()
count = 0
while not os.path.exists(here + "/enough"):
    seen.add(got(read, here + "/secret")); count += 1
print(seen)
"#,
        |scratch| {
            std::fs::write(scratch.path("here/secret"), "the secret").unwrap();
            vec![rule(EventType::Open, &scratch.text("here/secret"))]
        },
    );
    let mut killed = 0;
    while killed < 3 {
        let before = denied.agent.heard().len();
        if let Some(worker) = worker_of(denied.child.id()) {
            let status = Command::new("/bin/kill")
                .args(["-KILL", &worker.to_string()])
                .status();
            killed += u32::from(status.unwrap().success());
        }
        eventually("the next worker", || denied.agent.heard().len() > before);
        let heard = denied.agent.heard().len();
        denied.agent.until("refusals by it", |_| {
            let last = denied.agent.heard().swap_remove(heard - 1);
            let record = Record(last.messages);
            refused(&record, EventType::Open).len() > 3
        });
    }
    std::fs::write(denied.here("enough"), "").unwrap();
    let (said, _) = denied.end();
    match engine() {
        "notification" => assert_eq!(said, "{'EPERM'}\n"),
        // A call that has stopped for a worker is made when that one dies; others fail until the
        // next one is there.
        _ => assert!(said.contains("EPERM"), "{said}"),
    }
}

#[test]
fn nothing_is_denied_any_more_when_the_rule_is_gone() {
    let mut denied = Denied::start_as(
        "gone",
        "open",
        &[],
        r#"
while got(read, here + "/secret") == "EPERM": time.sleep(0.01)
print(read(here + "/secret"))
"#,
        |scratch| {
            std::fs::write(scratch.path("here/secret"), "no secret any more").unwrap();
            vec![rule(EventType::Open, &scratch.text("here/secret"))]
        },
    );
    denied.agent.until("a refusal", |record| {
        !refused(record, EventType::Open).is_empty()
    });
    assert!(denied.child.try_wait().unwrap().is_none());
    denied.agent.say(&ToTracer::Deny(Vec::new()));
    let (said, _) = denied.end();
    assert_eq!(said, "no secret any more\n");
}
