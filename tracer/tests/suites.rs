//! Test suites of other software, run traced and untraced with equal results: a quarter of an
//! hour, so `make transparency` runs them and `make test` does not.
#![cfg(feature = "test-tools")]
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::*;

/// How long one run of a suite may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// A command, traced by an engine or (empty) not at all.
fn command(engine: &str, words: &[&str]) -> Command {
    let mut command = Command::new("env");
    // A shell starts what runs behind it with SIGINT ignored, which programs inherit.
    command.arg("--default-signal");
    if !engine.is_empty() {
        command.arg(tracer());
        command.args(["trace", "--no-agent", "--interest", "all", "--engine"]);
        command.args([engine, "--"]);
    }
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs to the end with the output in a file.
fn run(command: &mut Command, log: &std::path::Path) -> i32 {
    let file = std::fs::File::create(log).unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = start(command);
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        assert!(began.elapsed() < PATIENCE, "{command:?} hangs");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The modules that are about what a tracer meddles with.
const MODULES: &[&str] = &[
    "test_os",
    "test_posix",
    "test_subprocess",
    "test_signal",
    "test_eintr",
    "test_socket",
    "test_threading",
    "test_multiprocessing_fork",
    "test_pty",
];

/// Cases that one engine is known to fail, and why.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "notification",
        "test.test_signal.StressTest.test_stress_delivery_simultaneous",
        "os.kill gives EINTR where a signal without SA_RESTART arrives before the tracer has \
         looked: docs/tracer.md, Limits",
    ),
    (
        "ptrace",
        "test.test_signal.StressTest.test_stress_modifying_handlers",
        "hopes that of a few signals one is delivered while another thread has a handler on for \
         some microseconds; under ptrace a delivery takes longer",
    ),
];

/// Result of each case of a report, by name.
fn results(report: &str) -> BTreeMap<String, String> {
    let attribute = |text: &str, name: &str| {
        let start = text.find(&format!("{name}=\""))? + name.len() + 2;
        Some(text[start..].split('"').next()?.to_owned())
    };
    report
        .split("<testcase ")
        .skip(1)
        .filter_map(|case| {
            let result = if case.contains("<error") || case.contains("<failure") {
                "failed".to_owned()
            } else {
                attribute(case, "result")?
            };
            Some((attribute(case, "name")?, result))
        })
        .collect()
}

#[test]
fn cpythons_own_tests_give_the_same_results() {
    let scratch = Scratch::new("cpython");
    let report = scratch.text("report.xml");
    let mut differences = Vec::new();
    for module in MODULES {
        let mut plain = BTreeMap::new();
        for engine in ["", "notification", "ptrace"] {
            let log = scratch.path("log");
            let words = ["/usr/bin/python3", "-m", "test", "-i", "*VSOCK*"];
            // VSOCK is the host's business: its tests hang on some.
            let words = [&words[..], &["--junit-xml", &report, module]].concat();
            let began = Instant::now();
            let code = run(command(engine, &words).current_dir(scratch.path("")), &log);
            let found = results(&std::fs::read_to_string(&report).unwrap());
            let failed = found.values().filter(|result| *result == "failed").count();
            println!(
                "{module} {}: code {code}, {} cases, {failed} failed, {} s",
                if engine.is_empty() {
                    "untraced"
                } else {
                    engine
                },
                found.len(),
                began.elapsed().as_secs()
            );
            assert!(!found.is_empty(), "{module} {engine}");
            if engine.is_empty() {
                plain = found;
                continue;
            }
            for (case, result) in &found {
                let before = plain.get(case);
                let is_known = KNOWN.iter().any(|(e, c, _)| *e == engine && c == case);
                // One that a busy machine fails untraced too says nothing.
                let is_comparable = before.is_some_and(|before| before != "failed");
                if before == Some(result) || is_known || !is_comparable {
                    continue;
                }
                // Nor does one that it fails once: only what fails again is different.
                let only = ["/usr/bin/python3", "-m", "test", "-m", case, module];
                if run(&mut command(engine, &only), &log) == 0 {
                    println!("{case} under {engine}: {result}, then passed");
                    continue;
                }
                let log = std::fs::read_to_string(&log).unwrap();
                differences.push(format!("{engine} {case}: {before:?} {result}\n{log}"));
            }
            assert_eq!(found.len(), plain.len(), "{module} {engine}");
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// stress-ng's tests that make system calls, that work in a container, and that end by
/// themselves after a few rounds: when a timeout has to end one, its alarm has a handler without
/// SA_RESTART, and may interrupt any call (`docs/tracer.md`, Limits).
const STRESSORS: &str = "access affinity alarm chmod chown chroot clone close copy-file daemon dentry dir dup \
    dynlib epoll eventfd exit-group fallocate fanotify fault fcntl fifo file-ioctl \
    filename flock fork fstat full futex get getdent getrandom hdd io-uring itimer kcmp \
    key kill lease locka lockf mincore mknod mprotect mq msg munmap nanosleep nice null \
    open pidfd pipe poll prctl pthread rename rlimit seal seccomp seek sem-sysv sendfile \
    session set shm shm-sysv sigabrt sigchld sigfd signal signest sigpending sigpipe \
    sigq sigrt sigsegv sigsuspend sigtrap sock sockabuse sockdiag sockfd sockpair splice \
    switch sysbadaddr syscall sysinfo tee timer timerfd touch udp unshare userfaultfd \
    usersyscall utime vfork vm-rw vm-segv wait xattr zombie";

/// What needs ptrace itself.
const NEEDS_PTRACE: &str = "ptrace";

#[test]
fn stress_ngs_tests_end_the_same() {
    let scratch = Scratch::new("stress");
    let temporary = scratch.text("");
    let mut differences = Vec::new();
    for stressor in STRESSORS.split_whitespace().chain([NEEDS_PTRACE]) {
        let (workers, operations) = (format!("--{stressor}"), format!("--{stressor}-ops"));
        let words = ["stress-ng", &workers, "1", &operations, "50", "--verify"];
        let words = [&words[..], &["--timeout", "120", "--temp-path", &temporary]].concat();
        let mut codes = Vec::new();
        for engine in ["", "notification", "ptrace"] {
            if engine == "ptrace" && stressor == NEEDS_PTRACE {
                continue;
            }
            let log = scratch.path("log");
            let code = run(&mut command(engine, &words), &log);
            codes.push(code);
            if code != codes[0] {
                let log = std::fs::read_to_string(&log).unwrap();
                differences.push(format!("{stressor} {engine}: {codes:?}\n{log}"));
            }
        }
        println!("{stressor}: {codes:?}");
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
