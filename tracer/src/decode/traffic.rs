//! What goes over sockets: DNS questions and answers, requests to metadata services, and
//! connections that are accepted.
//!
//! A call is stopped for only where its arguments say that it may be one of these: datagrams
//! with an address, several datagrams at once. Ordinary traffic passes the filter.

use std::os::fd::{AsFd, BorrowedFd};

use picket_events::{Address, EventKind, Outcome};

use super::network::{self, take};
use super::{Call, Verdict, dns, metadata, rights};
use crate::confirm::Check;
use crate::memory::Memory;
use crate::proc;
use crate::resolve::View;
use crate::sys::{Errno, process, socket as sockets};
use crate::table::Abi;

/// Most messages of one `sendmmsg` that are looked at.
const MESSAGES_MAX: u32 = 8;

/// Part of the caller's memory.
#[derive(Debug, Clone, Copy)]
struct Span {
    at: u64,
    length: usize,
}

/// `struct msghdr`, as far as it matters.
#[derive(Debug, Clone, Copy)]
struct Message {
    name: Span,
    data: Span,
    control: Span,
}

/// Little-endian words of the caller's own size.
struct Words<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl Words<'_> {
    /// The word at an index.
    fn get(&self, index: usize) -> u64 {
        let mut word = [0u8; 8];
        let at = index * self.size;
        if let Some(bytes) = self.bytes.get(at..at + self.size) {
            word[..self.size].copy_from_slice(bytes);
        }
        u64::from_le_bytes(word)
    }
}

fn message(call: &Call<'_>, at: u64) -> Option<Message> {
    let size = call.abi.pointer_size();
    // Name, its length, vectors, their number, control data, its length; each takes a word (an
    // int is padded to one).
    let mut header = [0u8; 48];
    call.read(at, &mut header[..6 * size]).ok()?;
    let words = Words {
        bytes: &header,
        size,
    };
    let name = Span {
        at: words.get(0),
        length: words.get(1) as u32 as usize,
    };
    let control = Span {
        at: words.get(4),
        length: words.get(5) as usize,
    };
    let (vectors, count) = (words.get(2), words.get(3));
    if count == 0 {
        let data = Span { at: 0, length: 0 };
        return Some(Message {
            name,
            data,
            control,
        });
    }
    let mut vector = [0u8; 16];
    call.read(vectors, &mut vector[..2 * size]).ok()?;
    let words = Words {
        bytes: &vector,
        size,
    };
    let data = Span {
        at: words.get(0),
        length: words.get(1) as usize,
    };
    Some(Message {
        name,
        data,
        control,
    })
}

/// Size of `struct mmsghdr`.
fn mmsghdr_size(abi: Abi) -> u64 {
    match abi.pointer_size() {
        8 => 64,
        _ => 32,
    }
}

fn read(call: &Call<'_>, span: Span, limit: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0u8; span.length.min(limit)];
    call.read(span.at, &mut bytes).ok()?;
    Some(bytes)
}

/// The first bytes that a call sends.
pub(super) fn bytes(call: &Call<'_>, at: u64, length: u64) -> Option<Vec<u8>> {
    first_bytes(call, at, length, dns::MESSAGE_MAX)
}

/// The first bytes that a call sends, at most so many.
pub(super) fn first_bytes(call: &Call<'_>, at: u64, length: u64, limit: usize) -> Option<Vec<u8>> {
    let length = length as usize;
    read(call, Span { at, length }, limit)
}

/// The first bytes that a message sends.
pub(super) fn message_bytes(call: &Call<'_>, at: u64) -> Option<Vec<u8>> {
    read(call, message(call, at)?.data, dns::MESSAGE_MAX)
}

/// What a message that was received brought, up to `length`, and the sender's address where it
/// was asked for.
pub(super) fn received(call: &Call<'_>, at: u64, length: u64) -> Option<(Vec<u8>, Vec<u8>)> {
    let message = message(call, at)?;
    let sender = match message.name.at {
        0 => Vec::new(),
        _ => read(call, message.name, network::ADDRESS_MAX)?,
    };
    let data = Span {
        length: message.data.length.min(length as usize),
        ..message.data
    };
    Some((sender, read(call, data, dns::MESSAGE_MAX)?))
}

/// The first bytes that stand in vectors.
pub(super) fn gathered(call: &Call<'_>, vectors: u64, count: u64) -> Option<Vec<u8>> {
    gathered_to(call, vectors, count, dns::MESSAGE_MAX)
}

/// The first bytes that stand in vectors, at most so many of each.
pub(super) fn gathered_to(
    call: &Call<'_>,
    vectors: u64,
    count: u64,
    limit: usize,
) -> Option<Vec<u8>> {
    const VECTORS_MAX: u64 = 4;
    let size = call.abi.pointer_size();
    let mut all = Vec::new();
    for index in 0..count.min(VECTORS_MAX) {
        let mut vector = [0u8; 16];
        let at = vectors + index * 2 * size as u64;
        call.read(at, &mut vector[..2 * size]).ok()?;
        let words = Words {
            bytes: &vector,
            size,
        };
        all.extend(first_bytes(call, words.get(0), words.get(1), limit)?);
    }
    Some(all)
}

/// The question that these bytes are on a stream to a name server: its length goes before it.
pub(super) fn question_of(call: &Call<'_>, descriptor: i32, bytes: &[u8]) -> Option<EventKind> {
    let dns = dns::decode(bytes.get(2..)?).filter(|dns| dns.response_code.is_none())?;
    let nowhere = Span { at: 0, length: 0 };
    goes_to_name_server(call, descriptor, nowhere).then(|| EventKind::Dns(Box::new(dns)))
}

/// Whether a datagram goes to a name server.
fn goes_to_name_server(call: &Call<'_>, descriptor: i32, name: Span) -> bool {
    let port = |raw: &[u8]| sockets::ip_of(raw).map(|(_, port)| port);
    if name.at != 0 {
        let raw = read(call, name, network::ADDRESS_MAX);
        return raw.and_then(|raw| port(&raw)) == Some(dns::PORT);
    }
    let peer = take(call, descriptor)
        .and_then(|socket| sockets::address(socket.as_fd(), sockets::End::Peer));
    match peer {
        Ok(raw) => port(&raw) == Some(dns::PORT),
        // Where sockets may not be taken, one that asks for names is taken at its word.
        Err(_) => call.process.contacts.name_server,
    }
}

fn question(call: &Call<'_>, descriptor: i32, message: Message) -> Option<EventKind> {
    if !goes_to_name_server(call, descriptor, message.name) {
        return None;
    }
    let bytes = read(call, message.data, dns::MESSAGE_MAX)?;
    let dns = dns::decode(&bytes).filter(|dns| dns.response_code.is_none())?;
    Some(EventKind::Dns(Box::new(dns)))
}

fn request(call: &Call<'_>, descriptor: i32, data: Span) -> Option<EventKind> {
    // Nearly every process never speaks to such a service: nothing more is looked at then.
    if !call.process.contacts.metadata {
        return None;
    }
    request_of(call, descriptor, &read(call, data, metadata::HEAD_MAX)?)
}

/// The request to a metadata service that these bytes begin, sent on this socket.
pub(super) fn request_of(call: &Call<'_>, descriptor: i32, head: &[u8]) -> Option<EventKind> {
    let imds = metadata::decode(head)?;
    let peer = take(call, descriptor)
        .and_then(|socket| sockets::address(socket.as_fd(), sockets::End::Peer));
    let is_service = match peer {
        Ok(raw) => sockets::ip_of(&raw).is_some_and(|(ip, _)| metadata::is_service(ip)),
        Err(_) => metadata::is_named(&imds.host),
    };
    is_service.then(|| EventKind::Imds(Box::new(imds)))
}

fn sent(call: &Call<'_>, descriptor: i32, message: Message) -> Option<EventKind> {
    if message.name.at == 0 {
        request(call, descriptor, message.data)
    } else {
        question(call, descriptor, message)
    }
}

fn tell(events: Vec<EventKind>, outcome: Outcome) -> Verdict {
    match events.is_empty() {
        true => Verdict::Pass,
        false => Verdict::Tell(events, outcome),
    }
}

/// `sendto`, its arguments as given.
pub(super) fn send_to(call: &Call<'_>, descriptor: i32, arguments: [u64; 4]) -> Verdict {
    let [data, length, name, name_length] = arguments;
    let message = Message {
        name: Span {
            at: name,
            length: name_length as u32 as usize,
        },
        data: Span {
            at: data,
            length: length as usize,
        },
        control: Span { at: 0, length: 0 },
    };
    let event = sent(call, descriptor, message);
    tell(event.into_iter().collect(), Outcome::Unconfirmed)
}

pub(crate) fn sendto(call: &Call<'_>) -> Verdict {
    let arguments = [1, 2, 4, 5].map(|argument| call.address(argument));
    send_to(call, call.int(0), arguments)
}

pub(crate) fn sendmsg(call: &Call<'_>) -> Verdict {
    send_message(call, call.int(0), call.address(1))
}

pub(super) fn send_message(call: &Call<'_>, descriptor: i32, at: u64) -> Verdict {
    let Some(message) = message(call, at) else {
        return Verdict::Pass;
    };
    let mut events: Vec<_> = sent(call, descriptor, message).into_iter().collect();
    events.extend(passed(call, message));
    tell(events, Outcome::Unconfirmed)
}

/// The descriptors that go with a message.
fn passed(call: &Call<'_>, message: Message) -> Vec<EventKind> {
    if message.control.at == 0 || message.control.length == 0 {
        return Vec::new();
    }
    let Some(control) = read(call, message.control, rights::CONTROL_MAX) else {
        return Vec::new();
    };
    let numbers = rights::descriptors(&control, call.abi.pointer_size());
    let count = numbers.len() as u32;
    let told = numbers.into_iter().take(rights::TOLD_MAX);
    told.map(|number| {
        let (file, resolved) = call.descriptor(number);
        EventKind::PassDescriptor {
            file,
            is_socket: resolved.path.starts_with(b"socket:"),
            count,
        }
    })
    .collect()
}

/// `sendmmsg`: what resolvers use for the two questions of one name.
pub(crate) fn sendmmsg(call: &Call<'_>) -> Verdict {
    send_all(call, call.int(0), call.address(1), call.word(2))
}

pub(super) fn send_all(call: &Call<'_>, descriptor: i32, at: u64, count: u32) -> Verdict {
    let size = mmsghdr_size(call.abi);
    let mut events = Vec::new();
    for index in 0..count.min(MESSAGES_MAX) {
        let Some(message) = message(call, at + u64::from(index) * size) else {
            break;
        };
        events.extend(question(call, descriptor, message));
        events.extend(passed(call, message));
    }
    tell(events, Outcome::Unconfirmed)
}

pub(crate) fn recvfrom(call: &Call<'_>) -> Verdict {
    let data = Span {
        at: call.address(1),
        length: call.address(2) as usize,
    };
    receive(call, call.int(0), data.at, data.length, call.word(3))
}

/// An answer to be received. Mostly it is there already, for programs wait with `poll`: then
/// it can be looked at without being taken away. Otherwise it is read from the program's
/// buffer once it has come.
pub(super) fn receive(
    call: &Call<'_>,
    descriptor: i32,
    at: u64,
    length: usize,
    flags: u32,
) -> Verdict {
    // A look that leaves the message there is followed by the call that takes it.
    let is_look = flags & libc::MSG_PEEK as u32 != 0;
    if is_look || !call.process.contacts.name_server {
        return Verdict::Pass;
    }
    let mut buffer = vec![0u8; dns::MESSAGE_MAX];
    if let Ok(socket) = take(call, descriptor)
        && let Ok((got, from)) = sockets::peek(socket.as_fd(), &mut buffer)
    {
        let is_server = sockets::ip_of(&from).is_some_and(|(_, port)| port == dns::PORT);
        let answer = dns::decode(&buffer[..got])
            .filter(|dns| is_server && dns.response_code.is_some())
            .map(|dns| EventKind::Dns(Box::new(dns)));
        return tell(answer.into_iter().collect(), Outcome::Succeeded);
    }
    let buffer = Span { at, length };
    let Some(before) = read(call, buffer, dns::MESSAGE_MAX) else {
        return Verdict::Pass;
    };
    Verdict::Watch(
        EventKind::Dns(Box::default()),
        Check::Answered { at, before },
    )
}

pub(super) fn accept_from(call: &Call<'_>, descriptor: i32, peer: u64, length: u64) -> Verdict {
    let local = take(call, descriptor)
        .and_then(|socket| sockets::address(socket.as_fd(), sockets::End::Local))
        .ok()
        .and_then(|raw| network::plain_address(&raw));
    let before = descriptors(&call.view());
    let room = Room::of(call, peer, length);
    let kind = EventKind::Accept { peer: None, local };
    Verdict::Watch(kind, Check::Accepted { room, before })
}

/// `accept` and `accept4`.
pub(crate) fn accept(call: &Call<'_>) -> Verdict {
    accept_from(call, call.int(0), call.address(1), call.address(2))
}

/// Most descriptors among which a new one is looked for.
const DESCRIPTORS_MAX: usize = 256;

/// The descriptors of a thread, or the first of many.
pub(crate) fn descriptors(view: &View<'_>) -> Vec<i32> {
    let listed = proc::as_tracee(view.credentials, || {
        let names = std::fs::read_dir(format!("/proc/{}/fd", view.tid))?;
        let numbers = names
            .flatten()
            .filter_map(|name| name.file_name().to_str()?.parse().ok());
        Ok(numbers.take(DESCRIPTORS_MAX).collect())
    });
    listed.unwrap_or_default()
}

/// A socket among the descriptors that was not there before, and its peer where that is to be
/// had. `listening` is where the listener listens: another thread's new connection to somebody
/// else, or to this very listener, is none that was accepted.
pub(crate) fn new_socket(
    view: &View<'_>,
    pidfd: Option<BorrowedFd<'_>>,
    before: &[i32],
    listening: Option<&Address>,
) -> Option<Option<Address>> {
    let new = descriptors(view)
        .into_iter()
        .filter(|number| !before.contains(number));
    new.into_iter().find_map(|number| {
        let link = proc::link(&format!("/proc/{}/fd/{number}", view.tid)).ok()?;
        if !link.starts_with(b"socket:") {
            return None;
        }
        let ends = process::take_descriptor(pidfd?, number).and_then(|socket| {
            let local = sockets::address(socket.as_fd(), sockets::End::Local)?;
            Ok((local, sockets::address(socket.as_fd(), sockets::End::Peer)?))
        });
        match ends {
            Ok((local, _)) if !is_from(listening, network::plain_address(&local).as_ref()) => None,
            Ok((_, raw)) => Some(network::plain_address(&raw)),
            // One that listens, or is not connected.
            Err(Errno(libc::ENOTCONN)) => None,
            Err(_) => Some(None),
        }
    })
}

/// Whether a socket with this address of its own may have come from a listener with that one.
fn is_from(listening: Option<&Address>, local: Option<&Address>) -> bool {
    match (listening, local) {
        (Some(Address::Ip { port, .. }), Some(Address::Ip { port: own, .. })) => port == own,
        (Some(Address::Ip { .. }), Some(_)) | (Some(_), Some(Address::Ip { .. })) => false,
        _ => true,
    }
}

/// Where a program has the kernel write a peer's address.
#[derive(Debug)]
pub(crate) struct Room {
    address: u64,
    length: u64,
    /// What stood there before the call.
    before: (u32, Vec<u8>),
}

impl Room {
    fn of(call: &Call<'_>, address: u64, length: u64) -> Option<Self> {
        if address == 0 {
            return None;
        }
        let mut size = [0u8; 4];
        call.read(length, &mut size).ok()?;
        let size = u32::from_ne_bytes(size);
        let span = Span {
            at: address,
            length: size as usize,
        };
        let before = (size, read(call, span, network::ADDRESS_MAX)?);
        Some(Self {
            address,
            length,
            before,
        })
    }

    /// The peer, if it stands there now. The room is mostly on the stack, so it may have been
    /// used for something else since: only what is an address by its family and its length is
    /// taken for one.
    pub(crate) fn written(&self, view: &View<'_>) -> Option<Address> {
        let memory = Memory::passing(view.tid, view.credentials);
        let mut size = [0u8; 4];
        memory.read(self.length, &mut size).ok()?;
        let size = u32::from_ne_bytes(size);
        let mut bytes = vec![0u8; self.before.1.len()];
        memory.read(self.address, &mut bytes).ok()?;
        if (size, &bytes) == (self.before.0, &self.before.1) {
            return None;
        }
        let raw = bytes.get(..size as usize)?;
        let family = u16::from_ne_bytes(raw.get(..2)?.try_into().ok()?);
        let is_address = match i32::from(family) {
            libc::AF_INET => size == 16,
            libc::AF_INET6 => size == 28,
            _ => false, // an unnamed Unix socket has nothing to show
        };
        network::plain_address(raw).filter(|_| is_address)
    }
}
