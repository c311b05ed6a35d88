//! The way to the agent: late, gone, hanging, strange.
#![allow(missing_docs)]

mod support;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use picket_events::wire::{Engine, LossReason, ToAgent, ToTracer};
use picket_events::{EventKind, EventType};
use support::*;

#[test]
fn the_first_word_says_who_speaks() {
    let scratch = Scratch::new("hello");
    let agent = Agent::start(&scratch);
    output(&mut traced(
        &agent,
        "exec,connect",
        &["/bin/true", "--token=x"],
    ));
    agent.finish();
    let [heard] = &agent.heard()[..] else {
        panic!("one connection")
    };
    assert!(matches!(heard.messages[0], ToAgent::Hello(_)));
    let hello = heard.hello.clone().unwrap();
    assert_eq!(
        (hello.version, hello.container.as_str()),
        (picket_events::wire::VERSION, "test")
    );
    let expected = match engine() {
        "ptrace" => Engine::Ptrace,
        _ => Engine::UserNotification,
    };
    assert_eq!(hello.engine, expected);
    assert_eq!(hello.entrypoint, ["/bin/true", "--token=********"]);
    assert_eq!(hello.interest, "exec,fork,exit,connect");
    assert_ne!(hello.session_key, [0; 32]);
    assert_eq!(hello.generation, 0);
}

/// A command that is longer than a frame may be, as whoever runs `kubectl exec` can choose it.
#[test]
fn the_first_word_has_room_for_any_command() {
    let scratch = Scratch::new("long-hello");
    let agent = Agent::start(&scratch);
    let long = "\u{ff}".repeat(60_000);
    let command = ["/bin/true", "--token=x", &long, &long, &long, &long];
    assert!(
        output(&mut traced(&agent, "exec", &command))
            .status
            .success()
    );
    let record = agent.finish();
    let hello = agent.heard()[0].hello.clone().expect("a greeting");
    assert_eq!(hello.entrypoint[..2], ["/bin/true", "--token=********"]);
    assert!(long.starts_with(&hello.entrypoint[2][..1000]));
    assert!(record.exec("true").1.argv_truncated);
}

#[test]
fn the_agent_can_widen_the_interest() {
    let scratch = Scratch::new("widen");
    std::fs::write(scratch.path("interest"), "unlink\n").unwrap();
    let agent = Agent::start(&scratch);
    let file = scratch.text("x");
    output(&mut traced(
        &agent,
        "exec",
        &sh(&format!("echo >{file}; rm {file}")),
    ));
    let record = agent.finish();
    record.about(EventType::Unlink, &file);
    assert_eq!(
        agent.heard()[0].hello.clone().unwrap().interest,
        "exec,fork,exit,unlink"
    );
}

#[test]
fn without_an_agent_the_program_runs_all_the_same() {
    let scratch = Scratch::new("absent");
    std::fs::write(scratch.path("file"), "x").unwrap();
    let long = "x".repeat(200);
    // Nothing there, a file, a directory, a name no socket can have, nothing at all: what can
    // never be a socket is worth a sentence.
    for (name, sentences) in [
        ("nobody.sock", 0),
        ("file", 1),
        ("", 1),
        (&*long, 1),
        ("no/such/folder", 0),
    ] {
        let start = Instant::now();
        let mut command = std::process::Command::new(tracer());
        command
            .args(["trace", "--socket"])
            .arg(scratch.path(name))
            .arg("--")
            .args(sh("echo hi; exit 3"));
        let output = output(&mut command);
        assert_eq!(
            (stdout(&output).as_str(), output.status.code()),
            ("hi\n", Some(3)),
            "{name}"
        );
        assert_eq!(stderr(&output).lines().count(), sentences, "{name}");
        assert!(start.elapsed() < Duration::from_secs(10), "bounded");
    }
}

#[test]
fn a_late_agent_hears_everything() {
    let scratch = Scratch::new("late");
    let go = scratch.text("go");
    let socket = scratch.path("agent.sock");
    let mut command = std::process::Command::new(tracer());
    command
        .args(["trace", "--interest", "exec", "--socket"])
        .arg(&socket)
        .arg("--");
    command.args(sh(&format!(
        "/bin/true one; while [ ! -e {go} ]; do sleep 0.05; done; /bin/true two"
    )));
    let mut child = start(&mut command);
    std::thread::sleep(Duration::from_millis(400));
    let agent = Agent::start_at(socket);
    agent.until("the first exec", |record| {
        !record.of(EventType::Exec).is_empty()
    });
    std::fs::write(go, "").unwrap();
    assert!(wait(&mut child).success());
    let record = agent.finish();
    let told: Vec<_> = record
        .images()
        .iter()
        .filter_map(|(_, image)| image.argv.get(1).cloned())
        .collect();
    assert!(
        told.contains(&"one".to_owned()) && told.contains(&"two".to_owned()),
        "{told:?}"
    );
    assert_eq!(record.lost(), Vec::<&picket_events::wire::Lost>::new());
    assert_replays(&record);
    let last = record.goodbye().unwrap().last_sequence;
    assert_eq!(record.events().len() as u64, last);
}

/// What is told of a process is never ahead of the events that follow, and parents go first.
fn assert_replays(record: &Record) {
    let mut known: Vec<(u32, u64)> = Vec::new();
    for message in &record.0 {
        let (process, is_new) = match message {
            ToAgent::Process(process) => (process, false),
            ToAgent::Event(event) => match &event.kind {
                EventKind::Fork(process) => (process, true),
                EventKind::Exec(_) => {
                    let told = known.iter().rev().find(|(pid, _)| *pid == event.pid);
                    let (_, executed_at) = told.expect("told of before its exec");
                    assert!(
                        *executed_at < event.time,
                        "the future was told: {record:#?}"
                    );
                    known.push((event.pid, event.time));
                    continue;
                }
                _ => continue,
            },
            _ => continue,
        };
        let is_known = |pid: u32| known.iter().any(|(known, _)| *known == pid);
        assert!(
            process.parent == 0 || is_known(process.parent),
            "{record:#?}"
        );
        assert!(!is_new || !is_known(process.pid), "made twice: {record:#?}");
        known.push((process.pid, process.executed_at));
    }
    assert!(!known.is_empty());
}

#[test]
fn a_late_agent_sees_programs_in_the_order_in_which_they_ran() {
    let scratch = Scratch::new("order");
    let (go, socket) = (scratch.text("go"), scratch.path("agent.sock"));
    let mut command = std::process::Command::new(tracer());
    command.args(["trace", "--interest", "exec", "--socket"]);
    command.arg(&socket).arg("--");
    let wait_for = format!("while [ ! -e {go} ]; do sleep 0.05; done; /bin/true last");
    command.args([
        "/bin/sh",
        "-c",
        "exec env A=1 sh -c \"exec sh -c '$0'\"",
        &wait_for,
    ]);
    let mut child = start(&mut command);
    std::thread::sleep(Duration::from_millis(400));
    let agent = Agent::start_at(socket);
    agent.until("the loop", |record| record.images().len() > 4);
    std::fs::write(go, "").unwrap();
    assert!(wait(&mut child).success());
    let record = agent.finish();
    assert_replays(&record);
    let main = record.images()[0].0.pid;
    let ran = record
        .images()
        .into_iter()
        .filter(|(event, _)| event.pid == main);
    let ran: Vec<_> = ran.map(|(_, image)| image.comm.clone()).collect();
    assert_eq!(ran, ["sh", "env", "sh", "sh"]);
}

#[test]
fn an_agent_that_starts_when_all_is_over_hears_everything() {
    let scratch = Scratch::new("last");
    let socket = scratch.path("agent.sock");
    let mut command = std::process::Command::new(tracer());
    command
        .args(["trace", "--interest", "exec", "--socket"])
        .arg(&socket)
        .args(["--", "/bin/true", "alone"]);
    let mut child = start(&mut command);
    // By now the next try would be due in a second, and the program has ended.
    std::thread::sleep(Duration::from_millis(900));
    let agent = Agent::start_at(socket);
    assert!(wait(&mut child).success());
    let record = agent.finish();
    assert_eq!(record.exec("/bin/true").1.argv, ["/bin/true", "alone"]);
    let last = record.goodbye().unwrap().last_sequence;
    assert_eq!(record.events().len() as u64, last);
}

#[test]
fn an_agent_that_restarts_gets_the_living_first_and_misses_nothing() {
    let scratch = Scratch::new("restart");
    let (go, first) = (scratch.text("go"), Agent::start(&scratch));
    let socket = first.socket.clone();
    let script = format!(
        "/bin/true one; sleep 60 & while [ ! -e {go} ]; do sleep 0.05; done; kill $!; /bin/true two"
    );
    let mut child = start(&mut traced(&first, "exec", &sh(&script)));
    let before = first.until("sleep", |record| {
        record
            .images()
            .iter()
            .any(|(_, image)| image.argv == ["sleep", "60"])
    });
    let sleeper = before
        .images()
        .iter()
        .find(|(_, image)| image.argv == ["sleep", "60"])
        .unwrap()
        .0
        .pid;
    drop(first);
    std::thread::sleep(Duration::from_millis(300));
    let second = Agent::start_at(socket);
    second.until("the hello", |record| !record.0.is_empty());
    std::fs::write(go, "").unwrap();
    assert!(wait(&mut child).success());
    let record = second.finish();
    let known: Vec<_> = record
        .processes()
        .iter()
        .map(|process| process.pid)
        .collect();
    assert!(known.contains(&sleeper), "{known:?}");
    let snapshot = record
        .processes()
        .into_iter()
        .find(|p| p.pid == sleeper)
        .unwrap();
    assert_eq!(snapshot.image.as_ref().unwrap().argv, ["sleep", "60"]);
    assert!(
        record
            .images()
            .iter()
            .any(|(_, image)| image.argv.get(1).is_some_and(|a| a == "two"))
    );
    let keys: Vec<_> = second
        .heard()
        .iter()
        .map(|h| h.hello.clone().unwrap().session_key)
        .collect();
    assert!(keys.iter().all(|key| *key != [0; 32]));
    // Every number is there, heard by the one or the other.
    let mut numbers: Vec<_> = before
        .events()
        .iter()
        .chain(&record.events())
        .map(|event| event.sequence)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(
        record.goodbye().unwrap().last_sequence,
        *numbers.last().unwrap()
    );
}

#[test]
fn what_an_agent_had_not_read_when_it_was_killed_is_counted_for_the_next() {
    let scratch = Scratch::new("unread");
    let first = Agent::start(&scratch);
    let socket = first.socket.clone();
    let [go, done, end] = ["go", "done", "end"].map(|name| scratch.text(name));
    let script = format!(
        "import os, time
def wait(name):
    while not os.path.exists(name): time.sleep(0.01)
wait('{go}')
for i in range(500): os.close(os.open('{go}', os.O_RDWR))
open('{done}', 'w').close()
wait('{end}')"
    );
    let mut child = start(&mut traced(
        &first,
        "open:write",
        &["python3", "-c", &script],
    ));
    first.until("the program", |record| !record.images().is_empty());
    first.pause(true);
    std::fs::write(go, "").unwrap();
    eventually("the opens", || std::path::Path::new(&done).exists());
    // Most of them stand in its socket by now, the last for some milliseconds not yet: those go to the
    // next agent.
    let before = first.kill();
    let second = Agent::start_at(socket);
    second.until("the hello", |record| !record.0.is_empty());
    std::fs::write(end, "").unwrap();
    assert!(wait(&mut child).success());
    let record = second.finish();
    let lost: u64 = record.lost().iter().map(|lost| lost.count).sum();
    for lost in record.lost() {
        assert_eq!(lost.reason, LossReason::AgentGone);
    }
    let heard = (before.events().len() + record.events().len()) as u64;
    assert!(lost > 0, "nothing was lost: {heard} were heard");
    // What it had read in the last moment may be counted as well.
    let last = record.goodbye().unwrap().last_sequence;
    assert!(heard + lost >= last, "{heard} heard, {lost} lost of {last}");
}

#[test]
fn what_does_not_fit_is_counted_exactly() {
    let scratch = Scratch::new("loss");
    let agent = Agent::start(&scratch);
    let ready = scratch.text("ready");
    let script = format!(
        "import os
n = '{}' + 'x' * 200
for i in range(40000): os.close(os.open(n, os.O_CREAT | os.O_WRONLY))
os.spawnv(os.P_WAIT, '/bin/true', ['true', 'attack'])
open('{ready}', 'w').close()
input()",
        scratch.text("")
    );
    agent.pause(true);
    let mut command = traced(&agent, "open:write", &["python3", "-c", &script]);
    let mut child = start(command.stdin(Stdio::piped()));
    let start = Instant::now();
    while !std::path::Path::new(&ready).exists() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "the program waits for the agent"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    agent.pause(false);
    agent.until("the buffer", |record| record.events().len() > 1000);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    wait(&mut child);
    let record = agent.finish();
    let heard = record.events().len() as u64;
    let lost: u64 = record.lost().iter().map(|lost| lost.count).sum();
    assert!(lost > 1000, "the buffer was meant to overflow");
    assert_eq!(heard + lost, record.goodbye().unwrap().last_sequence);
    for lost in record.lost() {
        assert_eq!(lost.reason, LossReason::BufferFull);
        assert_eq!(
            lost.by_type.iter().map(|(_, count)| count).sum::<u64>(),
            lost.count
        );
    }
    // Whoever fills the buffer first is seen all the same in what he does then.
    let attack = record.images().into_iter().map(|(_, image)| &image.argv);
    assert_eq!(
        attack.filter(|argv| **argv == ["true", "attack"]).count(),
        1
    );
    let exits = record.of(EventType::Exit).len();
    assert_eq!(
        exits,
        record.of(EventType::Fork).len() + 1,
        "opens leave room for the rest"
    );
}

#[test]
fn an_agent_can_have_a_process_killed_but_not_its_successor() {
    let scratch = Scratch::new("kill");
    let agent = Agent::start(&scratch);
    let mut child = start(traced(&agent, "exec", &sh("sleep 60; echo $?")).stdout(Stdio::piped()));
    let record = agent.until("sleep", |record| record.images().len() == 2);
    let pid = record.images()[1].0.pid;
    let started_at = match &record.of(EventType::Fork)[0].kind {
        picket_events::EventKind::Fork(process) => process.started_at,
        _ => unreachable!(),
    };
    agent.say(&ToTracer::Kill {
        pid,
        started_at: started_at + 1,
        signal: 15,
    });
    std::thread::sleep(Duration::from_millis(200));
    assert!(std::fs::exists(format!("/proc/{pid}")).unwrap());
    agent.say(&ToTracer::Kill {
        pid,
        started_at,
        signal: 15,
    });
    wait(&mut child);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    assert_eq!(text, "143\n");
}

#[test]
fn somebody_else_behind_the_socket_does_no_harm() {
    let scratch = Scratch::new("stranger");
    let socket = scratch.path("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let mut command = std::process::Command::new(tracer());
    command
        .args(["trace", "--socket"])
        .arg(&socket)
        .arg("--")
        .args(sh("ls / >/dev/null; exit 3"));
    assert_eq!(output(&mut command).status.code(), Some(3));
}
