//! What an exec keeps and a fork does not: the program that is traced is forked, and gets it all the
//! same. And the signals that the kernel sends to the process that was started, and to no other.

use std::process::Command;

use picket_events::EventType;

use super::support::*;

/// Runs a python program whose arguments are what starts a traced program, and gives what it says.
fn python(program: &str, before: &[&str]) -> String {
    let ran = output(
        Command::new("python3")
            .args(["-E", "-c", program])
            .args(before),
    );
    assert!(ran.status.success(), "{before:?} {}", stderr(&ran));
    stdout(&ran)
}

/// What a program says untraced and traced, by the python program that starts it.
fn both(program: &str) -> [String; 2] {
    let tracer = tracer();
    let tracer = tracer.to_str().unwrap();
    let traced = [
        tracer,
        "trace",
        "--engine",
        engine(),
        "--no-agent",
        "--interest",
        "all",
        "--",
    ];
    [&[][..], &traced].map(|before| python(program, before))
}

#[test]
fn timers_a_subreaper_and_scheduling_of_its_own_are_the_programs() {
    let [plain, traced] = both(
        r#"
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
# A timer for each kind that strikes once, and one that goes on.
signal.setitimer(signal.ITIMER_REAL, 5000, 70)
signal.setitimer(signal.ITIMER_VIRTUAL, 6000)
signal.setitimer(signal.ITIMER_PROF, 7000, 80)
libc.prctl(36, 1, 0, 0, 0) # PR_SET_CHILD_SUBREAPER
os.sched_setscheduler(0, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))
program = '''
import ctypes, os, signal
libc = ctypes.CDLL(None)
word = ctypes.c_int()
libc.prctl(37, ctypes.byref(word), 0, 0, 0)
timers = [signal.getitimer(n) for n in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)]
print([(round(left, -3), again) for left, again in timers], word.value, hex(os.sched_getscheduler(0)))
'''
words = sys.argv[1:] + [sys.executable, "-c", program]
os.execv(words[0], words)
"#,
    );
    let expected = "[(5000.0, 70.0), (6000.0, 0.0), (7000.0, 80.0)] 1 0x40000003\n";
    assert_eq!(plain, expected);
    assert_eq!(traced, expected);
}

/// Such a process may not fork. The program has its deadline, and the tracer has none.
#[test]
fn a_program_with_a_deadline_is_traced_and_keeps_it() {
    need_root();
    let scratch = Scratch::new("deadline");
    let agent = Agent::start(&scratch);
    let deadline =
        "--deadline --sched-runtime 10000000 --sched-deadline 100000000 --sched-period 100000000 0";
    let with_deadline = || {
        let mut command = Command::new("chrt");
        command.args(deadline.split(' '));
        command
    };
    let given = output(with_deadline().arg("true"));
    assert!(
        given.status.success(),
        "root gets no deadline here, which this test needs: {}",
        stderr(&given)
    );
    let run = |limited: &[&str]| {
        let inner = traced(&agent, "exec", &["chrt", "--pid", "0"]);
        let mut command = with_deadline();
        command.args(limited);
        command.arg(inner.get_program()).args(inner.get_args());
        output(&mut command)
    };
    let ran = run(&[]);
    assert!(stdout(&ran).contains("SCHED_DEADLINE"), "{ran:?}");
    assert_eq!(stderr(&ran), "");
    assert!(!agent.finish().of(EventType::Exec).is_empty());
    // Who may not give it to a child runs the program untraced, and says why.
    let ran = run(&["setpriv", "--reuid", "65534", "--clear-groups"]);
    assert!(stdout(&ran).contains("SCHED_DEADLINE"), "{ran:?}");
    let why = "a process under SCHED_DEADLINE may not fork";
    assert!(stderr(&ran).contains(why), "{}", stderr(&ran));
}

/// Less stack than the tracer needs.
#[test]
fn a_tight_stack_is_the_programs_and_not_the_tracers() {
    for limit in ["ulimit -S -s 16", "ulimit -S -s 64"] {
        let [plain, traced] = [Command::new("/bin/sh"), silent(&["/bin/sh"])].map(|command| {
            let mut limited = Command::new("/bin/sh");
            limited
                .args(["-c", &format!("{limit}; exec \"$@\""), "sh"])
                .arg(command.get_program())
                .args(command.get_args())
                .args(["-c", "ulimit -S -s; ulimit -H -s; exec /bin/true"]);
            // What stands there counts as stack.
            output(limited.env_clear())
        });
        assert_eq!(plain.status.code(), Some(0));
        assert_eq!(traced.status.code(), Some(0), "{limit} {}", stderr(&traced));
        assert_eq!(stdout(&traced), stdout(&plain));
        assert_eq!(stderr(&traced), "");
    }
}

/// As C libraries look for it.
#[test]
fn a_program_is_found_behind_a_directory_that_is_too_long() {
    let path = format!("{}:/bin:/usr/bin", "/long".repeat(1000));
    let ran = output(silent(&["true"]).env("PATH", &path));
    assert_eq!((ran.status.code(), &*stderr(&ran)), (Some(0), ""));
}

/// `perl -e 'alarm 1; exec …'` is how many limit what they start.
#[test]
fn a_timer_that_was_set_before_ends_the_program() {
    for said in both(
        r#"
import os, signal, sys
pid = os.fork()
if pid == 0:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 1)
    words = sys.argv[1:] + ["/bin/sleep", "1000"]
    os.execv(words[0], words)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#,
    ) {
        assert_eq!(said, "-14\n");
    }
}

/// A tracer that cannot trace leaves nothing of its own behind.
#[test]
fn a_program_that_runs_untraced_is_no_subreaper() {
    let tracer = tracer();
    let says = "import ctypes; word = ctypes.c_int(7); \
        ctypes.CDLL(None).prctl(37, ctypes.byref(word), 0, 0, 0); print(word.value)";
    let nested = [
        tracer.to_str().unwrap(),
        "trace",
        "--no-agent",
        "--engine",
        "notification",
        "--",
        "python3",
        "-c",
        says,
    ];
    let ran = output(&mut silent(&nested));
    if engine() == "notification" {
        assert!(stderr(&ran).contains("runs untraced"), "{}", stderr(&ran));
    }
    assert_eq!(stdout(&ran), "0\n");
}

/// The end of a terminal is told to the leader of its session alone: the keeper, where a container
/// engine started it with one.
#[test]
fn a_terminal_that_hangs_up_is_told_to_the_program() {
    let [plain, traced] = both(
        r#"
import os, pty, signal, sys
def ends(command, until):
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        words = sys.argv[1:] + command
        os.execv(words[0], words)
    said = b""
    while until not in said: said += os.read(terminal, 100)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(ends(["/bin/sh", "-c", "echo up; exec sleep 1000"], b"up"))
# One that has a handler is told once, and goes on.
handler = '''
import os, signal, time
told = []
signal.signal(signal.SIGHUP, lambda *_: told.append(1))
signal.signal(signal.SIGCONT, lambda *_: told.append(2))
os.write(1, b"up")
end = time.monotonic() + 60
while len(told) < 2 and time.monotonic() < end: time.sleep(0.01)
time.sleep(0.2)
os._exit(len(told) * 10 + told.count(1))
'''
print(ends([sys.executable, "-c", handler], b"up"))
"#,
    );
    assert_eq!(plain, "-1\n21\n");
    assert_eq!(traced, plain);
}

/// Somebody else's queued signal is passed on with who sent it and with what.
#[test]
fn a_queued_signal_says_who_sent_it() {
    let [plain, traced] = both(
        r#"
import ctypes, os, signal, subprocess, sys
program = '''
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
os.write(1, b"up")
for _ in range(4):
    # What has the name of a status is the value.
    info = signal.sigwaitinfo({40, 41, 50, signal.SIGUSR1})
    print(info.si_signo, info.si_code, info.si_pid, info.si_uid == os.getuid(), info.si_status, flush=True)
'''
words = sys.argv[1:] + [sys.executable, "-c", program]
child = subprocess.Popen(words, stdout=subprocess.PIPE)
assert child.stdout.read(2) == b"up"
libc = ctypes.CDLL(None)
for number, value in ((signal.SIGUSR1, 7), (41, 8), (50, 9), (40, 10)):
    libc.sigqueue(child.pid, int(number), ctypes.c_void_p(value))
    # The order of what waits at once is another matter.
    print(child.stdout.readline().decode().replace(f" {os.getpid()} ", " me "), end="")
"#,
    );
    assert_eq!(
        plain,
        "10 -1 me True 7\n41 -1 me True 8\n50 -1 me True 9\n40 -1 me True 10\n"
    );
    assert_eq!(traced, plain);
}

/// `setpriv --pdeathsig KILL`, `bwrap --die-with-parent`.
#[test]
fn what_is_to_be_killed_with_its_parent_is() {
    let [plain, traced] = both(
        r#"
import ctypes, os, signal, sys, time
libc = ctypes.CDLL(None)
libc.prctl(36, 1, 0, 0, 0) # orphans come to us
read, write = os.pipe()
parent = os.fork()
if parent == 0:
    if os.fork() == 0:
        os.set_inheritable(write, True)
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)
        words = sys.argv[1:] + ["/bin/sh", "-c", f"echo $$ >&{write}; exec sleep 1000"]
        os.execv(words[0], words)
    time.sleep(1000)
program = int(os.read(read, 100))
os.kill(parent, signal.SIGKILL)
os.close(write)
# Nobody has its end any more: all are gone.
assert os.read(read, 1) == b""
ended = {}
while True:
    try: pid, status = os.wait()
    except ChildProcessError: break
    ended[pid] = status
# Of a tracer, the worker comes to us as well, and has nothing to complain of.
print({status for status in ended.values() if status}, os.path.exists(f"/proc/{program}"))
"#,
    );
    assert_eq!(plain, "{9} False\n");
    assert_eq!(traced, plain);
}
