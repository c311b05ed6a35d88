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
