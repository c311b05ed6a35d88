use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};

use super::*;
use picket_events::{EventKind, File, Outcome};

fn event(kind: EventKind) -> Event {
    Event {
        sequence: 0,
        time: 1,
        pid: 2,
        tid: 2,
        outcome: Outcome::Unconfirmed,
        kind,
    }
}

fn open(length: usize) -> Event {
    let file = File::from_path("x".repeat(length));
    event(EventKind::Open {
        file,
        flags: 0,
        mode: 0,
    })
}

fn unlink() -> Event {
    event(EventKind::Unlink {
        file: File::from_path("/x"),
        flags: 0,
    })
}

fn to(name: &str) -> (Transport, std::os::unix::net::UnixListener) {
    let path = std::env::temp_dir().join(format!("picket-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let path = CString::new(path.into_os_string().into_encoded_bytes()).unwrap();
    (Transport::new(Some(path), Hello::default()), listener)
}

fn read_all(stream: &mut UnixStream, transport: &mut Transport) -> Vec<ToAgent> {
    let (mut reader, mut messages) = (FrameReader::new(), Vec::new());
    let mut buffer = [0; 65536];
    stream.set_nonblocking(true).unwrap();
    for _ in 0..100_000 {
        transport.write();
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => reader.feed(&buffer[..count]),
            _ if !transport.has_unsent() => return messages,
            _ => std::thread::yield_now(),
        }
        while let Some(frame) = reader.next_frame().unwrap() {
            messages.extend(frame.messages::<ToAgent>().map(Result::unwrap));
        }
    }
    panic!("the socket takes no more");
}

#[test]
fn what_waited_comes_after_the_greeting_and_losses_before_what_fits_again() {
    let (mut transport, listener) = to("order");
    while transport.has_room(EventType::Open) {
        assert!(transport.push_event(open(1000)));
    }
    let fitted = transport.sequence();
    for _ in 0..7 {
        assert!(!transport.push_event(open(10)));
    }
    assert!(
        transport.push_event(unlink()),
        "rare events have room that opens have not"
    );
    assert!(transport.try_connect());
    let (mut stream, _) = listener.accept().unwrap();
    let messages = read_all(&mut stream, &mut transport);
    assert!(matches!(messages[0], ToAgent::Hello(_)));
    assert_eq!(messages.len() as u64, 1 + fitted + 1 + 1);
    let [.., ToAgent::Lost(lost), ToAgent::Event(last)] = &messages[..] else {
        panic!()
    };
    assert_eq!(
        (lost.count, &lost.by_type[..]),
        (7, &[(EventType::Open, 7)][..])
    );
    assert_eq!(last.sequence, fitted + 8);
    assert_eq!(transport.sent(), fitted + 8);
    assert!(!transport.has_unsent());
}

/// Should we die, whoever comes after us counts what comes after the last number that was sent.
#[test]
fn what_is_lost_is_sent_when_its_loss_was_told() {
    let (mut transport, listener) = to("counted");
    transport.go_on_after(10, 7);
    assert!(transport.try_connect());
    let (mut stream, _) = listener.accept().unwrap();
    let greeting = read_all(&mut stream, &mut transport);
    assert_eq!((greeting.len(), transport.sent()), (1, 7));
    let lost = Lost {
        count: 3,
        by_type: Vec::new(),
        reason: LossReason::WorkerDied,
    };
    transport.push(&ToAgent::Lost(lost));
    read_all(&mut stream, &mut transport);
    assert_eq!(transport.sent(), 10);

    while transport.has_room(EventType::Open) {
        assert!(transport.push_event(open(1000)));
    }
    let fitted = transport.sequence() - 10;
    assert!(!transport.push_event(open(10)));
    let told = read_all(&mut stream, &mut transport);
    let count = |message: &ToAgent| match message {
        ToAgent::Event(_) => 1,
        ToAgent::Lost(lost) => lost.count,
        _ => 0,
    };
    assert_eq!(told.iter().map(count).sum::<u64>(), fitted + 1);
    assert_eq!(transport.sent(), transport.sequence());
}

#[test]
fn a_frame_that_was_cut_goes_again_in_full() {
    let (mut transport, listener) = to("cut");
    for _ in 0..1000 {
        transport.push_event(open(500));
    }
    assert!(transport.try_connect());
    let (first, _) = listener.accept().unwrap();
    transport.write();
    assert!(transport.has_unsent());
    let sent = transport.sent();
    drop(first);
    assert_eq!(transport.write(), Link::Closed);
    std::thread::sleep(std::time::Duration::from_millis(RETRY_FIRST + 1));
    assert!(transport.try_connect());
    let (mut second, _) = listener.accept().unwrap();
    let messages = read_all(&mut second, &mut transport);
    let numbers: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            ToAgent::Event(event) => Some(event.sequence),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, (sent + 1..=1000).collect::<Vec<_>>());
}

/// What is said of losses to whoever reads this.
fn losses(messages: &[ToAgent]) -> Vec<&Lost> {
    let lost = messages.iter().filter_map(|message| match message {
        ToAgent::Lost(lost) => Some(lost),
        _ => None,
    });
    lost.collect()
}

#[test]
fn what_an_agent_left_unread_is_counted_for_the_next() {
    let (mut transport, listener) = to("unread");
    assert!(transport.try_connect());
    let (mut first, _) = listener.accept().unwrap();
    transport.push_event(open(10));
    let read = read_all(&mut first, &mut transport);
    assert_eq!(losses(&read), [] as [&Lost; 0]);
    // These two stand in its socket when it is killed.
    transport.push_event(unlink());
    assert_eq!(transport.write(), Link::Unchanged);
    transport.push_event(open(10));
    assert_eq!(transport.write(), Link::Unchanged);
    drop(first);
    assert_eq!(transport.read(&mut Vec::new()), Link::Closed);
    // So does that, in that of the next one.
    transport.hurry();
    assert!(transport.try_connect());
    let (second, _) = listener.accept().unwrap();
    assert_eq!(transport.write(), Link::Unchanged);
    drop(second);
    // Seen by whoever writes first, too.
    transport.push_event(unlink());
    assert_eq!(transport.write(), Link::Closed);
    transport.hurry();
    assert!(transport.try_connect());
    let (mut third, _) = listener.accept().unwrap();
    let read = read_all(&mut third, &mut transport);
    let expected = Lost {
        count: 2,
        by_type: vec![(EventType::Unlink, 1), (EventType::Open, 1)],
        reason: LossReason::AgentGone,
    };
    assert_eq!(losses(&read), [&expected]);
    let events = read
        .iter()
        .filter(|message| matches!(message, ToAgent::Event(_)));
    assert_eq!(events.count(), 1);
}

#[test]
fn what_an_agent_has_read_before_it_ends_is_not_lost() {
    let (mut transport, listener) = to("read");
    assert!(transport.try_connect());
    let (mut first, _) = listener.accept().unwrap();
    for _ in 0..3 {
        transport.push_event(unlink());
        read_all(&mut first, &mut transport);
    }
    drop(first);
    assert_eq!(transport.read(&mut Vec::new()), Link::Closed);
    transport.push_event(unlink());
    transport.hurry();
    assert!(transport.try_connect());
    let (mut second, _) = listener.accept().unwrap();
    let read = read_all(&mut second, &mut transport);
    assert_eq!(losses(&read), [] as [&Lost; 0]);
}

#[test]
fn retries_slow_down_and_a_welcome_resets_them() {
    let path = CString::new("/nonexistent/agent.sock").unwrap();
    let mut transport = Transport::new(Some(path), Hello::default());
    let mut delays = Vec::new();
    for _ in 0..7 {
        transport.retry_at = 0;
        assert!(!transport.try_connect());
        delays.push(transport.retry_delay);
    }
    assert_eq!(delays, [100, 200, 400, 800, 1000, 1000, 1000]);
    transport.welcomed();
    assert_eq!(transport.retry_delay, RETRY_FIRST);
}

#[test]
fn without_an_agent_nothing_is_kept() {
    let mut transport = Transport::new(None, Hello::default());
    assert!(transport.push_event(unlink()));
    assert!(!transport.has_unsent());
    assert_eq!(transport.retry_at(), None);
}

#[test]
fn an_event_that_fits_no_frame_is_counted() {
    let (mut transport, listener) = to("large");
    assert!(!transport.push_event(open(picket_events::wire::MAX_FRAME + 1)));
    transport.try_connect();
    let (mut stream, _) = listener.accept().unwrap();
    let messages = read_all(&mut stream, &mut transport);
    assert!(matches!(
        &messages[..],
        [
            ToAgent::Hello(_),
            ToAgent::Lost(Lost {
                count: 1,
                reason: LossReason::TooLarge,
                ..
            })
        ]
    ));
}

fn process(pid: u32, parent: u32, image: Option<Image>) -> Process {
    Process {
        pid,
        parent,
        started_at: pid.into(),
        image,
        ..Process::default()
    }
}

fn program(path: &str, variable: &str) -> Image {
    Image {
        file: File::from_path(path),
        envs: std::sync::Arc::new(vec![variable.to_owned()]),
        ..Image::default()
    }
}

/// What the agent takes each process to run, and with which environment: in the order in which it
/// is told of them.
fn as_understood(messages: Vec<ToAgent>) -> Vec<(u32, String, String)> {
    let mut environments = Environments::default();
    let mut known: Vec<(u32, Image)> = Vec::new();
    for message in messages {
        let Some(message) = environments.complete(message).unwrap() else {
            continue;
        };
        let (pid, parent, image) = match message {
            ToAgent::Process(process) => (process.pid, process.parent, process.image),
            ToAgent::Event(event) => match event.kind {
                EventKind::Fork(process) => (process.pid, process.parent, process.image),
                EventKind::Exec(image) => (event.pid, 0, Some(*image)),
                _ => continue,
            },
            _ => continue,
        };
        let of_parent = known.iter().rev().find(|(pid, _)| *pid == parent);
        let image = image.or(of_parent.map(|(_, image)| image.clone()));
        known.push((pid, image.expect("its parent was told of before")));
    }
    let told = known.into_iter();
    told.map(|(pid, image)| (pid, image.file.path, image.envs.join(" ")))
        .collect()
}

#[test]
fn whoever_connects_next_understands_forks_and_environments_as_the_one_before() {
    let (mut transport, listener) = to("understood");
    let exec = |pid: u32, path: &str, variable: &str| Event {
        pid,
        ..event(EventKind::Exec(Box::new(program(path, variable))))
    };
    let fork = |pid: u32, parent: u32| Event {
        pid,
        ..event(EventKind::Fork(Box::new(process(pid, parent, None))))
    };
    let shell = process(1, 0, Some(program("/bin/sh", "A")));
    transport.push(&ToAgent::Process(Box::new(shell)));
    transport.push_event(fork(2, 1));
    assert!(transport.try_connect());
    let (mut first, _) = listener.accept().unwrap();
    let understood = as_understood(read_all(&mut first, &mut transport));
    let told = |pid, path: &str, variable: &str| (pid, path.to_owned(), variable.to_owned());
    let before = [told(1, "/bin/sh", "A"), told(2, "/bin/sh", "A")];
    assert_eq!(understood, before);
    drop(first);
    // Nobody reads, and the same number comes to mean another environment.
    transport.push_event(fork(3, 2));
    for number in 0..40 {
        transport.push_event(exec(2, "/bin/loop", &number.to_string()));
    }
    transport.push_event(fork(4, 2));
    transport.push_event(exec(3, "/bin/ls", "A"));
    assert_eq!(transport.write(), Link::Closed);
    transport.retry_at = 0;
    assert!(transport.try_connect());
    transport.push_known(|_| Vec::new());
    let (mut second, _) = listener.accept().unwrap();
    let mut expected = before.to_vec();
    expected.push(told(3, "/bin/sh", "A"));
    expected.extend((0..40).map(|number| told(2, "/bin/loop", &number.to_string())));
    expected.extend([told(4, "/bin/loop", "39"), told(3, "/bin/ls", "A")]);
    let understood = as_understood(read_all(&mut second, &mut transport));
    assert_eq!(understood, expected);
}

/// What came with the next bytes of a stream.
fn descriptors_with(stream: &UnixStream) -> Vec<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 65536];
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    let received = recvmsg(stream, &mut parts, &mut control, RecvFlags::empty()).unwrap();
    assert!(received.bytes > 0);
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    rights.flatten().collect()
}

#[test]
fn what_the_agent_is_to_hold_goes_with_the_greeting_of_each_connection_and_once() {
    let (mut transport, listener) = to("hold");
    let watcher = crate::sys::watch::Watcher::new().unwrap();
    transport.hand_over(watcher.as_fd());
    for _ in 0..2 {
        transport.retry_at = 0;
        assert!(transport.try_connect());
        let (stream, _) = listener.accept().unwrap();
        transport.write();
        let held = descriptors_with(&stream);
        let links = held.iter().map(|descriptor| {
            std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).unwrap()
        });
        let links: Vec<_> = links.collect();
        assert_eq!(links, [std::path::Path::new("anon_inode:inotify")]);
        transport.push_event(unlink());
        transport.write();
        assert_eq!(descriptors_with(&stream).len(), 0);
        drop(stream);
        transport.push_event(unlink());
        assert_eq!(transport.write(), Link::Closed);
    }
}

#[test]
fn what_there_is_to_hold_later_goes_with_what_is_said_next() {
    let (mut transport, listener) = to("later");
    assert!(transport.try_connect());
    let (stream, _) = listener.accept().unwrap();
    transport.write();
    assert_eq!(descriptors_with(&stream).len(), 0);
    let watcher = crate::sys::watch::Watcher::new().unwrap();
    transport.hand_over(watcher.as_fd());
    transport.push_event(unlink());
    transport.write();
    assert_eq!(descriptors_with(&stream).len(), 1);
}
