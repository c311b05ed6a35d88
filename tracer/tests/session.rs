//! `exec-session`: a command that somebody runs in a container that has a tracer already.
#![allow(missing_docs)]

mod support;

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use picket_events::EventType;
use picket_events::session::MAX_TOKEN;
use support::*;

const TOKEN: &str = "Y2xhaW1z.c2lnbmF0dXJl";

/// A session of container `web`, told to `agent`.
fn session(agent: &Agent, command: &[&str]) -> Command {
    let mut run = Command::new(tracer());
    run.args(["exec-session", "--container", "web:exec-0123456789abcdef"])
        .args(["--interest", "exec,unlink", "--session", TOKEN, "--socket"])
        .arg(&agent.socket)
        .arg("--")
        .args(command)
        .stdin(Stdio::null());
    run
}

#[test]
fn a_session_is_traced_and_says_whose_it_is() {
    let scratch = Scratch::new("session");
    let agent = Agent::start(&scratch);
    let file = scratch.text("x");
    let output = output(&mut session(
        &agent,
        &sh(&format!("echo >{file}; rm {file}; exit 7")),
    ));
    assert_eq!(output.status.code(), Some(7));
    let record = agent.finish();
    record.exec("sh");
    record.about(EventType::Unlink, &file);
    let hello = agent.heard()[0].hello.clone().unwrap();
    assert_eq!(hello.container, "web:exec-0123456789abcdef");
    assert_eq!(hello.session_token.as_deref(), Some(TOKEN));
    assert_eq!(hello.entrypoint[0], "/bin/sh");
}

#[test]
fn the_token_does_not_show_in_the_list_of_processes() {
    let scratch = Scratch::new("hidden-token");
    let agent = Agent::start(&scratch);
    // The shell's grandparent is the keeper; every process of the tracer is above the shell.
    let script = "pid=$$; while [ $pid -gt 1 ]; do tr '\\0' ' ' </proc/$pid/cmdline; echo; \
                  pid=$(awk '/^PPid/ {print $2}' /proc/$pid/status); done";
    let shown = stdout(&output(&mut session(&agent, &sh(script))));
    assert!(shown.contains("exec-session --container web"), "{shown}");
    assert!(!shown.contains(TOKEN), "{shown}");
    let hidden = "*".repeat(TOKEN.len());
    assert!(
        shown.contains(&format!("--session {hidden} --socket")),
        "{shown}"
    );
}

#[test]
fn a_container_and_a_session_in_it_are_told_apart() {
    let scratch = Scratch::new("both");
    let agent = Agent::start(&scratch);
    let go = scratch.text("go");
    let waits = format!("while [ ! -e {go} ]; do sleep 0.05; done");
    let mut container = start(&mut traced(&agent, "exec", &sh(&waits)));
    agent.until("the container", |record| !record.images().is_empty());
    output(&mut session(&agent, &["/bin/true", "in-the-session"]));
    std::fs::write(go, "").unwrap();
    assert!(wait(&mut container).success());
    agent.finish();
    let heard = agent.heard();
    let names: Vec<_> = heard
        .iter()
        .map(|heard| heard.hello.clone().unwrap().container)
        .collect();
    assert_eq!(names, ["test", "web:exec-0123456789abcdef"]);
    let keys: Vec<_> = heard
        .iter()
        .map(|heard| heard.hello.clone().unwrap().session_key)
        .collect();
    assert_ne!(keys[0], keys[1]);
    assert_eq!(heard[0].hello.clone().unwrap().session_token, None);
    let text = format!("{:?}", heard[0].messages);
    assert!(!text.contains("in-the-session"), "{text}");
}

#[test]
fn input_and_output_pass_byte_for_byte() {
    let scratch = Scratch::new("session-bytes");
    let agent = Agent::start(&scratch);
    // As `kubectl cp` pipes a tar archive through.
    let bytes: Vec<u8> = (0..1_000_000u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    let mut command = session(&agent, &["/bin/cat"]);
    let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let mut got = Vec::new();
    output.read_to_end(&mut got).unwrap();
    writer.join().unwrap().unwrap();
    assert!(got == bytes, "{} bytes of {}", got.len(), bytes.len());
    assert!(wait(&mut child).success());
}

#[test]
fn signals_and_exit_codes_pass() {
    let scratch = Scratch::new("session-signals");
    let agent = Agent::start(&scratch);
    for (script, code, signal) in [
        ("exit 0", Some(0), None),
        ("exit 42", Some(42), None),
        ("ulimit -c 0; kill -SEGV $$", None, Some(libc::SIGSEGV)),
        ("exec /nowhere/at/all", Some(127), None),
    ] {
        let status = output(&mut session(&agent, &sh(script))).status;
        assert_eq!((status.code(), status.signal()), (code, signal), "{script}");
    }
    let script = "trap 'echo closing; exit 9' TERM; echo up; while :; do sleep 0.05; done";
    let mut child = start(session(&agent, &sh(script)).stdout(Stdio::piped()));
    let mut output = child.stdout.take().unwrap();
    let mut up = [0; 3];
    output.read_exact(&mut up).unwrap();
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(
        (rest.as_str(), wait(&mut child).code()),
        ("closing\n", Some(9))
    );
}

#[test]
fn whatever_of_ours_fails_the_command_runs() {
    let scratch = Scratch::new("session-fails");
    let nobody = scratch.text("nobody.sock");
    let long = "a".repeat(MAX_TOKEN + 1);
    for flags in [
        &["--socket", &nobody][..],
        &["--socket", &nobody, "--session", ""],
        &["--socket", &nobody, "--session", &long],
        &["--frobnicate"],
        &["--session"],
        &["--interest", "opne"],
    ] {
        let mut command = Command::new(tracer());
        command.arg("exec-session").args(flags).arg("--");
        let output = output(command.args(sh("echo hi; exit 3")).stdin(Stdio::null()));
        assert_eq!(
            (stdout(&output).as_str(), output.status.code()),
            ("hi\n", Some(3)),
            "{flags:?}: {}",
            stderr(&output)
        );
    }
}
