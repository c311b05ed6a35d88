//! Descriptors that are sent to the agent: some are held, none keeps anybody waiting.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::inotify;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt};
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;

/// Sends bytes, and descriptors with them.
fn send_with(stream: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    let parts = [IoSlice::new(bytes)];
    let sent = sendmsg(stream, &parts, &mut control, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(sent, bytes.len());
}

/// A directory, and an inotify instance that watches it.
fn watching() -> (TempDir, OwnedFd) {
    let directory = tempfile::tempdir().unwrap();
    let instance = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&instance, directory.path(), inotify::WatchFlags::CREATE).unwrap();
    (directory, instance)
}

/// How many descriptors of this process are instances that watch a directory.
fn held(directory: &TempDir) -> usize {
    let watched = format!("ino:{:x} ", directory.path().metadata().unwrap().ino());
    let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    // Other tests close theirs meanwhile.
    let infos = descriptors.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    infos.filter(|info| info.contains(&watched)).count()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let found = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    assert!(found.is_ok(), "waited for {what}");
}

/// Waits until nobody has the other end of a pipe any more.
async fn until_closed(reader: OwnedFd) {
    let read = move || std::fs::File::from(reader).read(&mut [0]);
    let read = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(read)).await;
    assert_eq!(read.expect("it is closed").unwrap().unwrap(), 0);
}

/// A connection whose last close waits for long, and what ends that.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    sockopt::set_socket_linger(&stream, Some(Duration::from_secs(90))).unwrap();
    // More than the peer takes: the rest waits to be sent.
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[0; 65536]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
    (stream, peer)
}

#[tokio::test]
async fn inotify_instances_are_held_until_their_connection_ends() {
    let agent = Agent::start(Options::default());
    let mut tracer = agent.connect().await;
    let ((first, instance), (second, later)) = (watching(), watching());
    send_with(&tracer, &Script::web().bytes(), &[instance.as_fd()]);
    drop(instance);
    assert_eq!(answers(&mut tracer, 1).await, [ToTracer::Welcome]);
    let mut more = Script::web().open(1, "/etc/shadow");
    more.messages.drain(..4);
    send_with(&tracer, &more.bytes(), &[later.as_fd()]);
    drop(later);
    agent.expect(&["secret_read"]).await;
    assert_eq!((held(&first), held(&second)), (1, 1));
    drop(tracer);
    eventually("both to be closed", || held(&first) + held(&second) == 0).await;
    assert_eq!(agent.server.counters().await.violations, 0);
}

#[tokio::test]
async fn other_descriptors_are_closed_and_cost_the_connection() {
    let agent = Agent::start(Options::default());
    let pipe = || pipe_with(PipeFlags::CLOEXEC).unwrap();
    let script = Script::web().bytes();

    // Something else, once and as often as a message can have it.
    for count in [1, 253] {
        let (reader, writer) = pipe();
        let mut stream = agent.connect().await;
        send_with(&stream, &script, &vec![writer.as_fd(); count]);
        drop(writer);
        assert_eq!(answers(&mut stream, 9).await, []);
        until_closed(reader).await;
    }
    // A file of that name.
    let file = agent.directory.path().join("anon_inode:inotify");
    let file = std::fs::File::create(file).unwrap();
    let mut stream = agent.connect().await;
    send_with(&stream, &script, &[file.as_fd()]);
    assert_eq!(answers(&mut stream, 9).await, []);
    // More instances than a tracer has.
    let (directory, instance) = watching();
    let mut stream = agent.connect().await;
    send_with(&stream, &script, &[instance.as_fd(); 2]);
    assert_eq!(answers(&mut stream, 1).await, [ToTracer::Welcome]);
    send_with(&stream, &[0], &[instance.as_fd()]);
    drop(instance);
    assert_eq!(answers(&mut stream, 9).await, []);
    eventually("all to be closed", || held(&directory) == 0).await;

    agent.expect(&["malformed_message"; 4]).await;
    assert_eq!(agent.server.counters().await.violations, 4);
    let findings = agent.findings.lock().unwrap();
    let told = serde_json::to_string(&*findings).unwrap();
    let reasons = told.matches("descriptors that nobody asked for").count();
    assert_eq!(reasons, 4, "{told}");
}

#[tokio::test]
async fn what_takes_long_to_close_keeps_nobody_waiting() {
    let agent = Agent::start(Options {
        connections: 2,
        ..Options::default()
    });
    let script = Script::web().bytes();
    let (stream, _peer) = lingering();
    let mut bad = agent.connect().await;
    send_with(&bad, &script, &[stream.as_fd()]);
    drop(stream);
    assert_eq!(answers(&mut bad, 9).await, []);
    let mut first = agent.send(&Script::web()).await;
    assert_eq!(answers(&mut first, 1).await, [ToTracer::Welcome]);
    // The same where it is never received: there is no place for this connection.
    let mut second = agent.send(&Script::new(hello("sidecar", 2))).await;
    assert_eq!(answers(&mut second, 1).await, [ToTracer::Welcome]);
    let (stream, _other_peer) = lingering();
    let mut bad = agent.connect().await;
    send_with(&bad, &script, &[stream.as_fd()]);
    drop(stream);
    let refused = [ToTracer::Refused(Refusal::TooMany)];
    assert_eq!(answers(&mut bad, 9).await, refused);
    let mut more = Script::web().open(1, "/etc/shadow");
    more.messages.drain(..4);
    first.write_all(&more.bytes()).await.unwrap();
    let expected = ["malformed_message", "malformed_message", "secret_read"];
    agent.expect(&expected).await;
}

#[tokio::test]
async fn who_comes_while_too_much_waits_to_be_closed_is_accepted_after_it() {
    let agent = Agent::start(Options {
        connections: 1,
        ..Options::default()
    });
    let (stream, peer) = lingering();
    let mut bad = agent.connect().await;
    send_with(&bad, &Script::web().bytes(), &[stream.as_fd()]);
    drop(stream);
    assert_eq!(answers(&mut bad, 9).await, []);
    // One more is waited for already.
    drop(agent.connect().await);
    let mut tracer = agent.send(&Script::web()).await;
    drop(peer);
    assert_eq!(answers(&mut tracer, 1).await, [ToTracer::Welcome]);
}

#[tokio::test]
async fn nor_does_it_at_the_end() {
    let agent = Agent::start(Options {
        connections: 1,
        ..Options::default()
    });
    let script = Script::web().bytes();
    let mut kept = Vec::new();
    // Two are cut off; the third is not accepted before what they have sent is closed.
    for cut_off in [1, 2, 2] {
        let (stream, peer) = lingering();
        let bad = agent.connect().await;
        send_with(&bad, &script, &[stream.as_fd()]);
        kept.push((bad, peer));
        drop(stream);
        agent.expect(&vec!["malformed_message"; cut_off]).await;
    }
    let counters = tokio::time::timeout(PATIENCE, agent.server.shutdown()).await;
    assert_eq!(counters.expect("an end").violations, 2);
}

#[tokio::test]
async fn nor_does_it_where_health_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = health::socket_beside(&directory.path().join("agent.sock"));
    let responder = Responder::start(Socket::bind(&path, 0o600).unwrap());
    let agent = Agent::start(Options::default());
    responder.watch(&agent.server);
    let (stream, _peer) = lingering();
    let mut bad = UnixStream::connect(&path).await.unwrap();
    send_with(&bad, &[0], &[stream.as_fd()]);
    drop(stream);
    let mut line = [0; 256];
    let answer = tokio::time::timeout(PATIENCE, bad.read(&mut line)).await;
    assert!(answer.expect("an answer").unwrap() > 0);
    let ask = move || health::ask(&path, PATIENCE);
    let asked = tokio::task::spawn_blocking(ask).await.unwrap();
    assert!(asked.unwrap().starts_with("ok "));
}
