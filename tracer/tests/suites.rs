//! Test suites of other software, run traced and untraced with equal results: half an hour, so
//! `make transparency` runs them and `make test` does not. What is different is named at the end,
//! and fails unless `docs/tracer.md` has it.
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

/// Where the run begins, as `make transparency FROM=…` says: what comes before that one is left out.
fn beginning_with_from<'a>(all: &[&'a str]) -> Vec<&'a str> {
    let from = std::env::var("FROM").unwrap_or_default();
    let first = match from.is_empty() {
        true => Some(0),
        false => all.iter().position(|one| *one == from),
    };
    all[first.unwrap_or_else(|| panic!("FROM={from} is none of {all:?}"))..].to_vec()
}

/// The heading in `docs/tracer.md` under which each known difference has a row.
const KNOWN: &str = "## Suites of other software";

/// Something that was otherwise under an engine, more than once.
struct Difference {
    engine: &'static str,
    case: String,
    detail: String,
}

/// Whether the documentation has a row `| case | engine | …` for it.
fn is_known(difference: &Difference) -> bool {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tracer.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(KNOWN).expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    section.lines().any(|row| {
        let mut columns = row.split('|').map(|column| column.trim().trim_matches('`'));
        columns.next();
        columns.next() == Some(&difference.case) && columns.next() == Some(difference.engine)
    })
}

/// Names everything that was different, and fails for what the documentation does not have.
fn conclude(suite: &str, compared: usize, differences: &[Difference]) {
    let (known, unknown): (Vec<_>, Vec<_>) = differences.iter().partition(|d| is_known(d));
    println!(
        "{suite}: {compared} compared with the untraced run, {} known differences, {} unknown",
        known.len(),
        unknown.len()
    );
    for (word, differences) in [("known", &known), ("UNKNOWN", &unknown)] {
        for Difference { engine, case, .. } in differences {
            println!("{suite}: {word}: {case} under {engine}");
        }
    }
    let details = unknown.iter().map(|difference| {
        let Difference {
            engine,
            case,
            detail,
        } = difference;
        format!("{case} under {engine}: {detail}")
    });
    let details: Vec<String> = details.collect();
    assert!(unknown.is_empty(), "{}", details.join("\n"));
}

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
    let mut compared = 0;
    for module in beginning_with_from(MODULES) {
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
                // One that a busy machine fails untraced too says nothing.
                let is_comparable = before.is_some_and(|before| before != "failed");
                if !is_comparable {
                    println!("{case} under {engine}: {result}; untraced {before:?}");
                    continue;
                }
                compared += 1;
                if before == Some(result) {
                    continue;
                }
                // Nor does one that it fails once: only what fails again is different.
                let only = ["/usr/bin/python3", "-m", "test", "-m", case, module];
                if run(&mut command(engine, &only), &log) == 0 {
                    println!("{case} under {engine}: {result}, then passed");
                    continue;
                }
                let log = std::fs::read_to_string(&log).unwrap();
                differences.push(Difference {
                    engine,
                    case: case.clone(),
                    detail: format!("{before:?} {result}\n{log}"),
                });
            }
            assert_eq!(found.len(), plain.len(), "{module} {engine}");
        }
    }
    conclude("CPython", compared, &differences);
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

/// The one that does not end by itself, with or without a tracer: it waits for a datagram that
/// nobody sends.
const ENDED_BY_TIME: &str = "syscall";

/// What needs ptrace itself: the other ends its child's stop with it, and waits for ever where a
/// debugger has the child (strace too).
const NEED_PTRACE: [&str; 2] = ["ptrace", "vm-segv"];

#[test]
fn stress_ngs_tests_end_the_same() {
    let scratch = Scratch::new("stress");
    let temporary = scratch.text("");
    let mut differences = Vec::new();
    let mut compared = 0;
    let all: Vec<&str> = STRESSORS.split_whitespace().chain(["ptrace"]).collect();
    for stressor in beginning_with_from(&all) {
        let (workers, operations) = (format!("--{stressor}"), format!("--{stressor}-ops"));
        let words = ["stress-ng", &workers, "1", &operations, "50", "--verify"];
        let seconds = if stressor == ENDED_BY_TIME {
            "20"
        } else {
            "120"
        };
        let words = [
            &words[..],
            &["--timeout", seconds, "--temp-path", &temporary],
        ]
        .concat();
        let log = scratch.path("log");
        let began = Instant::now();
        let plain = run(&mut command("", &words), &log);
        let mut codes = vec![plain];
        for engine in ["notification", "ptrace"] {
            if engine == "ptrace" && NEED_PTRACE.contains(&stressor) {
                continue;
            }
            compared += 1;
            let mut code = run(&mut command(engine, &words), &log);
            codes.push(code);
            if code != plain {
                // One whose time is up on a busy machine may fail its last call: only what ends
                // so again is different.
                code = run(&mut command(engine, &words), &log);
                codes.push(code);
            }
            if code != plain {
                let log = std::fs::read_to_string(&log).unwrap();
                differences.push(Difference {
                    engine,
                    case: stressor.to_owned(),
                    detail: format!("{codes:?}\n{log}"),
                });
            }
        }
        println!("{stressor}: {codes:?}, {} s", began.elapsed().as_secs());
    }
    conclude("stress-ng", compared, &differences);
}
