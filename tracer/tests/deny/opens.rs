//! Opens.

use super::*;

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
os.chown(here + "/group", 0, 1777777777); os.chmod(here + "/group", 0o640)
child = os.fork()
if child == 0:
    os.setgroups([*range(1000000000, 1000065535), 1777777777]); os.setresgid(4242, 4242, 4242); os.setresuid(4242, 4242, 4242)
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
        // It cannot open for others: what a race has got it is killed for, before it can read it.
        let (status, said, _) = denied.end_somehow();
        let was_killed = status.signal() == Some(libc::SIGKILL) && said.is_empty();
        assert!(
            was_killed || said.starts_with("False "),
            "{status:?}: {said}"
        );
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

/// `chroot` leaves the working directory outside: what is opened from there is what the kernel would
/// open.
#[test]
fn what_lies_outside_of_its_root_is_judged_and_opened_there() {
    need_root();
    let denied = Denied::start_as(
        "beside",
        "open",
        &[],
        r#"
os.chdir(here); os.symlink("/inside", "link"); os.chroot("jail")
print(got(read, "secret"), got(read, "jail/../../here/secret"), got(read, "plain"))
print(got(read, "link"), got(read, "jail/../inside"))
os.close(os.open("made", os.O_CREAT | os.O_WRONLY))
print(os.path.exists("made"), got(os.mkdir, "/"), got(os.rmdir, "/"))
"#,
        |scratch| {
            std::fs::create_dir(scratch.path("here/jail")).unwrap();
            std::fs::write(scratch.path("here/secret"), "the secret").unwrap();
            std::fs::write(scratch.path("here/plain"), "plain").unwrap();
            std::fs::write(scratch.path("here/jail/inside"), "inside").unwrap();
            let denied = [EventType::Open, EventType::Mkdir, EventType::Rmdir];
            denied
                .map(|kind| rule(kind, &scratch.text("here/secret")))
                .to_vec()
        },
    );
    let (said, _) = denied.end();
    assert_eq!(
        said,
        "EPERM ENOENT plain\ninside inside\nTrue EEXIST EBUSY\n"
    );
}

/// A thread of the tracer opens what may block; its number is as good as the tracer's own.
#[test]
fn the_threads_that_open_something_are_out_of_reach() {
    if engine() == "ptrace" {
        return; // its opens are not made by us
    }
    let denied = Denied::start(
        "threads",
        "open,signal",
        &[rule(EventType::Open, "/nowhere/*")],
        r#"
import resource, signal
tasks = f"/proc/{os.getppid()}/task"
os.mkfifo(here + "/fifo")
threading.Thread(target=lambda: read(here + "/fifo")).start()
deadline = time.monotonic() + 60
while len(os.listdir(tasks)) == 1 and time.monotonic() < deadline: time.sleep(0.01)
said = set()
for task in map(int, os.listdir(tasks)):
    if task != os.getppid():
        said.add(got(os.kill, task, signal.SIGKILL))
        said.add(got(resource.prlimit, task, resource.RLIMIT_NOFILE, (1, 1)))
        said.add(got(os.sched_setscheduler, task, os.SCHED_IDLE, os.sched_param(0)))
        said.add(got(os.setpriority, os.PRIO_PROCESS, task, 19))
print(said)
os.close(os.open(here + "/fifo", os.O_WRONLY))
"#,
    );
    let (said, _) = denied.end();
    assert_eq!(said, "{'EPERM'}\n");
}

/// A file system of processes that is mounted in another place: whoever opens something in it for the
/// caller would be itself there.
#[test]
fn in_a_second_file_system_of_processes_a_program_is_itself() {
    need_root();
    let denied = Denied::start(
        "second-proc",
        "open",
        &[rule(EventType::Open, "/nowhere/*")],
        r#"
NEW_MOUNTS, BIND, PRIVATE = 0x20000, 0x1000 | 0x4000, 0x40000 | 0x4000
second = here + "/second"
os.mkdir(second); os.chdir(here)
assert libc.unshare(NEW_MOUNTS) == 0 and libc.mount(b"none", b"/", None, PRIVATE, None) == 0
assert libc.mount(b"/proc", second.encode(), None, BIND, None) == 0
os.symlink(second + "/self", here + "/me")
mine = ctypes.create_string_buffer(b"what is mine")
for name in [second + "/self", second + "/thread-self", here + "/me"]:
    print(read(name + "/stat").split()[0] == str(os.getpid()))
    memory = os.open(name + "/mem", os.O_RDWR)
    print(os.pread(memory, 12, ctypes.addressof(mine)))
    print(got(os.open, name + "/cwd/new", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)); os.unlink("new")
"#,
    );
    let (said, _) = denied.end();
    assert_eq!(said, "True\nb'what is mine'\ndone\n".repeat(3));
}

/// What the kernel keeps from the program of the tracer it keeps from it also where the tracer, which may see
/// itself, opens files in the program's place.
#[test]
fn the_tracer_does_not_open_itself_for_a_program() {
    need_root();
    let denied = Denied::start(
        "itself",
        "open",
        &[rule(EventType::Open, "/nowhere/*")],
        r#"
worker = os.getppid()
folder = os.open(f"/proc/{worker}", os.O_RDONLY)
# Root without a capability, as to whom the tracer's files belong.
head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capset(head, sets) == 0
threads = [int(name) for name in os.listdir(f"/proc/{worker}/task")]
for place in [f"/proc/{worker}", f"/proc/{worker}/task/{threads[-1]}", f"/proc/{threads[-1]}"]:
    print(*[got(os.open, f"{place}/{name}", flags) for name, flags in
            [("mem", os.O_RDWR), ("mem", os.O_RDONLY), ("environ", os.O_RDONLY), ("maps", os.O_RDONLY),
             ("pagemap", os.O_RDONLY)]])
    print(read(f"{place}/comm").strip())
    for number in range(40):
        try: mine = os.readlink("/proc/self/fd/%d" % os.open(f"{place}/fd/{number}", os.O_RDONLY))
        except OSError: continue
        # What has a name could be opened by it.
        assert os.path.exists(mine), mine
print(got(os.open, "mem", os.O_RDWR, dir_fd=folder))
"#,
    );
    let (said, _) = denied.end();
    let refused = format!("{}\npicket-tracer\n", ["EACCES"; 5].join(" "));
    assert_eq!(said, format!("{}EACCES\n", refused.repeat(3)));
}
