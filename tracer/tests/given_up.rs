//! Programs that have given root up where root has no CAP_SYS_PTRACE, as `gosu`, `su-exec` and servers with
//! workers do in a container on EKS Fargate: only their own user may look into them.
#![allow(missing_docs)]

mod support;

use std::process::Command;

use picket_events::{Address, EventKind, EventType, Image, Outcome};
use support::*;

/// What a container has by default.
const CAPABILITIES: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
    +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// Runs a Python program so, and gives what is told of it.
fn run(name: &str, interest: &str, program: &str) -> Record {
    need_root();
    let scratch = Scratch::new(name);
    set_mode(&scratch.path(""), 0o777);
    let script = scratch.script("program.py", program);
    let agent = Agent::start(&scratch);
    let user = [
        "setpriv",
        "--reuid=101",
        "--regid=101",
        "--clear-groups",
        "/bin/sh",
        "-c",
        "exec python3 -I -S \"$@\"",
        "sh",
        &script,
        &scratch.text(""),
    ];
    let mut command = in_a_container(&traced(&agent, interest, &user));
    // What only root may read is no program for it.
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    let output = output(&mut command);
    assert!(output.status.success(), "{}", stderr(&output));
    agent.finish()
}

#[test]
fn what_it_opens_and_takes_is_seen() {
    let record = run(
        "opens",
        "open,pidfd_getfd",
        "
import ctypes, os, sys
os.chdir(sys.argv[1])
memory = os.memfd_create('in-memory')
# Open until the tracer has looked, which it has at the next call.
kept = os.open('kept', os.O_RDWR | os.O_CREAT, 0o644)
os.close(os.open('next', os.O_RDWR | os.O_CREAT, 0o644))
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.write(write, bytes([os.open('taken', os.O_RDWR | os.O_CREAT, 0o644)]))
    os.read(os.pipe()[0], 1)
number = os.read(read, 1)[0]
assert ctypes.CDLL(None).syscall(438, os.pidfd_open(child), number, 0) >= 0
os.close(os.open('last', os.O_RDWR | os.O_CREAT, 0o644))
os.kill(child, 9)
",
    );
    for name in ["memfd:in-memory", "kept"] {
        let opens = record.of(EventType::Open).into_iter();
        let mut opens = opens.filter(|event| event.kind.file().unwrap().name == name);
        let open = opens.next().expect(name);
        assert!(is_seen(open.outcome), "{open:?}");
    }
    let [taken] = record.of(EventType::TakeDescriptor)[..] else {
        panic!("{record:#?}")
    };
    assert!(is_seen(taken.outcome), "{taken:?}");
    assert_eq!(taken.kind.file().unwrap().name, "taken");
}

#[test]
fn whom_it_connects_to_and_accepts_is_seen() {
    let record = run(
        "connects",
        "connect,accept",
        "
import ctypes, socket
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
# Without asking who comes.
assert ctypes.CDLL(None).accept(server.fileno(), None, None) > 0
",
    );
    let is_local =
        |address: &Address| matches!(address, Address::Ip { ip, .. } if ip.is_loopback());
    let connects = record.of(EventType::Connect).into_iter();
    let mut connects = connects.filter(
        |event| matches!(&event.kind, EventKind::Connect { address, .. } if is_local(address)),
    );
    let connect = connects.next().expect("its connect");
    assert!(is_seen(connect.outcome), "{connect:?}");
    let [accept] = record.of(EventType::Accept)[..] else {
        panic!("{record:#?}")
    };
    let EventKind::Accept { peer, .. } = &accept.kind else {
        unreachable!()
    };
    assert!(peer.as_ref().is_some_and(is_local), "{accept:?}");
    assert!(is_seen(accept.outcome), "{accept:?}");
}

/// Also of the one that has just given root up, which nobody may look into until it executes something.
#[test]
fn what_it_executes_is_seen_with_its_arguments() {
    let record = run(
        "executes",
        "exec",
        "
import os
for turn in range(6):
    if os.fork() == 0:
        os.execv('/bin/true', ['true', 'turn %d' % turn])
    assert os.wait()[1] == 0
",
    );
    let execs = record.images();
    let is_python = |image: &Image| image.argv.first().is_some_and(|name| name == "python3");
    let (_, python) = execs
        .iter()
        .find(|(_, image)| is_python(image))
        .expect("python3");
    assert_eq!(python.argv[1..3], ["-I", "-S"]);
    for (event, image) in &execs {
        assert_ne!(event.outcome, Outcome::Unconfirmed, "{:?}", image.argv);
    }
    let told: Vec<_> = execs
        .iter()
        .filter(|(_, image)| image.comm == "true")
        .map(|(event, image)| (image.argv[1].as_str(), event.outcome))
        .collect();
    let expected: Vec<_> = (0..6).map(|turn| format!("turn {turn}")).collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|turn| (turn.as_str(), Outcome::Returned(0)))
        .collect();
    assert_eq!(told, expected);
}

/// The same command with the capabilities that containers have by default.
fn in_a_container(command: &Command) -> Command {
    let mut confined = Command::new("setpriv");
    confined
        .arg(format!("--bounding-set={CAPABILITIES}"))
        .arg("--inh-caps=-all")
        .arg(command.get_program())
        .args(command.get_args());
    confined
}

/// Runs `program` with a container's default capabilities, as `gosu` and `su-exec` are.
fn run_as_root(name: &str, interest: &str, program: &[&str], path: &str) -> Record {
    need_root();
    let scratch = Scratch::new(name);
    set_mode(&scratch.path(""), 0o777);
    let agent = Agent::start(&scratch);
    let mut command = in_a_container(&traced(&agent, interest, program));
    command.current_dir(scratch.path("")).env("PATH", path);
    let output = output(&mut command);
    assert!(output.status.success(), "{}", stderr(&output));
    agent.finish()
}

/// Nobody may look into it between the change of its user and the program that it looks for.
#[test]
fn the_directories_that_have_no_such_program_are_not_told_as_execs() {
    let program = [
        "/usr/bin/setpriv",
        "--reuid=101",
        "--regid=101",
        "--clear-groups",
        "true",
    ];
    let path = "/nowhere:/nowhere/either:/var/empty/bin:/usr/bin:/bin";
    let record = run_as_root("search", "exec", &program, path);
    let execs = record.images();
    let told: Vec<_> = execs
        .iter()
        .map(|(event, image)| (image.comm.as_str(), event.outcome != Outcome::Unconfirmed))
        .collect();
    assert_eq!(told, [("setpriv", true), ("true", true)], "{execs:#?}");
}

/// What was opened of it before is all that can be read of it.
#[test]
fn an_exec_that_fails_takes_nothing_from_what_is_known_of_it() {
    let program = "
import os
os.mkdir('below')
os.chmod('below', 0o777)
os.setgroups([])
os.setresgid(101, 101, 101)
os.setresuid(101, 101, 101)
os.chdir('below')
for attempt in range(3):
    try:
        os.execv('/nowhere/at/all', ['all'])
    except FileNotFoundError:
        pass
    os.close(os.open('file-%d' % attempt, os.O_RDWR | os.O_CREAT, 0o644))
";
    let script = ["/usr/bin/python3", "-I", "-S", "-c", program];
    let path = "/usr/bin:/bin";
    let record = run_as_root("fails", "exec,open:write", &script, path);
    let names: Vec<_> = record
        .images()
        .iter()
        .map(|(_, image)| image.comm.clone())
        .collect();
    assert_eq!(names, ["python3"]);
    for attempt in 0..3 {
        let end = format!("/below/file-{attempt}");
        let opens = record.of(EventType::Open).into_iter();
        let mut opens = opens.filter_map(|event| event.kind.file());
        assert!(
            opens.any(|file| file.path.ends_with(&end)),
            "{end}: {:#?}",
            record.of(EventType::Open)
        );
    }
}
