//! What goes over sockets: DNS, metadata services, accepted connections.
//!
//! The programs run in a network name space of their own, with a name server and a metadata
//! service that belong to the test and are not traced.
#![allow(missing_docs)]

#[path = "network/names.rs"]
mod names;
#[path = "network/requests.rs"]
mod requests;
mod support;

use std::process::{Command, Stdio};

use picket_events::event::{Dns, Imds};
use picket_events::wire::ToTracer;
use picket_events::{Address, EventKind, EventType};
use support::*;

/// Brings the name space up, serves, and runs what follows it.
const WORLD: &str = r#"
import fcntl, socket, struct, subprocess, sys, threading
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 1))
for number, address in ((1, "169.254.169.254"), (2, "169.254.170.2")):
    address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
    fcntl.ioctl(control, 0x8916, struct.pack("16s16s8x", b"lo:%d" % number, address))

def names(server):
    while True:
        question, client = server.recvfrom(4096)
        end = question.index(b"\0", 12) + 5
        kind = question[end - 4:end - 2]
        address = {b"\0\1": socket.inet_aton("169.254.169.254"), b"\0\x1c": bytes(15) + b"\1"}.get(kind)
        record = b"\xc0\x0c" + kind + b"\0\1\0\0\0\x3c" + struct.pack(">H", len(address)) + address if address else b""
        count = b"\0\1" if address else b"\0\0"
        server.sendto(question[:2] + b"\x81\x80\0\1" + count + b"\0\0\0\0" + question[12:end] + record, client)

def answer(client):
    head = b""
    with client:
        while part := client.recv(4096):
            head += part
            if head.endswith(b"\r\n\r\n"):
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                head = b""

def metadata(server):
    while True:
        client, _ = server.accept()
        threading.Thread(target=answer, args=(client,), daemon=True).start()

for server, address, port, serve in ((socket.SOCK_DGRAM, "127.0.0.1", 53, names),
        (socket.SOCK_STREAM, "0.0.0.0", 80, metadata)):
    server = socket.socket(socket.AF_INET, server)
    server.bind((address, port))
    if serve is metadata: server.listen()
    threading.Thread(target=serve, args=(server,), daemon=True).start()
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"#;

/// Runs a Python program traced, in that world.
fn in_world(name: &str, interest: &str, program: &str) -> Record {
    let scratch = Scratch::new(name);
    let client = scratch.script("client", program);
    run_in_world(&scratch, interest, &["python3", "-I", "-S", &client])
}

/// Runs a command traced, in that world.
fn run_in_world(scratch: &Scratch, interest: &str, command: &[&str]) -> Record {
    run_in_world_by(scratch, &[], interest, command)
}

/// The same, with something that runs the tracer.
fn run_in_world_by(scratch: &Scratch, by: &[&str], interest: &str, command: &[&str]) -> Record {
    need_root();
    let agent = Agent::start(scratch);
    let resolver = scratch.text("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:20\n").unwrap();
    let program = command.join(" ");
    let traced = traced(&agent, interest, command);
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "sh", "-ec"]);
    command.arg(format!(
        "mount --bind {resolver} /etc/resolv.conf; exec python3 -c \"$WORLD\" \"$@\""
    ));
    command
        .arg("sh")
        .args(by)
        .arg(traced.get_program())
        .args(traced.get_args());
    command.env("WORLD", WORLD).stdin(Stdio::null());
    let output = output(&mut command);
    assert!(output.status.success(), "{program}: {}", stderr(&output));
    agent.finish()
}

/// Builds a Go program.
#[cfg(feature = "test-tools")]
fn build_go(scratch: &Scratch, name: &str, source: &str) -> String {
    std::fs::write(scratch.path("main.go"), source).unwrap();
    std::fs::write(scratch.path("go.mod"), format!("module {name}\ngo 1.22\n")).unwrap();
    let program = scratch.text(name);
    let built = Command::new("go")
        .args(["build", "-o", &program, "."])
        .envs([("CGO_ENABLED", "0"), ("GOFLAGS", "-buildvcs=false")])
        .current_dir(scratch.path(""))
        .output()
        .expect("go");
    assert!(built.status.success(), "{}", stderr(&built));
    program
}

/// Where the new socket is one of too many to be looked through, or is closed at once, and the program
/// does not keep the peer's address either: who it was is not known then, but that it was.
#[test]
fn connections_that_are_accepted_among_many_or_closed_at_once_are_told() {
    let record = in_world(
        "accept-many",
        "accept",
        r#"
import os, resource, socket
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2000), most))
server = socket.create_server(("127.0.0.1", 0)); address = server.getsockname()
# One at once, and then nobody is there.
client = socket.create_connection(address)
server.accept()[0].close()
server.setblocking(False)
try: server.accept()
except BlockingIOError: pass
many = [os.dup(0) for _ in range(300)]
kept = []
for _ in range(20):
    kept.append(socket.create_connection(address))
    kept.append(server.accept())
"#,
    );
    assert_eq!(record.of(EventType::Accept).len(), 21);
}

#[test]
fn accepted_connections_are_told_with_their_peer() {
    let record = in_world(
        "accept",
        "accept",
        r#"
import ctypes, os, socket
server = socket.socket(); server.bind(("127.0.0.1", 7001)); server.listen()
def come(port):
    c = socket.socket(); c.bind(("127.0.0.1", port)); c.connect(("127.0.0.1", 7001)); return c
kept = [come(7002)]
kept.append(server.accept())
# Nobody there: nothing to tell.
server.setblocking(False)
try: server.accept()
except BlockingIOError: pass
server.setblocking(True)
# Without asking who comes, as shell code does.
kept.append(come(7003))
fd = ctypes.CDLL(None).accept(server.fileno(), None, None)
assert fd > 0
# Waiting for one who comes later.
import threading, time
def later():
    time.sleep(0.3); kept.append(come(7004))
threading.Thread(target=later).start()
kept.append(server.accept())
os._exit(0)
"#,
    );
    let ip = |port| Address::Ip {
        ip: "127.0.0.1".parse().unwrap(),
        port,
    };
    let mut peers = Vec::new();
    for event in record.of(EventType::Accept) {
        let EventKind::Accept { peer, local } = &event.kind else {
            unreachable!()
        };
        assert_eq!(*local, Some(ip(7001)));
        assert!(is_seen(event.outcome), "{event:?}");
        peers.push(peer.clone());
    }
    assert_eq!(peers, [7002, 7003, 7004].map(|port| Some(ip(port))));
}

#[test]
fn children_in_name_spaces_of_their_own_are_told() {
    let record = in_world(
        "clone",
        "unshare",
        r#"
import ctypes, os, struct
libc = ctypes.CDLL(None)
SIGCHLD, NEWUTS, NEWIPC = 17, 0x04000000, 0x08000000
def child(pid):
    if pid == 0: os._exit(0)
    assert pid > 0
    os.waitpid(pid, 0)
child(libc.syscall({"x86_64": 56, "aarch64": 220}[os.uname().machine], NEWUTS | SIGCHLD, 0, 0, 0, 0))
arguments = struct.pack("8Q", NEWIPC, 0, 0, 0, SIGCHLD, 0, 0, 0)
child(libc.syscall(435, arguments, 64))
"#,
    );
    let flags: Vec<_> = record
        .of(EventType::Unshare)
        .into_iter()
        .map(|event| match event.kind {
            EventKind::Unshare { flags, entered } => (flags, entered),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(flags, [(0x0400_0000, false), (0x0800_0000, false)]);
}

/// What reaches out, after a line on standard input; prints one word for each.
const REACHING: &str = r#"
import ctypes, errno, os, socket, sys, threading
own = socket.create_server(("127.0.0.1", 0))
kept = socket.create_connection(own.getsockname())
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a, b = socket.socketpair()
server = socket.socket(socket.AF_UNIX); server.bind("\0picket-quarantine-%d" % os.getpid()); server.listen()
def how(work):
    try: work()
    except OSError as error: return errno.errorcode[error.errno]
    return "done"
# By a thread that has descriptors of its own, whose number is a Unix socket's in the process's first.
os.dup2(a.fileno(), 50)
def apart(work):
    def run():
        assert ctypes.CDLL(None).unshare(0x400) == 0 # CLONE_FILES
        other = socket.socket(); os.dup2(other.fileno(), 50)
        words.append(how(lambda: work(socket.socket(fileno=50))))
    words = []
    thread = threading.Thread(target=run); thread.start(); thread.join()
    return words[0]
def words():
    return [
        apart(lambda own: own.connect(("127.0.0.1", 80))),
        how(lambda: socket.create_connection(("127.0.0.1", 80))),
        how(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))),
        how(lambda: socket.socket().bind(("127.0.0.1", 0))),
        how(lambda: datagrams.sendto(b"x", ("127.0.0.1", 9))),
        how(lambda: datagrams.sendmsg([b"x"], [], 0, ("127.0.0.1", 9))),
        how(lambda: socket.socket().sendto(b"x", 0x20000000, ("127.0.0.1", 80))),
        # What stays: what is connected, and what does not leave the machine's own kernel.
        how(lambda: kept.sendmsg([b"GET / HTTP/1.0\r\n"])),
        how(lambda: a.sendmsg([b"x"])),
        how(lambda: socket.socket(socket.AF_UNIX).connect("\0picket-quarantine-%d" % os.getpid())),
    ]
for go, first in (("one", "done"), ("two", "EPERM"), ("three", "done")):
    while not os.path.exists(sys.argv[1] + go): __import__("time").sleep(0.02)
    # The order may still be on its way.
    while how(lambda: socket.create_connection(("127.0.0.1", 80))) != first: __import__("time").sleep(0.02)
    with open(sys.argv[1] + go + ".part", "w") as f: f.write(" ".join(words()))
    os.rename(sys.argv[1] + go + ".part", sys.argv[1] + go + ".done")
"#;

#[test]
fn a_quarantine_refuses_what_reaches_out_and_is_lifted_again() {
    need_root();
    let scratch = Scratch::new("quarantine");
    let agent = Agent::start(&scratch);
    let client = scratch.script("client", REACHING);
    let prefix = scratch.text("go-");
    let traced = traced(
        &agent,
        "connect,quarantine",
        &["python3", "-I", "-S", &client, &prefix],
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "python3", "-c", WORLD]);
    command.arg(traced.get_program()).args(traced.get_args());
    let mut child = start(command.stdin(Stdio::null()));
    let phase = |name: &str| {
        std::fs::write(format!("{prefix}{name}"), "").unwrap();
        let done = format!("{prefix}{name}.done");
        eventually(name, || std::path::Path::new(&done).exists());
        std::fs::read_to_string(done).unwrap()
    };
    let free = "done done done done done done done done done done";
    assert_eq!(phase("one"), free);
    agent.say(&ToTracer::Quarantine(true));
    assert_eq!(
        phase("two"),
        "EPERM EPERM EPERM EPERM EPERM EPERM EPERM done done done"
    );
    agent.say(&ToTracer::Quarantine(false));
    assert_eq!(phase("three"), free);
    assert!(wait(&mut child).success());
    let record = agent.finish();
    let refused: Vec<_> = record
        .of(EventType::Connect)
        .into_iter()
        .filter(|event| event.outcome == picket_events::Outcome::Denied(1))
        .collect();
    assert!(refused.len() >= 3, "{refused:?}");
}
