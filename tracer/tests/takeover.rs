//! The death of a worker is a gap in coverage, never an error in the application.
#![allow(missing_docs)]

#[path = "takeover/holding.rs"]
mod holding;
#[path = "takeover/spares.rs"]
mod spares;
mod support;
#[path = "takeover/uncounted.rs"]
mod uncounted;

use std::process::{Command, Stdio};
use std::time::Duration;

use picket_events::wire::{LossReason, Notice, ToTracer};
use picket_events::{Event, EventType, Image};
use support::*;

fn signal(pid: u32, name: &str) {
    let status = Command::new("/bin/kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

const LOAD: &str = "
import os, sys
count = 0
while not os.path.exists(sys.argv[1]):
    for i in range(50):
        os.close(os.open('/etc/passwd', os.O_RDONLY))
        count += 1
    if os.fork() == 0:
        os.execv('/bin/true', ['true'])
    pid, status = os.wait()
    assert status == 0, status
print('all well', count)
";

#[test]
fn a_worker_killed_again_and_again_under_load_is_not_noticed() {
    let scratch = Scratch::new("load");
    let agent = Agent::start(&scratch);
    let enough = scratch.text("enough");
    let mut command = traced(&agent, "all", &["python3", "-c", LOAD, &enough]);
    let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    agent.until("the load", |record| record.images().len() > 1);
    let mut killed = 0;
    while killed < 10 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(150));
        if let Some(worker) = worker_of(child.id()) {
            killed += u32::from(
                Command::new("/bin/kill")
                    .args(["-KILL", &worker.to_string()])
                    .stderr(Stdio::null())
                    .status()
                    .unwrap()
                    .success(),
            );
        }
    }
    // Tracing has resumed.
    agent.until("execs after the last takeover", |_| {
        let last = agent.heard().pop().unwrap_or_default();
        let is_new = last.hello.is_some_and(|hello| hello.generation >= 1);
        is_new && Record(last.messages).of(EventType::Exec).len() > 1
    });
    std::fs::write(&enough, "").unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    let mut complaint = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut complaint).unwrap();
    assert!(
        text.starts_with("all well"),
        "{:?} {killed} {text} {complaint}",
        wait(&mut child)
    );
    assert!(wait(&mut child).success());
    let record = agent.finish();
    let restarts = record
        .notices()
        .iter()
        .filter(|n| matches!(n, Notice::Restarted { signal: Some(9) }))
        .count();
    assert!(
        restarts >= 1 && restarts <= killed as usize,
        "{restarts} of {killed}"
    );
    // What was lost is known to the last event.
    let died: Vec<_> = record
        .lost()
        .into_iter()
        .filter(|lost| lost.reason == LossReason::WorkerDied)
        .collect();
    let lost: u64 = record.lost().iter().map(|lost| lost.count).sum();
    let numbers: std::collections::HashSet<_> =
        record.events().iter().map(|e| e.sequence).collect();
    assert_eq!(numbers.len(), record.events().len(), "no number twice");
    // Nothing is missing that is not counted. A worker that dies between writing an event and
    // noting that it did makes its successor count one that arrived; nothing else does.
    let told = numbers.len() as u64 + lost;
    let in_doubt: u64 = died.iter().map(|lost| lost.count).sum();
    let last_sequence = record.goodbye().unwrap().last_sequence;
    assert!(
        (last_sequence..=last_sequence + in_doubt).contains(&told),
        "{told} of {last_sequence}: {died:?}"
    );
}

/// Waits for a connection in one thread; says so by running another program.
const WAITS: &str = "
import os, socket, sys, threading, time
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()
thread = threading.Thread(target=listener.accept); thread.start()
call = f'/proc/self/task/{thread.native_id}/syscall'
while not open(call).read().startswith('288 '): time.sleep(0.01)
os.spawnv(os.P_WAIT, '/bin/true', ['true'])
while not os.path.exists(sys.argv[2]): time.sleep(0.01)
client = socket.socket(socket.AF_UNIX); client.connect(sys.argv[1]); thread.join()
";

/// What a worker had let run, and had still to look at when it died, is not lost silently.
#[test]
fn what_a_dead_worker_had_still_to_look_at_is_counted_by_type() {
    let scratch = Scratch::new("owed");
    let agent = Agent::start(&scratch);
    let (socket, go) = (scratch.text("listener"), scratch.text("go"));
    let command = ["python3", "-I", "-S", "-c", WAITS, &socket, &go];
    let mut child = start(&mut traced(&agent, "accept,exec", &command));
    agent.until("the accept, and then the program and its end", |record| {
        let images = record.images();
        let program = images.iter().find(|(_, image)| image.argv == ["true"]);
        let ends = record.of(EventType::Exit);
        program.is_some_and(|(exec, _)| ends.iter().any(|end| end.pid == exec.pid))
    });
    signal(worker_of(child.id()).unwrap(), "KILL");
    agent.until("the new worker", |record| !record.notices().is_empty());
    std::fs::write(&go, "").unwrap();
    assert!(wait(&mut child).success());
    let record = agent.finish();
    let by_type: Vec<_> = record
        .lost()
        .into_iter()
        .map(|lost| (lost.reason, &lost.by_type[..]))
        .collect();
    assert_eq!(
        by_type,
        [(LossReason::WorkerDied, &[(EventType::Accept, 1)][..])]
    );
    let numbers = record.events().len() as u64 + 1;
    assert_eq!(record.goodbye().unwrap().last_sequence, numbers);
}

#[test]
fn a_new_worker_knows_who_is_there() {
    let scratch = Scratch::new("again");
    let agent = Agent::start(&scratch);
    let go = scratch.text("go");
    let script = format!(
        "sleep 60 & while [ ! -e {go} ]; do sleep 0.05; done; kill $!; /bin/echo after >/dev/null; exit 3"
    );
    let mut child = start(&mut traced(&agent, "exec", &sh(&script)));
    agent.until("sleep", |record| {
        record
            .images()
            .iter()
            .any(|(_, i)| i.argv == ["sleep", "60"])
    });
    let keys = |agent: &Agent| -> Vec<_> {
        agent
            .heard()
            .iter()
            .filter_map(|h| h.hello.as_ref().map(|hello| hello.session_key))
            .collect()
    };
    signal(worker_of(child.id()).unwrap(), "KILL");
    agent.until("the notice", |record| !record.notices().is_empty());
    std::fs::write(go, "").unwrap();
    assert_eq!(wait(&mut child).code(), Some(3));
    let record = agent.finish();
    assert_eq!(record.goodbye().unwrap().code, Some(3));
    let heard = agent.heard();
    let second = Record(heard[1].messages.clone());
    let sleeper = second
        .processes()
        .into_iter()
        .find(|p| p.image.as_ref().unwrap().argv == ["sleep", "60"])
        .expect("the sleeper");
    assert!(sleeper.parent != 0 && second.processes().iter().any(|p| p.pid == sleeper.parent));
    assert_eq!(second.exec("/bin/echo").1.argv[1], "after");
    assert_eq!(keys(&agent)[0], keys(&agent)[1]);
    let started: Vec<_> = record
        .processes()
        .into_iter()
        .filter(|p| p.pid == sleeper.parent)
        .map(|p| p.started_at)
        .collect();
    assert!(
        started.windows(2).all(|pair| pair[0] == pair[1]),
        "the same process: {started:?}"
    );
}

#[test]
fn a_stopped_worker_is_continued() {
    let scratch = Scratch::new("stopped");
    let go = scratch.text("go");
    let mut child = start(&mut silent(&sh(&format!(
        "while [ ! -e {go} ]; do sleep 0.05; done; exit 3"
    ))));
    eventually("the worker", || worker_of(child.id()).is_some());
    signal(worker_of(child.id()).unwrap(), "STOP");
    std::thread::sleep(Duration::from_millis(100));
    std::fs::write(go, "").unwrap();
    assert_eq!(wait(&mut child).code(), Some(3));
}

#[test]
fn the_main_process_is_still_mirrored_after_a_takeover() {
    for (script, code) in [("exit 5", 5), ("kill -TERM $$", 143)] {
        let scratch = Scratch::new("mirror");
        let go = scratch.text("go");
        let script = format!("while [ ! -e {go} ]; do sleep 0.05; done; {script}");
        let mut child = start(&mut silent(&sh(&script)));
        eventually("the worker", || worker_of(child.id()).is_some());
        std::thread::sleep(Duration::from_millis(100));
        signal(worker_of(child.id()).unwrap(), "KILL");
        std::thread::sleep(Duration::from_millis(100));
        std::fs::write(go, "").unwrap();
        let status = wait(&mut child);
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap()),
            code
        );
    }
}

/// Kubelet does so to a probe that takes too long, and `timeout -s KILL` to anything.
#[test]
fn whoever_kills_the_keeper_kills_the_main_process_and_nobody_else() {
    let ways: [&[&str]; 3] = [&[], &["--spare"], &["--engine", "ptrace"]];
    for flags in ways {
        let scratch = Scratch::new("keeperless");
        let agent = Agent::start(&scratch);
        let (go, done) = (scratch.text("go"), scratch.text("done"));
        let script = format!(
            "(while [ ! -e {go} ]; do sleep 0.05; done; ls / >/dev/null; echo ok >{done}) &
            exec tail -f /dev/null"
        );
        let mut command = Command::new(tracer());
        command.arg("trace").args(flags);
        command.args(["--interest", "exec", "--socket"]);
        command.arg(&agent.socket).arg("--").args(sh(&script));
        let mut keeper = start(&mut command);
        let is_tail = |(_, image): &(&Event, &Image)| image.comm == "tail";
        let record = agent.until("the programs", |record| record.images().iter().any(is_tail));
        let (main, _) = record.exec("tail");
        signal(keeper.id(), "KILL");
        wait(&mut keeper);
        eventually("the main process's end", || {
            !std::path::Path::new(&format!("/proc/{}/root", main.pid)).exists()
        });
        std::fs::write(go, "").unwrap();
        eventually("the other's end", || {
            std::fs::read_to_string(&done).is_ok_and(|text| text == "ok\n")
        });
        agent.finish().exec("ls");
    }
}

#[test]
fn under_ptrace_too_the_next_worker_goes_on() {
    the_next_worker_goes_on_under_ptrace("seized", &[], &[]);
}

/// Where root has no CAP_SYS_PTRACE, as on EKS Fargate, only its own user may attach to it.
#[test]
fn under_ptrace_the_next_worker_reaches_who_has_given_root_up() {
    need_root();
    the_next_worker_goes_on_under_ptrace(
        "seized-other",
        &["setpriv", "--bounding-set=-sys_ptrace,-sys_admin"],
        &["setpriv", "--reuid=101", "--regid=101", "--clear-groups"],
    );
}

/// `by` runs the tracer, `user` the program.
fn the_next_worker_goes_on_under_ptrace(name: &str, by: &[&str], user: &[&str]) {
    let scratch = Scratch::new(name);
    set_mode(&scratch.path(""), 0o755);
    let agent = Agent::start(&scratch);
    let go = scratch.text("go");
    assert!(Command::new("mkfifo").arg(&go).status().unwrap().success());
    // The shell's own loop makes no call of interest while nobody traces it.
    let script = format!("read line <{go}; /bin/echo after >/dev/null; exit 3");
    let own = tracer();
    let whole: Vec<&str> = [by, &[own.to_str().unwrap()]].concat();
    let mut command = Command::new(whole[0]);
    command
        .args(&whole[1..])
        .args(["trace", "--engine", "ptrace", "--interest", "exec"])
        .arg("--socket")
        .arg(&agent.socket)
        .arg("--")
        .args(user)
        .args(sh(&script));
    let mut child = start(&mut command);
    let is_shell = |image: &Image| image.argv.first().is_some_and(|name| name == "/bin/sh");
    agent.until("the shell", |record| {
        record.images().iter().any(|(_, image)| is_shell(image))
    });
    signal(worker_of(child.id()).unwrap(), "KILL");
    agent.until("the notice", |record| !record.notices().is_empty());
    std::fs::write(&go, "x\n").unwrap();
    assert_eq!(wait(&mut child).code(), Some(3));
    let record = agent.finish();
    assert_eq!(record.exec("/bin/echo").1.argv[1], "after");
    assert_eq!(record.goodbye().unwrap().code, Some(3));
}

/// Whoever kills the worker does not get out by it.
#[test]
fn a_quarantine_outlasts_the_worker() {
    let scratch = Scratch::new("quarantined");
    let agent = Agent::start(&scratch);
    let (enough, refused) = (scratch.text("enough"), scratch.text("refused"));
    let program = format!(
        "
import os, socket
refused = False
while not os.path.exists('{enough}'):
    try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))
    except PermissionError:
        if not refused: open('{refused}', 'w').close()
        refused = True
        continue
    if refused: raise SystemExit('it got out')
"
    );
    let mut child = start(&mut traced(
        &agent,
        "exec,quarantine",
        &["python3", "-I", "-S", "-c", &program],
    ));
    agent.until("the program", |record| !record.images().is_empty());
    agent.say(&ToTracer::Quarantine(true));
    eventually("the first refusal", || {
        std::path::Path::new(&refused).exists()
    });
    for generation in 1..=5 {
        signal(worker_of(child.id()).expect("a worker"), "KILL");
        agent.until("the next worker", |_| {
            let last = agent.heard().pop().unwrap_or_default();
            last.hello
                .is_some_and(|hello| hello.generation >= generation)
        });
    }
    std::fs::write(enough, "").unwrap();
    assert!(wait(&mut child).success());
}

/// Nobody is left to answer: what a filter stops for fails, and everything else goes on.
#[test]
fn without_keeper_and_worker_the_calls_of_the_table_fail() {
    let scratch = Scratch::new("alone");
    let agent = Agent::start(&scratch);
    let (go, done) = (scratch.text("go"), scratch.text("done"));
    let program = format!(
        "
import errno, os, time
open('{done}.ready', 'w').close()
while not os.path.exists('{go}'): time.sleep(0.01)
try: os.execv('/bin/true', ['true'])
except OSError as error: said = errno.errorcode[error.errno]
open('{done}.part', 'w').write(said)
os.rename('{done}.part', '{done}')
time.sleep(60)
"
    );
    // The main process goes with the keeper.
    let script = "python3 -I -S -c \"$1\" & wait";
    let words = ["/bin/sh", "-c", script, "sh", &program];
    let mut child = start(&mut traced(&agent, "exec", &words));
    eventually("the program", || {
        std::path::Path::new(&format!("{done}.ready")).exists()
    });
    let worker = worker_of(child.id()).expect("a worker");
    signal(child.id(), "KILL");
    wait(&mut child);
    signal(worker, "KILL");
    eventually("the worker's end", || {
        !std::path::Path::new(&format!("/proc/{worker}/root")).exists()
    });
    std::fs::write(go, "").unwrap();
    eventually("the program's word", || {
        std::fs::read_to_string(&done).is_ok_and(|said| said == "ENOSYS")
    });
}
