//! Reaching for other processes, the tracer among them.

use super::*;

#[test]
fn memory_of_other_processes_is_watched_and_ours_is_out_of_reach() {
    let scratch = Scratch::new("procmem");
    let agent = Agent::start(&scratch);
    let program = "
import os
child = os.fork()
if child == 0:
    import time; time.sleep(60)
fd = os.open(f'/proc/{child}/mem', os.O_RDWR)
os.kill(child, 9)
print(child)
for name in ('mem', 'environ', 'maps'):
    try: os.open(f'/proc/{os.getppid()}/{name}', os.O_RDWR if name == 'mem' else os.O_RDONLY)
    except OSError: continue
    raise SystemExit(name + ' of the tracer is open')
";
    let inner = traced(&agent, "open", &["python3", "-c", program]);
    // As in a pod: nobody has these capabilities.
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-sys_ptrace,-sys_admin,-perfmon",
        "--inh-caps=-all",
    ]);
    command.arg(inner.get_program()).args(inner.get_args());
    let output = output(command.stdin(std::process::Stdio::null()));
    assert!(output.status.success(), "{}", stderr(&output));
    let path = format!("/proc/{}/mem", stdout(&output).trim());
    let record = agent.finish();
    let told: Vec<_> = record
        .paths(EventType::Open)
        .into_iter()
        .filter(|p| *p == path)
        .collect();
    assert_eq!(told.len(), 1);
}

/// The ptrace engine occupies the place: there the attempt is refused, and told as well.
#[test]
fn a_trace_of_a_sibling_is_told() {
    let record = record("sibling", "ptrace,memory_write", |_| {
        "python3 -c 'import ctypes, os, time
libc = ctypes.CDLL(None)
word = ctypes.create_string_buffer(8)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(word), 8)
victim = os.fork()
if victim == 0: time.sleep(60)
if libc.ptrace(16, victim, 0, 0) == 0: os.waitpid(victim, 0)
number = {\"x86_64\": 311, \"aarch64\": 271}[os.uname().machine]
while libc.syscall(number, victim, vector, 1, vector, 1, 0) != 8: time.sleep(0.05)
os.kill(victim, 9)'"
            .into()
    });
    let [trace] = record.of(EventType::Ptrace)[..] else {
        panic!("{record:#?}")
    };
    let EventKind::Ptrace {
        request: 16,
        target,
    } = trace.kind
    else {
        panic!("{trace:?}")
    };
    // A child that was only just made may not be ready for it: then it is tried again.
    let write = *record.of(EventType::MemoryWrite).last().expect("a write");
    assert_eq!(write.kind, EventKind::MemoryWrite { target });
}

#[test]
fn without_its_socket_the_tracer_goes_on() {
    let scratch = Scratch::new("unlinked");
    let agent = Agent::start(&scratch);
    let program = format!(
        "
import os, socket
for i in range(300):
    try: socket.socket(socket.AF_UNIX).connect('{0}')
    except PermissionError: continue
    raise SystemExit('not refused')
os.unlink('{0}')
os.execv('/bin/true', ['/bin/true', 'afterwards'])
",
        agent.socket.display()
    );
    let output = output(&mut traced(
        &agent,
        "exec,unlink",
        &["python3", "-c", &program],
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let record = agent.finish();
    assert_eq!(record.exec("/bin/true").1.argv[1], "afterwards");
    assert_eq!(record.of(EventType::Unlink).len(), 1);
    assert_eq!(record.notices().len(), 300);
    assert_eq!(agent.heard().len(), 1, "nobody else came through");
}

#[test]
fn scheduling_and_signals_aimed_at_the_tracer_are_refused() {
    let scratch = Scratch::new("aimed");
    let agent = Agent::start(&scratch);
    let program = "
import fcntl, os, struct
worker = os.getppid()
def refused(work):
    try: work()
    except PermissionError: return
    raise SystemExit('not refused')
refused(lambda: os.sched_setscheduler(worker, os.SCHED_IDLE, os.sched_param(0)))
refused(lambda: os.sched_setparam(worker, os.sched_param(0)))
refused(lambda: os.sched_setaffinity(worker, {0}))
refused(lambda: fcntl.fcntl(0, fcntl.F_SETOWN, worker))
refused(lambda: fcntl.fcntl(0, 15, struct.pack('ii', 1, worker)))
a, b = os.pipe()
refused(lambda: fcntl.ioctl(a, 0x8901, struct.pack('i', worker)))
import resource
refused(lambda: resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, 3)))
";
    let output = output(&mut traced(&agent, "exec", &["python3", "-c", program]));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(agent.finish().notices().len(), 7);
}

/// `F_SETSIG` chooses a signal, SIGKILL too, and any group may be the owner: whoever gets it, it is not
/// the worker.
#[test]
fn a_signal_that_a_descriptor_sends_reaches_only_whom_the_program_may_name() {
    let scratch = Scratch::new("sends");
    let agent = Agent::start(&scratch);
    let program = "
import fcntl, os, signal, struct, time
F_SETSIG, F_SETOWN_EX, F_OWNER_PGRP = 10, 15, 2
worker, (read, write) = os.getppid(), os.pipe()
fcntl.fcntl(read, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
fcntl.fcntl(read, F_SETSIG, signal.SIGKILL)
for owner in (lambda: fcntl.fcntl(read, fcntl.F_SETOWN, worker),
              lambda: fcntl.fcntl(read, fcntl.F_SETOWN, -worker),
              lambda: fcntl.fcntl(read, F_SETOWN_EX, struct.pack('ii', F_OWNER_PGRP, worker))):
    try: owner()
    except PermissionError: os.write(write, b'x')
    else: raise SystemExit('not refused')
got = []
signal.signal(signal.SIGRTMIN, lambda *_: got.append(1))
fcntl.fcntl(read, F_SETSIG, signal.SIGRTMIN)
fcntl.fcntl(read, fcntl.F_SETOWN, os.getpid())
os.read(read, 9)
os.write(write, b'x')
while not got: time.sleep(0.01)
assert os.getppid() == worker
fcntl.fcntl(read, fcntl.F_SETFL, 0)
os.execv('/bin/true', ['true', 'afterwards'])
";
    let output = output(&mut traced(&agent, "exec", &["python3", "-c", program]));
    assert!(
        output.status.success(),
        "{:?} {}",
        output.status,
        stderr(&output)
    );
    let record = agent.finish();
    assert_eq!(record.exec("true").1.argv[1], "afterwards");
    let tampering = |notice: &&picket_events::wire::Notice| {
        matches!(notice, picket_events::wire::Notice::Tampering { .. })
    };
    let notices = record.notices();
    assert_eq!(
        (
            notices.len(),
            notices
                .iter()
                .copied()
                .filter(|notice| tampering(notice))
                .count()
        ),
        (3, 3)
    );
}

#[test]
fn tracees_are_kept_from_the_agents_socket_and_from_the_tracer() {
    let scratch = Scratch::new(&format!("tamper-{}", engine()));
    let agent = Agent::start(&scratch);
    std::os::unix::fs::symlink(&agent.socket, scratch.path("alias")).unwrap();
    let script = format!(
        "
import ctypes, os, signal, socket
def refused(work):
    try: work()
    except PermissionError: return
    raise SystemExit('not refused')
for path in ('{socket}', '{alias}'):
    refused(lambda: socket.socket(socket.AF_UNIX).connect(path))
worker = os.getppid()
for s in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
    refused(lambda: os.kill(worker, s))
    refused(lambda: os.killpg(worker, s))
keeper = int(open('/proc/%d/stat' % worker).read().rsplit(') ')[1].split()[1])
refused(lambda: os.kill(keeper, signal.SIGKILL))
refused(lambda: signal.pidfd_send_signal(os.pidfd_open(worker), signal.SIGKILL))
import fcntl
refused(lambda: fcntl.fcntl(0, fcntl.F_SETOWN, worker))
refused(lambda: os.setpriority(os.PRIO_PROCESS, worker, 10))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(16, worker, 0, 0) == -1 and ctypes.get_errno() == 1
assert libc.syscall(311, worker, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1
",
        socket = agent.socket.display(),
        alias = scratch.text("alias"),
    );
    let output = output(&mut traced(&agent, "exec", &["python3", "-c", &script]));
    assert!(output.status.success(), "{}", stderr(&output));
    let notices = agent.finish().notices().len();
    assert_eq!(notices, 14);
}

/// The agent's socket is known by whatever name or mount, also under one that it was given since.
#[test]
fn the_agents_socket_is_out_of_reach_by_any_name() {
    need_root();
    let scratch = Scratch::new(&format!("names-{}", engine()));
    let agent = Agent::start(&scratch);
    for folder in ["mounted", "root"] {
        std::fs::create_dir(scratch.path(folder)).unwrap();
    }
    std::fs::write(scratch.path("file"), "").unwrap();
    let program = format!(
        "
import ctypes, os, socket
path = '{}'
here, name = os.path.split(path)
os.chdir(here)
count = 0
def refused(path):
    global count
    try: socket.socket(socket.AF_UNIX).connect(path)
    except PermissionError: count += 1; return
    raise SystemExit(path + ' is not refused')
os.symlink(name, 'link'); os.symlink('link', 'link-to-link')
os.link(name, 'hard')
folder, itself = os.open('.', os.O_PATH), os.open(name, os.O_PATH)
child = os.fork()
if child == 0: import time; time.sleep(60)
for way in (name, './mounted/../' + name, 'link-to-link', 'hard', f'/proc/self/cwd/{{name}}', f'/proc/self/root{{path}}',
            f'/proc/self/fd/{{folder}}/{{name}}', f'/proc/self/fd/{{itself}}', f'/proc/thread-self/fd/{{itself}}',
            f'/proc/{{child}}/cwd/{{name}}', f'/proc/{{child}}/root{{path}}', f'/proc/{{child}}/fd/{{itself}}'):
    refused(way)
os.kill(child, 9)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0 and libc.mount(b'none', b'/', None, 0x44000, None) == 0
assert libc.mount(here.encode(), b'mounted', None, 0x1000, None) == 0
assert libc.mount(name.encode(), b'file', None, 0x1000, None) == 0
refused('mounted/' + name); refused('file')
os.rename('hard', 'renamed-hard'); refused('renamed-hard')
os.rename(name, 'renamed'); refused('renamed'); refused('renamed-hard')
os.rename('renamed', name)
libc.umount2(b'mounted', 2)
os.chroot(here)
refused('/' + name)
print(count)
",
        agent.socket.display()
    );
    let output = output(&mut traced(&agent, "exec", &["python3", "-c", &program]));
    assert!(output.status.success(), "{}", stderr(&output));
    let record = agent.finish();
    assert_eq!(stdout(&output).trim(), record.notices().len().to_string());
    assert_eq!(agent.heard().len(), 1, "nobody else came through");
}

/// A sibling of the main process, a child of the tracer's worker as that is: it has no other parent.
#[test]
fn a_child_that_is_given_to_the_tracer_is_traced_and_ends() {
    let (record, out) = run(
        "sibling-of-main",
        "exec,fork,open:write",
        r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    int fd[2]; char byte;
    if (pipe(fd)) return 1;
    for (int i = 0; i < 20; i++) {
        // Whatever signal its end is to send: its parent is sent what the caller's would.
        long pid = syscall(SYS_clone, CLONE_PARENT | SIGKILL, 0, 0, 0, 0);
        if (pid == 0) {
            char name[16]; sprintf(name, "made-%d", i);
            if (open(name, O_CREAT | O_WRONLY, 0600) < 0) _exit(1);
            write(fd[1], "x", 1);
            execl("/bin/true", "true", name, NULL);
            _exit(2);
        }
        read(fd[0], &byte, 1);
        printf("%ld\n", pid);
    }
    return 0;
}"#,
    );
    let pids: Vec<u32> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), 20);
    for (number, pid) in pids.iter().enumerate() {
        assert_eq!(opened(&record, &format!("made-{number}")), 1);
        // It runs what its maker does, although nobody tells that it was that.
        let forks = record.of(EventType::Fork).into_iter();
        let mut made = forks.filter(|event| event.pid == *pid);
        let image = made.find_map(|event| match &event.kind {
            EventKind::Fork(process) => process.image.as_ref(),
            _ => None,
        });
        let runs = image.map(|image| image.file.name.as_str());
        assert_eq!(runs, Some("program"), "{pid}");
        let name = format!("made-{number}");
        let execs = record.images().into_iter();
        let told = execs.filter(|(event, image)| {
            event.pid == *pid && image.argv.last().is_some_and(|last| *last == name)
        });
        assert_eq!(told.count(), 1, "{name}");
    }
    let is_restart = |notice: &&picket_events::wire::Notice| {
        matches!(notice, picket_events::wire::Notice::Restarted { .. })
    };
    assert!(
        !record.notices().iter().any(is_restart),
        "{:?}",
        record.notices()
    );
}

/// By a pidfd, a signal can go to the whole group that a process leads (Linux 6.9).
#[test]
fn a_signal_to_a_group_by_its_pidfd_is_told_as_that() {
    if !kernel_is_from(6, 9) {
        return;
    }
    let (record, out) = run(
        "group-by-pidfd",
        "exec,signal",
        r#"
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    int ready[2]; char byte;
    if (pipe(ready)) return 1;
    pid_t leader = fork();
    if (leader == 0) {
        setpgid(0, 0);
        if (fork() == 0) write(ready[1], "x", 1);
        pause();
    }
    read(ready[0], &byte, 1);
    int fd = syscall(SYS_pidfd_open, leader, 0), status;
    if (syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 4)) return 2;
    if (waitpid(leader, &status, 0) != leader || !WIFSIGNALED(status)) return 3;
    printf("%d\n", leader);
    return 0;
}"#,
    );
    let leader: i32 = out.trim().parse().unwrap();
    let signals = record.of(EventType::Signal).into_iter();
    let targets: Vec<_> = signals
        .filter_map(|event| match event.kind {
            EventKind::Signal { target, .. } => Some(target),
            _ => None,
        })
        .collect();
    assert_eq!(targets, [-leader]);
}
