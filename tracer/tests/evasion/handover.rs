//! Descriptors that go from one process to another.

use super::*;

/// The one that opens, and the one that reads what it is given.
const PASSES: &str = "
import os, socket, sys
a, b = socket.socketpair()
if os.fork() == 0:
    fd = os.open(sys.argv[1], os.O_RDONLY)
    socket.send_fds(a, [b'x'], [fd, a.fileno()]); os._exit(0)
_, [fd, _], _, _ = socket.recv_fds(b, 1, 2)
assert os.read(fd, 1) == b'x'
";

fn passing(name: &str, interest: &str) -> Record {
    record(name, interest, |scratch| {
        std::fs::write(scratch.path("secret"), "x").unwrap();
        let program = scratch.script("passes.py", PASSES);
        format!("python3 {program} {}", scratch.text("secret"))
    })
}

#[test]
fn a_passed_descriptor_is_told_by_whoever_opened_it() {
    assert_eq!(opened(&passing("passing", "open"), "secret"), 1);
}

#[test]
fn passing_a_descriptor_is_told_where_a_rule_wants_it() {
    let record = passing("passed", "scm_rights");
    let told: Vec<_> = record
        .of(EventType::PassDescriptor)
        .into_iter()
        .map(|event| match &event.kind {
            EventKind::PassDescriptor {
                file,
                is_socket,
                count,
            } => (file.name.to_string(), *is_socket, *count),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], ("secret".to_owned(), false, 2));
    assert!(told[1].0.starts_with("socket:") && told[1].1, "{told:?}");
}

#[test]
fn taking_a_descriptor_out_of_another_process_is_told_and_ours_are_out_of_reach() {
    const TAKES: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def take(pid, number):
    return libc.syscall(438, os.pidfd_open(pid), number, 0)
read, write = os.pipe()
child = os.fork()
if child == 0:
    fd = os.open(sys.argv[1], os.O_RDONLY)
    os.write(write, bytes([fd])); os.read(os.pipe()[0], 1)
number = os.read(read, 1)[0]
fd = take(child, number)
assert os.read(fd, 1) == b'x', ctypes.get_errno()
os.kill(child, 9)
# The worker, which has the listener and the connection to the agent.
assert take(os.getppid(), 3) == -1 and ctypes.get_errno() == 1, 'not refused'
";
    let scratch = Scratch::new("taking");
    let agent = Agent::start(&scratch);
    std::fs::write(scratch.path("secret"), "x").unwrap();
    let program = scratch.script("takes.py", TAKES);
    let secret = scratch.text("secret");
    let output = output(&mut traced(
        &agent,
        "pidfd_getfd",
        &["python3", &program, &secret],
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let record = agent.finish();
    let event = record.about(EventType::TakeDescriptor, &secret);
    assert!(is_seen(event.outcome), "{event:?}");
    let EventKind::TakeDescriptor { target, .. } = event.kind else {
        unreachable!()
    };
    assert_eq!(record.parents().get(&target), Some(&event.pid));
    assert_eq!(record.notices().len(), 1, "{:?}", record.notices());
}
