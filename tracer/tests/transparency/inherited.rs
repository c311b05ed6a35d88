//! What a process inherits, it inherits traced as untraced.

use std::process::Command;

use super::support::*;

/// Everything that a process has and that tells it from another, but for what is listed.
const INHERITED: &str = "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
# Ids that every process has of its own; what the kernel counts; and what is listed in
# docs/tracer.md under Limits: no_new_privs and the filter.
OWN = ('Pid', 'Tgid', 'Ngid', 'PPid', 'TracerPid', 'NStgid', 'NSpid', 'Vm', 'Rss', 'Hugetlb',
    'voluntary', 'nonvoluntary', 'FDSize', 'Cpus', 'Mems', 'SigQ', 'NoNewPrivs', 'Seccomp')
for line in open('/proc/self/status'):
    if not line.startswith(OWN): print(line, end='')
for name in ('limits', 'cgroup', 'oom_score_adj', 'personality', 'coredump_filter', 'loginuid',
        'timerslack_ns', 'setgroups', 'uid_map', 'autogroup'):
    try: print(name, open('/proc/self/' + name).read())
    except OSError as error: print(name, error.errno)
print({name: os.readlink('/proc/self/ns/' + name) for name in sorted(os.listdir('/proc/self/ns'))})
for number in sorted(os.listdir('/proc/self/fd'), key=int):
    try: link = os.readlink('/proc/self/fd/' + number)
    except FileNotFoundError: continue
    # What the test itself reads from is another pipe each time.
    info = [line for line in open('/proc/self/fdinfo/' + number) if line.startswith('flags')]
    print(number, link.split(':')[0], info)
print(os.getpgrp(), os.getsid(0), os.tcgetpgrp(2) if os.isatty(2) else 'no terminal')
print(os.getcwd(), os.readlink('/proc/self/root'), oct(os.umask(0)))
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getaffinity(0))
print('io priority', libc.syscall({'x86_64': 252, 'aarch64': 31}[os.uname().machine], 1, 0))
# PR_GET_PDEATHSIG, DUMPABLE, KEEPCAPS, TIMING, SECUREBITS, TIMERSLACK, CHILD_SUBREAPER, THP_DISABLE,
# SPECULATION_CTRL of the first two kinds.
word = ctypes.c_int(0)
libc.prctl(2, ctypes.byref(word), 0, 0, 0)
print('prctl', word.value, [libc.prctl(n, 0, 0, 0, 0) for n in (3, 7, 13, 27, 30, 42)])
libc.prctl(37, ctypes.byref(word), 0, 0, 0)
print(word.value, [libc.prctl(52, kind, 0, 0, 0) for kind in (0, 1)])
print('ambient', [libc.prctl(47, 1, capability, 0, 0) for capability in range(41)])
# KEYCTL_GET_KEYRING_ID of the session's keyring, not made where there is none.
print('keyring', libc.syscall({'x86_64': 250, 'aarch64': 219}[os.uname().machine], 0, -3, 0))
";

#[test]
fn everything_that_is_inherited_is_inherited_unchanged() {
    for setting in [
        "",
        "trap '' PIPE HUP CHLD; umask 027; cd /;",
        "exec 0<&-;",
        "exec 5</dev/null; ulimit -n 100; ulimit -c 0; renice -n 3 $$ >/dev/null; \
         echo 200 >/proc/self/oom_score_adj;",
        "exec setarch -R taskset -c 0 chrt --batch 0 ionice -c 2 -n 7",
    ] {
        let scratch = Scratch::new(&format!("inherited-{}", engine()));
        let program = scratch.text("program.py");
        std::fs::write(&program, INHERITED).unwrap();
        let tracer = tracer();
        let start = match setting.starts_with("exec ") && !setting.ends_with(';') {
            true => setting.to_owned(),
            false => format!("{setting} exec"),
        };
        let plain = format!("{start} python3 -E {program}");
        let traced = format!(
            "{start} {} trace --engine {} --no-agent -- python3 -E {program}",
            tracer.display(),
            engine()
        );
        let plain = output(Command::new("bash").args(["-c", &plain]));
        let traced = output(Command::new("bash").args(["-c", &traced]));
        assert!(plain.status.success(), "{setting} {}", stderr(&plain));
        assert!(stdout(&plain).contains("keyring"), "{setting}");
        let lines = |output: &std::process::Output| -> Vec<String> {
            stdout(output).lines().map(str::to_owned).collect()
        };
        let differing: Vec<_> = lines(&plain)
            .into_iter()
            .zip(lines(&traced))
            .filter(|(plain, traced)| plain != traced)
            .collect();
        assert_eq!(lines(&plain).len(), lines(&traced).len(), "{setting}");
        assert!(
            differing.is_empty() && stderr(&traced) == stderr(&plain),
            "{setting} {differing:#?} {}",
            stderr(&traced)
        );
    }
}

/// Runs a command untraced and traced, each replacing a python that has run `before` (`arguments` is
/// the command there), and gives what both have said.
fn both(before: &str, command: &[&str]) -> [String; 2] {
    let tracer = tracer();
    let tracer = [tracer.to_str().unwrap(), "trace", "--engine", engine()];
    [&[][..], &[&tracer[..], &["--no-agent", "--"]].concat()].map(|prefix| {
        let before = format!("import ctypes, os, sys\narguments = sys.argv[1:]\n{before}");
        let mut python = Command::new("python3");
        let ran = output(python.args(["-c", &before]).args(prefix).args(command));
        assert!(ran.status.success(), "{prefix:?} {}", stderr(&ran));
        stdout(&ran)
    })
}

#[test]
fn an_environment_that_is_no_list_of_variables_arrives_as_it_is() {
    let before = r#"
libc = ctypes.CDLL(None)
words = [word.encode() for word in arguments]
entries = [b"A=1", b"no equals sign", b"A=2", b"", b"=x=y", b"=", b"B=\xff\n", b"A=1"]
array = lambda all: (ctypes.c_char_p * (len(all) + 1))(*all, None)
libc.execve(words[0], array(words), array(entries))
"#;
    let [plain, traced] = both(before, &["/bin/cat", "/proc/self/environ"]);
    assert!(plain.contains("\0no equals sign\0A=2\0\0=x=y\0=\0"));
    assert_eq!(plain, traced);
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    for closed in ["[0]", "[1]", "[2]", "[0, 1]", "[1, 2]", "[0, 1, 2]"] {
        // What a program is told on descriptor 9 is what the test reads.
        let before = format!(
            "
os.dup2(1, 9, inheritable=True)
for number in range(3): os.dup2(os.open('/dev/zero', os.O_RDWR), number)
for number in {closed}: os.close(number)
arguments = [sys.executable if word == 'python' else word for word in arguments]
os.execv(arguments[0], arguments)
"
        );
        let program = r#"
import os
told = []
for number in range(100):
    try: link = os.readlink("/proc/self/fd/%d" % number)
    except FileNotFoundError: continue
    told.append((number, link.split(":")[0]))
os.write(9, repr(told).encode())
os._exit(0)
"#;
        let [plain, traced] = both(&before, &["python", "-I", "-S", "-c", program]);
        assert!(plain.contains("(9, 'pipe')"), "{closed} {plain}");
        assert_eq!(plain, traced, "{closed}");
    }
}
