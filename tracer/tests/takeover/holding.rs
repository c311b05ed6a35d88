//! Whoever closes the last reference to an inotify instance waits for the kernel: the agent, and
//! never a worker that ends.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};

use picket_events::wire::{FrameReader, FrameWriter, ToAgent};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::*;

/// An agent that takes what is handed to it, on one connection.
struct Holder {
    stream: UnixStream,
    reader: FrameReader,
    messages: Vec<ToAgent>,
    held: Vec<OwnedFd>,
}

impl Holder {
    fn accept(listener: &UnixListener) -> Self {
        let stream = std::cell::OnceCell::new();
        listener.set_nonblocking(true).unwrap();
        eventually("a connection", || {
            listener
                .accept()
                .is_ok_and(|(new, _)| stream.set(new).is_ok())
        });
        let stream = stream.into_inner().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self {
            stream,
            reader: FrameReader::new(),
            messages: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Greets the tracer, and has it watch a file.
    fn watch(&mut self, path: &str) {
        use std::io::Write;
        let mut writer = FrameWriter::new();
        writer.push(&ToTracer::Welcome).unwrap();
        let watched = ToTracer::WatchReads(vec![path.to_owned()]);
        writer.push(&watched).unwrap();
        self.stream.write_all(&writer.take()).unwrap();
    }

    /// Reads on; false at the end.
    fn read(&mut self) -> bool {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = vec![0; 65536];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(
            &self.stream,
            &mut parts,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let length = received.expect("the tracer speaks or ends").bytes;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.held.extend(rights);
            }
        }
        self.reader.feed(&bytes[..length]);
        while let Some(frame) = self.reader.next_frame().unwrap() {
            let messages = frame.messages::<ToAgent>().map(Result::unwrap);
            self.messages.extend(messages);
        }
        length > 0
    }

    fn read_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            assert!(self.read(), "waited for {what}: {:?}", self.messages);
        }
    }

    /// Whether one of the instances held watches a file.
    fn watches(&self, path: &str) -> bool {
        let watched = format!("ino:{:x} ", std::fs::metadata(path).unwrap().ino());
        self.held.iter().any(|descriptor| {
            let info = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
            std::fs::read_to_string(info).unwrap().contains(&watched)
        })
    }
}

/// A program that runs others until a file is there, traced.
fn load(scratch: &Scratch, engine: &str) -> (UnixListener, Running) {
    let socket = scratch.path("agent.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let mut command = Command::new(tracer());
    command.args(["trace", "--engine", engine, "--interest", "exec,open:plain"]);
    command.arg("--socket").arg(&socket).arg("--");
    let script = format!("until [ -e {} ]; do /bin/true; done", scratch.text("go"));
    command.args(sh(&script));
    (listener, start(&mut command))
}

#[test]
fn the_last_reference_to_what_was_watched_with_is_the_agent_s() {
    for engine in ["notification", "ptrace"] {
        let scratch = Scratch::new(&format!("hold-{engine}"));
        let secret = scratch.text("secret");
        std::fs::write(&secret, "x").unwrap();
        let (listener, mut child) = load(&scratch, engine);
        let mut agent = Holder::accept(&listener);
        agent.read_until("the first instance", |agent| !agent.held.is_empty());
        assert!(matches!(agent.messages[..], [ToAgent::Hello(_), ..]));
        agent.watch(&secret);
        agent.read_until("the second", |agent| agent.held.len() == 2);
        std::fs::write(scratch.path("go"), "").unwrap();
        while agent.read() {}
        assert!(wait(&mut child).success());
        // Nobody of the tracer's is left, and the file is watched all the same.
        assert!(agent.watches(&secret), "{engine}");
        assert_eq!(agent.held.len(), 2);
    }
}

#[test]
fn a_worker_that_is_killed_does_not_wait_and_the_next_hands_over_its_own() {
    let scratch = Scratch::new("hold-killed");
    let secret = scratch.text("secret");
    std::fs::write(&secret, "x").unwrap();
    let (listener, mut child) = load(&scratch, "notification");
    let mut first = Holder::accept(&listener);
    first.watch(&secret);
    first.read_until("both instances", |agent| agent.held.len() == 2);
    signal(worker_of(child.id()).unwrap(), "KILL");
    while first.read() {}
    assert!(first.watches(&secret));
    let mut second = Holder::accept(&listener);
    second.watch(&secret);
    second.read_until("its own instances", |agent| agent.held.len() == 2);
    drop(first);
    std::fs::write(scratch.path("go"), "").unwrap();
    while second.read() {}
    assert!(wait(&mut child).success());
    assert!(second.watches(&secret));
}
