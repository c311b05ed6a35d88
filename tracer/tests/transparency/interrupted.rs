//! Signals that come while a thread waits for the tracer: they end that wait, before Linux 5.19 until
//! it is answered, since then until its call is received.

use std::ffi::OsStr;

#[cfg(feature = "test-tools")]
use picket_events::EventType;

use super::*;

/// `kill $!; exec …`: the child dies before anybody has looked at the exec.
#[test]
fn a_child_that_dies_does_not_interrupt_an_exec() {
    let scratch = Scratch::new("dying-child");
    let agent = Agent::start(&scratch);
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        (sleep 60 & until read -r name </proc/$!/comm && [ \"$name\" = sleep ]; do sleep 0.01; done
         sleep 0.01; kill $!; exec /bin/true two) || exit 3
    done";
    let output = output(&mut traced(&agent, "exec", &sh(script)));
    assert!(output.status.success(), "{}", stderr(&output));
    let record = agent.finish();
    let told = record.images().into_iter();
    let told = told.filter(|(_, image)| image.argv == ["/bin/true", "two"]);
    assert_eq!(told.count(), 20);
}

/// `kill $!; : >file`: busybox' shell does not ask again either.
#[cfg(feature = "test-tools")]
#[test]
fn a_child_that_dies_does_not_interrupt_an_open() {
    let scratch = Scratch::new("dying-writer");
    let agent = Agent::start(&scratch);
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            (sleep 60 & until read -r name </proc/$!/comm && [ \"$name\" = sleep ]; do sleep 0.01; done
             sleep 0.01; kill $!; : >{}) || exit 3
        done",
        scratch.text("new")
    );
    let command = ["busybox", "sh", "-c", &script];
    let output = output(&mut traced(&agent, "open:write", &command));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(agent.finish().of(EventType::Open).len(), 20);
}

/// `kill $!; cd …`, and redirections for reading.
#[cfg(feature = "test-tools")]
#[test]
fn a_child_that_dies_does_not_interrupt_what_a_shell_does_at_once() {
    let scratch = Scratch::new("dying-reader");
    std::fs::write(scratch.path("old"), "a line\n").unwrap();
    let here = scratch.path("").to_str().unwrap().to_owned();
    for shell in [&["dash"][..], &["busybox", "sh"]] {
        for work in ["cd", "read -r line <old; cd"] {
            let script = format!(
                "cd {here}
                for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                    (sleep 60 & until read -r name </proc/$!/comm && [ \"$name\" = sleep ]; do sleep 0.01; done
                     sleep 0.01; kill $!; {work} {here} && echo done)
                done"
            );
            let command = [shell, &["-c", &script]].concat();
            let output = output(&mut silent(&command));
            assert_eq!(
                stdout(&output),
                "done\n".repeat(20),
                "{command:?}: {}",
                stderr(&output)
            );
        }
    }
}

/// The signal is not lost where the exec fails. A program with the name of a shell is taken for one.
#[test]
fn a_signal_that_comes_during_an_exec_is_handled() {
    let scratch = Scratch::new("failing-exec");
    let shell = scratch.path("dash");
    std::fs::copy("/usr/bin/python3", &shell).unwrap();
    let script = r#"
import errno, os, signal, time
rang = 0
def ring(*_):
    global rang
    rang += 1
signal.signal(signal.SIGCHLD, ring)
signal.siginterrupt(signal.SIGCHLD, True)
def child():
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/sleep", ["sleep", "60"])
    while open("/proc/%d/comm" % pid).read() != "sleep\n":
        time.sleep(0.001)
    return pid
failed, first = set(), child()
for i in range(20):
    pid = child()
    os.kill(pid, signal.SIGKILL)
    try:
        os.execv("/no/such/program", ["program"])
    except OSError as error:
        failed.add(errno.errorcode[error.errno])
    while rang == i:
        time.sleep(0.001)
    os.waitpid(pid, 0)
print(failed, rang)
os.kill(first, signal.SIGKILL)
"#;
    let output = output(&mut silent(&[shell.to_str().unwrap(), "-c", script]));
    assert_eq!(stdout(&output), "{'ENOENT'} 20\n", "{}", stderr(&output));
}

/// A timer that rings again and again, as nginx' `timer_resolution` has it, with a handler that lacks
/// `SA_RESTART`: what a program asks for at once does not fail for it.
#[test]
fn a_timer_that_rings_again_and_again_interrupts_nothing() {
    interrupts_nothing("timer", &[], "");
}

/// Also where root has no CAP_SYS_PTRACE, as on EKS Fargate.
#[test]
fn a_timer_of_who_has_given_root_up_interrupts_nothing() {
    need_root();
    interrupts_nothing(
        "timer-other",
        &["setpriv", "--bounding-set=-sys_ptrace,-sys_admin"],
        "os.setgroups([]); os.setgid(101); os.setuid(101); keep()",
    );
}

/// `by` runs the tracer; `user` is what the program becomes.
fn interrupts_nothing(name: &str, by: &[&str], user: &str) {
    let scratch = Scratch::new(name);
    std::fs::write(scratch.path("file"), "").unwrap();
    set_mode(&scratch.path(""), 0o777);
    // An emulated machine does not answer within a millisecond.
    let (interval, count) = match option_env!("PICKET_SLOW") {
        Some(_) => ("100000", "300"),
        None => ("1000", "2000"),
    };
    let script = TIMER
        .replace("INTERVAL", interval)
        .replace("COUNT", count)
        .replace("USER", user)
        .replace("FILE", &scratch.text("file"));
    let inner = silent(&["python3", "-c", &script]);
    let whole = by.iter().map(OsStr::new).chain([inner.get_program()]);
    let whole: Vec<&OsStr> = whole.chain(inner.get_args()).collect();
    let output = output(Command::new(whole[0]).args(&whole[1..]));
    assert_eq!(stdout(&output), "{} True\n", "{}", stderr(&output));
}

/// Opens, connects without waiting, sockets and changes of files, until the timer has rung so often that
/// some of them gave EINTR when nothing was done about it.
const TIMER: &str = r#"
import ctypes, errno, os, signal, socket, struct
c = ctypes.CDLL(None, use_errno=True)
def keep():
    c.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE
rang, failed = 0, {}
def ring(*_):
    global rang
    rang += 1
def call(name, *arguments):
    value = getattr(c, name)(*arguments)
    if value < 0 and ctypes.get_errno() == errno.EINTR:
        failed[name] = failed.get(name, 0) + 1
    return value
listener = socket.create_server(("127.0.0.1", 0))
listener.setblocking(False)
to = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(listener.getsockname()[1]), bytes([127, 0, 0, 1]))
USER
signal.signal(signal.SIGALRM, ring)
c.setitimer(0, struct.pack("4q", 0, INTERVAL, 0, INTERVAL), None)
for _ in range(COUNT):
    file = call("open", b"FILE", 0)
    if file >= 0:
        c.close(file)
    call("access", b"FILE", 0)
    call("rename", b"FILE", b"FILE")
    one = call("socket", socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 0)
    if one >= 0:
        call("connect", one, to, len(to))
        c.close(one)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        pass
assert c.setitimer(0, bytes(32), None) == 0
print(failed, rang > 5)
"#;

/// What waits by itself is interrupted as it would be without a tracer: at the latest by the second ring.
#[test]
fn a_timer_that_rings_again_and_again_interrupts_what_waits() {
    let scratch = Scratch::new("timer-waits");
    let script = format!(
        r#"
import ctypes, errno, os, signal, struct
c = ctypes.CDLL(None, use_errno=True)
rang = 0
def ring(*_):
    global rang
    rang += 1
os.mkfifo("{0}")
signal.signal(signal.SIGALRM, ring)
c.setitimer(0, struct.pack("4q", 0, 50000, 0, 50000), None)
told = {{errno.errorcode[ctypes.get_errno()] for _ in range(5) if c.open(b"{0}", 1) < 0}}
assert c.setitimer(0, bytes(32), None) == 0
print(told, 5 <= rang)
"#,
        scratch.text("pipe")
    );
    let output = output(&mut silent(&["python3", "-c", &script]));
    assert_eq!(
        stdout(&output),
        "{'EINTR'} True
",
        "{}",
        stderr(&output)
    );
}
