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
