//! Fields of events about sockets and what goes over them.

use std::net::IpAddr;

use picket_events::{Address, EventKind};
use picket_rules::Value;

use super::{Fields, Scene, int};
use crate::context::{is_public, network};

pub(super) const FIELDS: Fields = &[
    (
        "scm_rights.is_socket",
        of!(EventKind::PassDescriptor { is_socket, .. } => Value::Bool(*is_socket)),
    ),
    (
        "scm_rights.count",
        of!(EventKind::PassDescriptor { count, .. } => int(*count)),
    ),
    (
        "socket.domain",
        of!(EventKind::Socket { domain, .. } => int(*domain)),
    ),
    (
        "socket.type",
        of!(EventKind::Socket { socket_type, .. } => int(*socket_type)),
    ),
    (
        "socket.protocol",
        of!(EventKind::Socket { protocol, .. } => int(*protocol)),
    ),
    (
        "bind.protocol",
        of!(EventKind::Bind { protocol, .. } => int(protocol.0)),
    ),
    (
        "connect.protocol",
        of!(EventKind::Connect { protocol, .. } => int(protocol.0)),
    ),
    (
        "setsockopt.level",
        of!(EventKind::SetSockOpt { level, .. } => int(*level)),
    ),
    (
        "setsockopt.optname",
        of!(EventKind::SetSockOpt { option, .. } => int(*option)),
    ),
    (
        "setsockopt.socket_type",
        of!(EventKind::SetSockOpt { socket_type, .. } => int(*socket_type)),
    ),
    (
        "setsockopt.socket_family",
        of!(EventKind::SetSockOpt { family, .. } => int(*family)),
    ),
    (
        "setsockopt.socket_protocol",
        of!(EventKind::SetSockOpt { protocol, .. } => int(*protocol)),
    ),
    ("dns.id", of!(EventKind::Dns(dns) => int(dns.id))),
    (
        "dns.question.name",
        of!(EventKind::Dns(dns) => Value::Str(&dns.name)),
    ),
    (
        "dns.question.type",
        of!(EventKind::Dns(dns) => int(dns.question_type)),
    ),
    (
        "dns.question.class",
        of!(EventKind::Dns(dns) => int(dns.class)),
    ),
    (
        "dns.question.length",
        of!(EventKind::Dns(dns) => int(dns.length)),
    ),
    (
        "dns.question.count",
        of!(EventKind::Dns(dns) => int(dns.count)),
    ),
    (
        "dns.response.code",
        of!(EventKind::Dns(dns) => int(dns.response_code.unwrap_or(0))),
    ),
    ("dns.question.randomness", |scene| {
        Some(Value::Int(scene.derived.randomness))
    }),
    ("dns.answer.ip", |scene| {
        Some(Value::Ips(&scene.derived.addresses))
    }),
    (
        "imds.type",
        of!(EventKind::Imds(imds) => Value::Str(if imds.response { "response" } else { "request" })),
    ),
    (
        "imds.cloud_provider",
        of!(EventKind::Imds(imds) => Value::Str(&imds.cloud_provider)),
    ),
    (
        "imds.url",
        of!(EventKind::Imds(imds) => Value::Str(&imds.url)),
    ),
    (
        "imds.host",
        of!(EventKind::Imds(imds) => Value::Str(&imds.host)),
    ),
    (
        "imds.user_agent",
        of!(EventKind::Imds(imds) => Value::Str(&imds.user_agent)),
    ),
    (
        "imds.aws.is_imds_v2",
        of!(EventKind::Imds(imds) => Value::Bool(imds.is_v2)),
    ),
];

/// Fields that several event types have, by the name behind the event's.
pub(super) const SHARED: Fields = &[
    ("addr.ip", |scene| {
        address(scene).map(|_| Value::Ip(network(ip(scene))))
    }),
    ("addr.hostname", |scene| {
        Some(Value::Strs(&scene.derived.hostnames))
    }),
    ("addr.port", |scene| match address(scene)? {
        Address::Ip { port, .. } => Some(int(*port)),
        _ => None,
    }),
    ("addr.is_public", |scene| {
        ip(scene).map(|ip| Value::Bool(is_public(ip)))
    }),
    ("addr.family", |scene| {
        address(scene).map(|address| int(address.family()))
    }),
    ("addr.path", |scene| match address(scene)? {
        Address::UnixPath(path) => Some(Value::Str(path)),
        _ => None,
    }),
    ("addr.abstract", |scene| match address(scene)? {
        Address::UnixAbstract(name) => Some(Value::Str(name)),
        _ => None,
    }),
];

fn address<'a>(scene: &'a Scene<'_>) -> Option<&'a Address> {
    match &scene.event.kind {
        EventKind::Bind { address, .. } | EventKind::Connect { address, .. } => Some(address),
        EventKind::Listen { address } => address.as_ref(),
        EventKind::Accept { peer, .. } | EventKind::Dup { peer, .. } => peer.as_ref(),
        _ => None,
    }
}

fn ip(scene: &Scene<'_>) -> Option<IpAddr> {
    match address(scene)? {
        Address::Ip { ip, .. } => Some(*ip),
        _ => None,
    }
}
