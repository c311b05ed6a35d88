//! What the tracer does for a call, counted: the system calls of its worker, as strace sees them. What
//! `docs/performance.md` says of them holds, and nothing is added to every call of every program
//! without somebody's notice.
#![cfg(feature = "test-tools")]
#![allow(missing_docs)]

mod support;

use std::collections::HashMap;
use std::process::{Command, Stdio};

use support::*;

/// Calls that are traced, many enough for the usual one to show among those that come with a batch of
/// events or a late look.
const TIMES: usize = 200;

/// Runs a Python program with a path as its second argument, and gives what the worker does from each call
/// of a name to the next, where that is about this path.
fn turns(name: &str, interest: &str, call: &str, program: &str, about: &str) -> Vec<Vec<String>> {
    need_root();
    let scratch = Scratch::new(name);
    let agent = Agent::start(&scratch);
    let go = scratch.text("go");
    let waits = format!(
        "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\n{program}"
    );
    let command = ["python3", "-c", &waits, &go, about];
    let tracer = start(&mut traced(&agent, interest, &command));
    eventually("a worker", || worker_of(tracer.id()).is_some());
    let worker = worker_of(tracer.id()).unwrap();
    let trace = scratch.path("trace");
    let mut strace = start(
        Command::new("strace")
            .args(["-p", &worker.to_string(), "-o"])
            .arg(&trace)
            .stderr(Stdio::null()),
    );
    eventually("strace at the worker", || {
        let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap_or_default();
        let tracer = status.lines().find(|line| line.starts_with("TracerPid"));
        tracer.is_some_and(|line| line.ends_with(&format!("\t{}", strace.id())))
    });
    std::fs::write(&go, "").unwrap();
    agent.finish();
    wait(&mut strace);
    let trace = std::fs::read_to_string(trace).unwrap();
    let mut turns = Vec::<Vec<&str>>::new();
    for line in trace.lines() {
        if line.contains("NOTIF_RECV") && line.contains(&format!("__NR_{call},")) {
            turns.push(Vec::new());
        }
        if let Some(turn) = turns.last_mut() {
            turn.push(line);
        }
    }
    // The last one has no next.
    turns.pop();
    // Others are those of the program's own start.
    let is_about_it = |turn: &Vec<&str>| turn.iter().any(|line| line.contains(about));
    turns.retain(is_about_it);
    assert!(turns.len() >= TIMES, "{} turns: {trace}", turns.len());
    // In a build with assertions, the standard library looks at each descriptor before it closes it.
    let is_ours = |name: &String| name != "fcntl";
    let names = |turn: Vec<&str>| turn.into_iter().map(name_of).filter(is_ours).collect();
    turns.into_iter().map(names).collect()
}

/// Name of the call in a line of strace's, and of what is done with a notification.
fn name_of(line: &str) -> String {
    let (name, arguments) = line.split_once('(').unwrap_or((line, ""));
    let operation = arguments.split(", ").nth(1);
    match operation.filter(|operation| operation.starts_with("SECCOMP_")) {
        Some(operation) => operation.to_owned(),
        None => name.to_owned(),
    }
}

/// The turn that is there most often.
fn usual(turns: &[Vec<String>]) -> Vec<String> {
    let mut counts = HashMap::<&[String], usize>::new();
    for turn in turns {
        *counts.entry(turn.as_slice()).or_default() += 1;
    }
    let usual = counts.into_iter().max_by_key(|(_, count)| *count);
    usual.unwrap().0.to_vec()
}

#[test]
fn an_open_takes_the_worker_five_calls() {
    let scratch = Scratch::new("costs-of-an-open-file");
    let file = scratch.text("file");
    std::fs::write(&file, "").unwrap();
    let program = format!(
        "for i in range({}): os.close(os.open(sys.argv[2], os.O_RDONLY))",
        TIMES + 50
    );
    let turns = turns("costs-of-an-open", "open", "openat", &program, &file);
    assert_eq!(
        usual(&turns),
        [
            "SECCOMP_IOCTL_NOTIF_RECV",
            "statx",
            "pread64",
            "SECCOMP_IOCTL_NOTIF_SEND",
            "poll"
        ]
    );
}

#[test]
fn a_program_takes_the_worker_some_thirty_calls() {
    let program = format!(
        "for i in range({}): os.waitpid(os.posix_spawn(sys.argv[2], [sys.argv[2]], {{}}), 0)",
        TIMES + 50
    );
    let interest = "exec,fork,exit";
    let turns = turns(
        "costs-of-a-program",
        interest,
        "execve",
        &program,
        "/bin/true",
    );
    let mut counts: Vec<usize> = turns.iter().map(Vec::len).collect();
    counts.sort_unstable();
    // A busy machine adds looks to most of them (eight busy processes: 31 to 42 calls), so it is those
    // to which it added nothing that say what a program costs. Strace makes them slow enough for
    // events to be written for nearly each.
    let count = counts[counts.len() / 20];
    assert!(count <= 34, "{count} calls: {:?}", usual(&turns));
}
