//! What goes over sockets: DNS questions and answers, and requests to metadata services.
//!
//! A call is stopped for only where its arguments say that it may be one of these: datagrams
//! with an address, several datagrams at once. Ordinary traffic passes the filter.

use std::cell::OnceCell;
use std::os::fd::AsFd;

use picket_events::{EventKind, Outcome};

use super::messages::{
    Data, Message, Span, VECTORS_MAX, first_bytes_of, message, mmsghdr_size, read,
};
use super::network::{self, take};
use super::{Call, Verdict, dns, metadata, rights};
use crate::confirm::Check;
use crate::sys::socket as sockets;

/// Pieces of all messages of one `sendmmsg` that are read: an ordinary program's have one or two
/// each, and others wait meanwhile.
const PIECES_MAX: u64 = 4096;

/// The question that these bytes are on a stream to a name server: its length goes before it.
pub(super) fn question_of(call: &Call<'_>, descriptor: i32, bytes: &[u8]) -> Option<EventKind> {
    let dns = dns::decode(bytes.get(2..)?).filter(|dns| dns.response_code.is_none())?;
    is_connected_to_name_server(call, descriptor).then(|| EventKind::Dns(Box::new(dns)))
}

/// The question that these bytes are, sent as a datagram on a socket that is connected.
pub(super) fn datagram_of(call: &Call<'_>, descriptor: i32, bytes: &[u8]) -> Option<EventKind> {
    let dns = dns::decode(bytes).filter(|dns| dns.response_code.is_none())?;
    is_connected_to_name_server(call, descriptor).then(|| EventKind::Dns(Box::new(dns)))
}

fn is_name_server(raw: &[u8]) -> bool {
    sockets::ip_of(raw).map(|(_, port)| port) == Some(dns::PORT)
}

/// Whether what is sent on a socket without an address goes to a name server.
fn is_connected_to_name_server(call: &Call<'_>, descriptor: i32) -> bool {
    let peer = take(call, descriptor)
        .and_then(|socket| sockets::address(socket.as_fd(), sockets::End::Peer));
    match peer {
        Ok(raw) => is_name_server(&raw),
        // Where sockets may not be taken, one that asks for names is taken at its word.
        Err(_) => call.process.contacts.name_server,
    }
}

/// What one call sends on one socket.
struct Sending<'a> {
    call: &'a Call<'a>,
    descriptor: i32,
    /// Whether the socket is connected to a name server, once that was asked.
    asks: OnceCell<bool>,
    /// Pieces that may still be read.
    left: u64,
}

impl<'a> Sending<'a> {
    fn new(call: &'a Call<'a>, descriptor: i32) -> Self {
        Self {
            call,
            descriptor,
            asks: OnceCell::new(),
            left: PIECES_MAX,
        }
    }

    fn goes_to_name_server(&self, name: Span) -> bool {
        match name.at {
            0 => *self
                .asks
                .get_or_init(|| is_connected_to_name_server(self.call, self.descriptor)),
            _ => {
                read(self.call, name, network::ADDRESS_MAX).is_some_and(|raw| is_name_server(&raw))
            }
        }
    }

    /// The question that a datagram asks.
    fn question(&mut self, message: Message) -> Option<EventKind> {
        if !self.goes_to_name_server(message.name) {
            return None;
        }
        let bytes = first_bytes_of(self.call, message.data, dns::MESSAGE_MAX, &mut self.left)?;
        let dns = dns::decode(&bytes).filter(|dns| dns.response_code.is_none())?;
        Some(EventKind::Dns(Box::new(dns)))
    }

    /// The request to a metadata service that goes over a connection.
    fn request(&mut self, message: Message) -> Option<EventKind> {
        // Nearly every process never speaks to such a service: nothing more is looked at then.
        if !self.call.process.contacts.metadata {
            return None;
        }
        let head = first_bytes_of(self.call, message.data, metadata::HEAD_MAX, &mut self.left)?;
        request_of(self.call, self.descriptor, &head)
    }

    /// A connection goes where it goes: TCP looks at no address that is given with the data.
    fn sent(&mut self, message: Message) -> Option<EventKind> {
        let question = match message.name.at {
            0 => None, // asked on a connected socket: its thread is followed
            _ => self.question(message),
        };
        question.or_else(|| self.request(message))
    }
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
        data: Data::Whole(Span {
            at: data,
            length: length as usize,
        }),
        control: Span { at: 0, length: 0 },
    };
    if let Some(connect) = connecting(call, descriptor, message.name, flags) {
        return connect;
    }
    let event = Sending::new(call, descriptor).sent(message).or_else(|| {
        let Data::Whole(data) = message.data else {
            return None;
        };
        let is_stranger = message.name.at == 0 || !call.process.contacts.name_server;
        let bytes = (!is_stranger).then(|| read(call, data, dns::MESSAGE_MAX));
        question_of(call, descriptor, &bytes.flatten()?)
    });
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
    let event = Sending::new(call, descriptor).sent(message);
    let mut events: Vec<_> = event.into_iter().collect();
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
    let mut sending = Sending::new(call, descriptor);
    for index in 0..u64::from(count).min(VECTORS_MAX) {
        let Some(message) = message(call, at + index * size) else {
            break;
        };
        if let Some(connect) = connecting(call, descriptor, message.name, flags) {
            return connect;
        }
        events.extend(sending.question(message));
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
