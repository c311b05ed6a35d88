//! Fields of the event itself.

use std::net::IpAddr;

use picket_events::{Address, EventKind};
use picket_rules::Value;

use super::file_fields::PERMISSIONS;
use super::{Scene, clock, is_public, network};

/// `sysctl.action`, numbered as SECL's constants.
const SYSCTL_READ: u32 = 1;
const SYSCTL_WRITE: u32 = 2;

/// Answers a field of an event; `None` where this event does not have it.
pub(super) type EventField = for<'a> fn(&'a Scene<'a>) -> Option<Value<'a>>;

/// Picks fields out of one kind of event.
macro_rules! of {
    ($pattern:pat => $value:expr) => {
        |scene| match &scene.event.kind {
            $pattern => Some($value),
            _ => None,
        }
    };
}

fn int(number: impl Into<i64>) -> Value<'static> {
    Value::Int(number.into())
}

/// An unsigned number bit for bit, as rules see it.
fn bits(number: u64) -> Value<'static> {
    Value::Int(number as i64)
}

/// Fields that every event has, and fields of one event type, by full name.
const FIELDS: &[(&str, EventField)] = &[
    ("event.async", |_| Some(Value::Bool(false))),
    ("event.hostname", |scene| {
        Some(Value::Str(scene.identity.hostname()))
    }),
    ("event.origin", |_| Some(Value::Str("ebpfless"))),
    ("event.os", |_| Some(Value::Str("linux"))),
    // A rule knows its own tags from where it was loaded.
    ("event.rule.tags", |_| Some(Value::Strs(&[]))),
    ("event.service", |scene| {
        Some(Value::Str(scene.identity.service()))
    }),
    ("event.source", |_| Some(Value::Str("runtime"))),
    ("event.timestamp", |scene| {
        Some(Value::Int(clock(scene.event.time)))
    }),
    ("container.id", |scene| {
        Some(Value::Str(&scene.container.id))
    }),
    ("container.created_at", |scene| {
        Some(Value::Int(clock(scene.container.started_at)))
    }),
    ("container.tags", |scene| {
        Some(Value::Strs(&scene.container.tags))
    }),
    ("cgroup.id", |scene| Some(Value::Str(&scene.container.id))),
    ("cgroup.created_at", |scene| {
        Some(Value::Int(clock(scene.container.started_at)))
    }),
    (
        "open.flags",
        of!(EventKind::Open { flags, .. } => int(*flags)),
    ),
    (
        "open.syscall.flags",
        of!(EventKind::Open { flags, .. } => int(*flags)),
    ),
    (
        "open.file.destination.mode",
        of!(EventKind::Open { mode, .. } => int(*mode)),
    ),
    (
        "open.syscall.mode",
        of!(EventKind::Open { mode, .. } => int(*mode)),
    ),
    (
        "mkdir.file.destination.mode",
        of!(EventKind::Mkdir { mode, .. } => int(*mode)),
    ),
    (
        "mkdir.file.destination.rights",
        of!(EventKind::Mkdir { mode, .. } => int(*mode & PERMISSIONS)),
    ),
    (
        "mkdir.syscall.mode",
        of!(EventKind::Mkdir { mode, .. } => int(*mode)),
    ),
    (
        "chmod.file.destination.mode",
        of!(EventKind::Chmod { mode, .. } => int(*mode)),
    ),
    (
        "chmod.file.destination.rights",
        of!(EventKind::Chmod { mode, .. } => int(*mode & PERMISSIONS)),
    ),
    (
        "chmod.syscall.mode",
        of!(EventKind::Chmod { mode, .. } => int(*mode)),
    ),
    (
        "chown.file.destination.uid",
        of!(EventKind::Chown { uid, .. } => owner(*uid)),
    ),
    (
        "chown.syscall.uid",
        of!(EventKind::Chown { uid, .. } => owner(*uid)),
    ),
    (
        "chown.file.destination.gid",
        of!(EventKind::Chown { gid, .. } => owner(*gid)),
    ),
    (
        "chown.syscall.gid",
        of!(EventKind::Chown { gid, .. } => owner(*gid)),
    ),
    ("chown.file.destination.user", |scene| {
        match &scene.event.kind {
            EventKind::Chown { uid: Some(uid), .. } => Some(user(scene, *uid)),
            _ => None,
        }
    }),
    ("chown.file.destination.group", |scene| {
        match &scene.event.kind {
            EventKind::Chown { gid: Some(gid), .. } => Some(group(scene, *gid)),
            _ => None,
        }
    }),
    (
        "unlink.flags",
        of!(EventKind::Unlink { flags, .. } => int(*flags)),
    ),
    (
        "unlink.syscall.flags",
        of!(EventKind::Unlink { flags, .. } => int(*flags)),
    ),
    (
        "link.symbolic",
        of!(EventKind::Link { symbolic, .. } => Value::Bool(*symbolic)),
    ),
    (
        "setxattr.file.destination.name",
        of!(EventKind::SetXattr { name, .. } => Value::Str(name)),
    ),
    (
        "setxattr.file.destination.namespace",
        of!(EventKind::SetXattr { name, .. } => namespace(name)),
    ),
    (
        "removexattr.file.destination.name",
        of!(EventKind::RemoveXattr { name, .. } => Value::Str(name)),
    ),
    (
        "removexattr.file.destination.namespace",
        of!(EventKind::RemoveXattr { name, .. } => namespace(name)),
    ),
    (
        "mount.fs_type",
        of!(EventKind::Mount { fs_type, .. } => Value::Str(fs_type)),
    ),
    (
        "mount.syscall.fs_type",
        of!(EventKind::Mount { fs_type, .. } => Value::Str(fs_type)),
    ),
    (
        "mount.source.path",
        of!(EventKind::Mount { source, .. } => Value::Str(source)),
    ),
    (
        "mount.syscall.source.path",
        of!(EventKind::Mount { source, .. } => Value::Str(source)),
    ),
    (
        "mount.mountpoint.path",
        of!(EventKind::Mount { mountpoint, .. } => Value::Str(mountpoint)),
    ),
    (
        "exit.cause",
        of!(EventKind::Exit(exit) => int(exit.cause as u8)),
    ),
    (
        "exit.code",
        of!(EventKind::Exit(exit) => int(exit.code.unwrap_or(0))),
    ),
    ("setuid.uid", of!(EventKind::SetUid(ids) => int(ids.uid))),
    ("setuid.euid", of!(EventKind::SetUid(ids) => int(ids.euid))),
    (
        "setuid.fsuid",
        of!(EventKind::SetUid(ids) => int(ids.fsuid)),
    ),
    ("setuid.user", |scene| new_user(scene, |ids| ids.uid)),
    ("setuid.euser", |scene| new_user(scene, |ids| ids.euid)),
    ("setuid.fsuser", |scene| new_user(scene, |ids| ids.fsuid)),
    ("setgid.gid", of!(EventKind::SetGid(ids) => int(ids.gid))),
    ("setgid.egid", of!(EventKind::SetGid(ids) => int(ids.egid))),
    (
        "setgid.fsgid",
        of!(EventKind::SetGid(ids) => int(ids.fsgid)),
    ),
    ("setgid.group", |scene| new_group(scene, |ids| ids.gid)),
    ("setgid.egroup", |scene| new_group(scene, |ids| ids.egid)),
    ("setgid.fsgroup", |scene| new_group(scene, |ids| ids.fsgid)),
    (
        "capset.cap_effective",
        of!(EventKind::Capset { effective, .. } => bits(*effective)),
    ),
    (
        "capset.cap_permitted",
        of!(EventKind::Capset { permitted, .. } => bits(*permitted)),
    ),
    (
        "signal.type",
        of!(EventKind::Signal { signal, .. } => int(*signal)),
    ),
    (
        "signal.pid",
        of!(EventKind::Signal { target, .. } => int(*target)),
    ),
    (
        "setrlimit.resource",
        of!(EventKind::SetRlimit { resource, .. } => int(*resource)),
    ),
    (
        "setrlimit.rlim_cur",
        of!(EventKind::SetRlimit { current, .. } => bits(*current)),
    ),
    (
        "setrlimit.rlim_max",
        of!(EventKind::SetRlimit { maximum, .. } => bits(*maximum)),
    ),
    (
        "prctl.option",
        of!(EventKind::Prctl { option, .. } => int(*option)),
    ),
    (
        "prctl.argument",
        of!(EventKind::Prctl { argument, .. } => bits(*argument)),
    ),
    (
        "prctl.new_name",
        of!(EventKind::Prctl { name, .. } => Value::Str(name)),
    ),
    (
        "prctl.is_name_truncated",
        of!(EventKind::Prctl { name, .. } => Value::Bool(name.len() > 15)),
    ),
    (
        "ptrace.request",
        of!(EventKind::Ptrace { request, .. } => int(*request)),
    ),
    (
        "memory_write.pid",
        of!(EventKind::MemoryWrite { target } => int(*target)),
    ),
    (
        "pidfd_getfd.pid",
        of!(EventKind::TakeDescriptor { target, .. } => int(*target)),
    ),
    (
        "pidfd_getfd.is_socket",
        of!(EventKind::TakeDescriptor { is_socket, .. } => Value::Bool(*is_socket)),
    ),
    (
        "scm_rights.is_socket",
        of!(EventKind::PassDescriptor { is_socket, .. } => Value::Bool(*is_socket)),
    ),
    (
        "scm_rights.count",
        of!(EventKind::PassDescriptor { count, .. } => int(*count)),
    ),
    (
        "mmap.protection",
        of!(EventKind::Mmap { protection, .. } => int(*protection)),
    ),
    (
        "mmap.flags",
        of!(EventKind::Mmap { flags, .. } => int(*flags)),
    ),
    (
        "mprotect.vm_protection",
        of!(EventKind::Mprotect { before, .. } => int(*before)),
    ),
    (
        "mprotect.req_protection",
        of!(EventKind::Mprotect { requested, .. } => int(*requested)),
    ),
    ("bpf.cmd", of!(EventKind::Bpf { command } => int(*command))),
    (
        "userfaultfd.flags",
        of!(EventKind::Userfaultfd { flags } => int(*flags)),
    ),
    (
        "load_module.loaded_from_memory",
        of!(EventKind::LoadModule { from_memory, .. } => Value::Bool(*from_memory)),
    ),
    (
        "load_module.name",
        of!(EventKind::LoadModule { name, .. } => Value::Str(name)),
    ),
    (
        "load_module.args",
        of!(EventKind::LoadModule { arguments, .. } => Value::Str(arguments)),
    ),
    ("load_module.argv", |scene| {
        Some(Value::Strs(&scene.derived.arguments))
    }),
    (
        "unload_module.name",
        of!(EventKind::UnloadModule { name } => Value::Str(name)),
    ),
    (
        "unshare.flags",
        of!(EventKind::Unshare { flags, .. } => bits(*flags)),
    ),
    (
        "unshare.entered",
        of!(EventKind::Unshare { entered, .. } => Value::Bool(*entered)),
    ),
    (
        "dup.descriptor",
        of!(EventKind::Dup { descriptor, .. } => int(*descriptor)),
    ),
    (
        "dup.is_socket",
        of!(EventKind::Dup { is_socket, .. } => Value::Bool(*is_socket)),
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
    ("sysctl.name", parameter),
    (
        "sysctl.action",
        of!(EventKind::Open { flags, .. } => int(match flags & super::WRITES {
            0 => SYSCTL_READ,
            _ => SYSCTL_WRITE,
        })),
    ),
    ("sysctl.name_truncated", |_| Some(Value::Bool(false))),
    (
        "mount.visible",
        of!(EventKind::Mount { mountpoint, .. } => Value::Bool(!mountpoint.is_empty())),
    ),
    (
        "mount.detached",
        of!(EventKind::Mount { mountpoint, .. } => Value::Bool(mountpoint.is_empty())),
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
        "imds.server",
        of!(EventKind::Imds(imds) => Value::Str(&imds.server)),
    ),
    (
        "imds.aws.is_imds_v2",
        of!(EventKind::Imds(imds) => Value::Bool(imds.is_v2)),
    ),
    (
        "io_uring.entries",
        of!(EventKind::IoUring { entries } => int(*entries)),
    ),
];

/// The parameter that a file below `/proc/sys` stands for, as `net/ipv4/ip_forward`.
fn parameter<'a>(scene: &'a Scene<'_>) -> Option<Value<'a>> {
    let file = scene.event.kind.file()?;
    file.path.strip_prefix(super::PARAMETERS).map(Value::Str)
}

/// Fields that several event types have, by the name behind the event's.
const SHARED: &[(&str, EventField)] = &[
    ("retval", |scene| {
        Some(Value::Int(scene.event.outcome.retval()))
    }),
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

pub(super) fn find(name: &str) -> Option<EventField> {
    FIELDS
        .iter()
        .find(|(field, _)| *field == name)
        .map(|(_, get)| *get)
}

pub(super) fn find_shared(name: &str) -> Option<EventField> {
    SHARED
        .iter()
        .find(|(field, _)| *field == name)
        .map(|(_, get)| *get)
}

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

/// The id that `chown` sets; what it leaves alone is -1 as in the call.
fn owner(id: Option<u32>) -> Value<'static> {
    id.map_or(Value::Int(-1), int)
}

fn namespace(attribute: &str) -> Value<'_> {
    Value::Str(
        attribute
            .split_once('.')
            .map_or("", |(namespace, _)| namespace),
    )
}

fn user<'a>(scene: &'a Scene<'_>, id: u32) -> Value<'a> {
    Value::Str(scene.container.accounts.user(id))
}

fn group<'a>(scene: &'a Scene<'_>, id: u32) -> Value<'a> {
    Value::Str(scene.container.accounts.group(id))
}

fn new_user<'a>(
    scene: &'a Scene<'_>,
    id: impl Fn(&picket_events::Credentials) -> u32,
) -> Option<Value<'a>> {
    match &scene.event.kind {
        EventKind::SetUid(ids) => Some(user(scene, id(ids))),
        _ => None,
    }
}

fn new_group<'a>(
    scene: &'a Scene<'_>,
    id: impl Fn(&picket_events::Credentials) -> u32,
) -> Option<Value<'a>> {
    match &scene.event.kind {
        EventKind::SetGid(ids) => Some(group(scene, id(ids))),
        _ => None,
    }
}
