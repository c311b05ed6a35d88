//! Rows: sockets and what goes over them.

use picket_events::{EventType as E, Interest};

use super::EVERY;
use crate::decode::{accepting, network, traffic};
use crate::table::{NO, Row, Test, row};

/// `SYS_SOCKET`, `SYS_BIND`, `SYS_CONNECT`, `SYS_LISTEN`, `SYS_ACCEPT`, `SYS_SENDTO`,
/// `SYS_RECVFROM`, `SYS_SETSOCKOPT`, `SYS_ACCEPT4`, `SYS_SENDMMSG`. The arguments of these
/// stand in memory, so they cannot be told apart further.
const SOCKET_CALLS: &[u32] = &[1, 2, 3, 4, 5, 11, 12, 14, 18, 20];
const SOCKETCALL_SENDMSG: u32 = 16;

/// `MSG_FASTOPEN`: TCP connects with the first data that is sent.
const SENDS_BY_MESSAGE: Test = Test::If(wants_connects, &Test::AnyBit(2, traffic::MSG_FASTOPEN));
const SENDS: Test = Test::If(wants_connects, &Test::AnyBit(3, traffic::MSG_FASTOPEN));

fn wants_connects(interest: &Interest) -> bool {
    interest.contains(E::Connect)
}

/// Whether datagrams that may be questions are stopped for.
fn looks_at_questions(interest: &Interest) -> bool {
    interest.contains(E::Dns) || interest.contains(E::Imds) || interest.quarantine
}

/// Whether several datagrams at once are.
fn looks_at_many(interest: &Interest) -> bool {
    interest.contains(E::Dns) || interest.contains(E::PassDescriptor) || interest.quarantine
}

/// Whether every `sendmsg` of i386 is: its flags stand in memory.
fn looks_at_any_message(interest: &Interest) -> bool {
    looks_at_messages(interest) || wants_connects(interest)
}

/// Whether every `sendmsg` is stopped for.
pub(crate) fn looks_at_messages(interest: &Interest) -> bool {
    interest.contains(E::Imds) || interest.contains(E::PassDescriptor) || interest.quarantine
}

/// Sockets and what goes over them.
pub(super) static ROWS: &[Row] = &[
    row("socket", [41, 359, 198], E::Socket, EVERY, network::socket),
    // In quarantine it is refused.
    row("bind", [49, 361, 200], E::Bind, EVERY, network::bind).always(),
    row("listen", [50, 363, 201], E::Listen, EVERY, network::listen),
    row(
        "connect",
        [42, 362, 203],
        E::Connect,
        EVERY,
        network::connect,
    )
    .always(),
    row(
        "setsockopt",
        [54, 366, 208],
        E::SetSockOpt,
        EVERY,
        network::setsockopt,
    )
    .x32(541),
    row(
        "socketcall",
        [NO, 102, NO],
        E::Connect,
        &[
            Test::OneOf(0, SOCKET_CALLS),
            Test::If(looks_at_any_message, &Test::OneOf(0, &[SOCKETCALL_SENDMSG])),
        ],
        network::socketcall,
    )
    .always(),
    row("accept", [43, NO, 202], E::Accept, EVERY, accepting::accept),
    row(
        "accept4",
        [288, 364, 242],
        E::Accept,
        EVERY,
        accepting::accept,
    ),
    // With an address it is a datagram; a request to a metadata service has none.
    row(
        "sendto",
        [44, 369, 206],
        E::Imds,
        &[
            Test::If(looks_at_questions, &Test::Question(2, 4)),
            SENDS,
            Test::IfInterested(&Test::Always),
        ],
        traffic::sendto,
    )
    .also(&[E::Dns, E::Connect])
    .reaches_out(),
    row(
        "sendmsg",
        [46, 370, 211],
        E::Imds,
        &[Test::If(looks_at_messages, &Test::Always), SENDS_BY_MESSAGE],
        traffic::sendmsg,
    )
    .x32(518)
    .also(&[E::PassDescriptor, E::Connect])
    .reaches_out(),
    row(
        "sendmmsg",
        [307, 345, 269],
        E::Dns,
        &[Test::If(looks_at_many, &Test::Always), SENDS],
        traffic::sendmmsg,
    )
    .x32(538)
    .also(&[E::PassDescriptor, E::Connect])
    .reaches_out(),
    // Who reads from a connection does not ask who has sent it.
    row(
        "recvfrom",
        [45, 371, 207],
        E::Dns,
        &[Test::NotZero(4)],
        traffic::recvfrom,
    )
    .x32(517),
    row("dup", [32, 41, 23], E::Dup, EVERY, network::dup),
    row(
        "dup2",
        [33, 63, NO],
        E::Dup,
        &[Test::AtMost(1, 2)],
        network::dup_onto,
    ),
    row(
        "dup3",
        [292, 330, 24],
        E::Dup,
        &[Test::AtMost(1, 2)],
        network::dup_onto,
    ),
];
