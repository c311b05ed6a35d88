//! Nothing is lost silently: with the agent stopped for ten seconds under load, every event is
//! either received or counted as lost.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

const PROGRAM: &str = env!("CARGO_BIN_EXE_picket-bench");
const STOPPED: Duration = Duration::from_secs(10);
/// Generous: the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default, Deserialize)]
struct Counts {
    events: u64,
    opens: u64,
    lost: u64,
    lost_opens: u64,
}

/// A process that does not outlive the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn with_the_agent_stopped_under_load_what_was_dropped_is_counted_exactly() {
    let scratch = tempfile::tempdir().unwrap();
    let scratch_path = scratch.path().canonicalize().unwrap();
    let socket = scratch_path.join("agent.sock");
    let file = scratch_path.join("file");
    std::fs::write(&file, "").unwrap();

    // The agent's server with the default rules, in a process of its own.
    let mut agent = Command::new(PROGRAM);
    agent.args(["reader", "--socket"]).arg(&socket);
    agent.arg("--count").arg(&file).stdout(Stdio::piped());
    let mut agent = Ends(agent.spawn().unwrap());
    let latest: Arc<Mutex<Counts>> = Arc::default();
    let lines = BufReader::new(agent.0.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn({
        let latest = Arc::clone(&latest);
        move || {
            for line in lines.map_while(Result::ok) {
                *latest.lock().unwrap() = serde_json::from_str(&line).unwrap();
            }
        }
    });
    let counts = || latest.lock().unwrap().clone();
    await_that("the agent", || UnixStream::connect(&socket).is_ok());

    // The tracer with a program that opens one file all the time.
    let mut traced = Command::new(PROGRAM);
    traced.args(["tracer", "--", "trace", "--require-tracing", "--socket"]);
    traced.arg(&socket).args(["--interest", "exec,open", "--"]);
    traced
        .args([PROGRAM, "loop", "open-until-told", "--file"])
        .arg(&file);
    traced.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut traced = Ends(traced.spawn().unwrap());
    let mut input = traced.0.stdin.take().unwrap();
    let mut output = BufReader::new(traced.0.stdout.take().unwrap());
    await_that("events", || counts().opens > 100);

    let agent_pid = Pid::from_raw(agent.0.id() as i32);
    kill(agent_pid, Signal::SIGSTOP).unwrap();
    std::thread::sleep(STOPPED);
    let while_stopped = counts();
    kill(agent_pid, Signal::SIGCONT).unwrap();
    // It takes up where it was, the load goes on.
    await_that("the agent to go on", || {
        counts().opens > while_stopped.opens + 1000
    });
    input.write_all(b"enough\n").unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let made: u64 = line.trim().parse().unwrap();
    await_that("every open to be accounted for", || {
        let now = counts();
        now.opens + now.lost_opens >= made
    });

    drop(input);
    assert!(traced.0.wait().unwrap().success());
    // Time for what should not come.
    std::thread::sleep(Duration::from_secs(2));
    let end = counts();
    assert_eq!(end.opens + end.lost_opens, made, "{end:?}");
    assert_eq!(
        end.lost, end.lost_opens,
        "only opens pushed others out: {end:?}"
    );
    assert!(end.lost > 1000, "the buffer was meant to overflow: {end:?}");
    assert!(end.events > end.opens, "{end:?}");
    drop(agent);
    reader.join().unwrap();
}
