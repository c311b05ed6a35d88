//! What goes over sockets: DNS questions and answers, and requests to metadata services.
//!
//! A call is stopped for only where its arguments say that it may be one of these: datagrams
//! with an address, several datagrams at once. Ordinary traffic passes the filter.

use std::os::fd::AsFd;

use picket_events::{EventKind, Outcome};

use super::network::{self, take};
use super::{Call, Verdict, dns, metadata, rights};
use crate::confirm::Check;
use crate::sys::socket as sockets;
use crate::table::Abi;

/// Most messages of one `sendmmsg` that are looked at.
const MESSAGES_MAX: u32 = 8;

/// Part of the caller's memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) length: usize,
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

/// Part of the caller's memory, or the first so many bytes of it.
pub(super) fn read(call: &Call<'_>, span: Span, limit: usize) -> Option<Vec<u8>> {
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

/// The question that these bytes are, sent as a datagram on a socket that is connected.
pub(super) fn datagram_of(call: &Call<'_>, descriptor: i32, bytes: &[u8]) -> Option<EventKind> {
    let dns = dns::decode(bytes).filter(|dns| dns.response_code.is_none())?;
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

/// `MSG_FASTOPEN`: with data that is sent, TCP connects.
pub(crate) const MSG_FASTOPEN: u32 = 0x2000_0000;

/// The connect that sending makes, if it makes one.
fn connecting(call: &Call<'_>, descriptor: i32, name: Span, flags: u32) -> Option<Verdict> {
    if flags & MSG_FASTOPEN == 0 || name.at == 0 {
        return None;
    }
    let kind =
        take(call, descriptor).and_then(|socket| sockets::option(socket.as_fd(), libc::SO_TYPE));
    // Where it may not be asked, it may be one.
    let is_stream = kind.map_or(true, |kind| kind == libc::SOCK_STREAM);
    is_stream.then(|| network::connect_to(call, descriptor, name.at, name.length as u32))
}

fn tell(events: Vec<EventKind>, outcome: Outcome) -> Verdict {
    match events.is_empty() {
        true => Verdict::Pass,
        false => Verdict::Tell(events, outcome),
    }
}

/// `sendto`, its arguments as given.
pub(super) fn send_to(
    call: &Call<'_>,
    descriptor: i32,
    arguments: [u64; 4],
    flags: u32,
) -> Verdict {
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
    if let Some(connect) = connecting(call, descriptor, message.name, flags) {
        return connect;
    }
    let event = sent(call, descriptor, message);
    tell(event.into_iter().collect(), Outcome::Unconfirmed)
}

pub(crate) fn sendto(call: &Call<'_>) -> Verdict {
    let arguments = [1, 2, 4, 5].map(|argument| call.address(argument));
    send_to(call, call.int(0), arguments, call.word(3))
}

pub(crate) fn sendmsg(call: &Call<'_>) -> Verdict {
    send_message(call, call.int(0), call.address(1), call.word(2))
}

pub(super) fn send_message(call: &Call<'_>, descriptor: i32, at: u64, flags: u32) -> Verdict {
    let Some(message) = message(call, at) else {
        return Verdict::Pass;
    };
    if let Some(connect) = connecting(call, descriptor, message.name, flags) {
        return connect;
    }
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
    let (count, flags) = (call.word(2), call.word(3));
    send_all(call, call.int(0), call.address(1), (count, flags))
}

pub(super) fn send_all(
    call: &Call<'_>,
    descriptor: i32,
    at: u64,
    (count, flags): (u32, u32),
) -> Verdict {
    let size = mmsghdr_size(call.abi);
    let mut events = Vec::new();
    for index in 0..count.min(MESSAGES_MAX) {
        let Some(message) = message(call, at + u64::from(index) * size) else {
            break;
        };
        if let Some(connect) = connecting(call, descriptor, message.name, flags) {
            return connect;
        }
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
