//! What belongs to one event type, as an object under the type's name.

use std::net::IpAddr;

use picket_events::{Address, Event, EventKind, EventType, kept_name};
use serde_json::{Map, Value, json};

use super::process::{brief, capability_names};
use crate::context::{Scene, is_public};

/// Bytes of arguments shown of the process that a call was aimed at.
const TARGET_ARGUMENT_BYTES: usize = 512;

/// What kind of activity an event is, in Datadog's words.
pub(super) fn category(scene: &Scene<'_>) -> &'static str {
    use EventType::*;
    let event_type = scene.event.event_type();
    if scene.name != event_type.name() {
        return "Kernel Activity";
    }
    match event_type {
        Open | Unlink | Rmdir | Rename | Mkdir | Link | Chmod | Chown | Utimes | Chdir
        | SetXattr | RemoveXattr | Mount | Umount | Splice | Chroot => "File Activity",
        Exec | Fork | Exit | SetUid | SetGid | Capset | SetRlimit | Prctl | Signal | Dup
        | MemoryWrite | Unshare | TakeDescriptor | PassDescriptor => "Process Activity",
        Socket | Bind | Listen | Connect | Accept | SetSockOpt | Dns | Imds => "Network Activity",
        Ptrace | Mmap | Mprotect | Bpf | PerfEventOpen | Userfaultfd | LoadModule
        | UnloadModule | IoUring => "Kernel Activity",
    }
}

/// The objects of this event; files, credentials and processes have their own places.
pub(super) fn details(scene: &Scene<'_>) -> Map<String, Value> {
    let mut details = Map::new();
    if let Some(mut value) = own(scene.event) {
        if let Some(target) = scene.target.filter(|_| has_target(&scene.event.kind)) {
            let key = match scene.event.event_type() {
                EventType::Ptrace => "tracee",
                _ => "target",
            };
            value[key] = json!(brief(scene, target, TARGET_ARGUMENT_BYTES));
        }
        details.insert(scene.event.event_type().name().to_owned(), value);
    }
    if let (Some(parameter), "sysctl") = (parameter(scene), scene.name) {
        details.insert("sysctl".to_owned(), parameter);
    }
    if let Some(network) = network(scene.event) {
        details.insert("network".to_owned(), network);
    }
    details
}

/// The kernel parameter that was opened.
fn parameter(scene: &Scene<'_>) -> Option<Value> {
    let EventKind::Open { file, flags, .. } = &scene.event.kind else {
        return None;
    };
    let name = file.path.strip_prefix("/proc/sys/")?;
    let action = if flags & 3 == 0 { "read" } else { "write" };
    Some(json!({"name": name, "action": action}))
}

fn has_target(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Signal { .. }
            | EventKind::Ptrace { .. }
            | EventKind::MemoryWrite { .. }
            | EventKind::TakeDescriptor { .. }
            | EventKind::SetRlimit { .. }
    )
}

fn own(event: &Event) -> Option<Value> {
    Some(match &event.kind {
        EventKind::Exit(exit) => json!({
            "cause": (["EXITED", "COREDUMPED", "SIGNALED"][exit.cause as usize]),
            "code": exit.code,
        }),
        EventKind::Mount {
            source,
            mountpoint,
            fs_type,
        } => {
            json!({"source": {"path": source}, "mountpoint": {"path": mountpoint}, "fs_type": fs_type})
        }
        EventKind::Umount { mountpoint } => json!({"mountpoint": {"path": mountpoint}}),
        EventKind::Link { symbolic, .. } => json!({"symbolic": symbolic}),
        EventKind::SetUid(ids) => json!({"uid": ids.uid, "euid": ids.euid, "fsuid": ids.fsuid}),
        EventKind::SetGid(ids) => json!({"gid": ids.gid, "egid": ids.egid, "fsgid": ids.fsgid}),
        EventKind::Capset {
            effective,
            permitted,
        } => json!({
            "cap_effective": capability_names(*effective),
            "cap_permitted": capability_names(*permitted),
        }),
        EventKind::SetRlimit {
            resource,
            current,
            maximum,
            ..
        } => {
            json!({"resource": resource, "rlim_cur": current, "rlim_max": maximum})
        }
        EventKind::Prctl {
            option,
            argument,
            name,
        } => match name.is_empty() {
            true => json!({"option": option, "argument": argument}),
            false => json!({"option": option, "new_name": kept_name(name)}),
        },
        EventKind::Signal { signal, target } => json!({"type": signal, "pid": target}),
        EventKind::Ptrace { request, target } => json!({"request": request, "pid": target}),
        EventKind::MemoryWrite { target } => json!({"pid": target}),
        EventKind::Mmap {
            protection, flags, ..
        } => {
            json!({"protection": protection, "flags": flags})
        }
        EventKind::Mprotect { before, requested } => {
            json!({"vm_protection": before, "req_protection": requested})
        }
        EventKind::Bpf { command } => json!({"cmd": command}),
        EventKind::Userfaultfd { flags } => json!({"flags": flags}),
        EventKind::LoadModule {
            from_memory,
            name,
            arguments,
            ..
        } => {
            json!({"name": name, "loaded_from_memory": from_memory, "args": arguments})
        }
        EventKind::UnloadModule { name } => json!({"name": name}),
        EventKind::Unshare { flags, entered } => json!({"flags": flags, "entered": entered}),
        EventKind::Dup {
            descriptor,
            is_socket,
            peer,
        } => {
            json!({"descriptor": descriptor, "is_socket": is_socket, "addr": peer.as_ref().map(address)})
        }
        EventKind::Socket {
            domain,
            socket_type,
            protocol,
        } => {
            json!({"domain": domain, "type": socket_type, "protocol": protocol})
        }
        EventKind::Bind {
            address: at,
            protocol,
        }
        | EventKind::Connect {
            address: at,
            protocol,
        } => {
            json!({"addr": address(at), "protocol": transport(protocol.0)})
        }
        EventKind::Listen { address: at } => json!({"addr": at.as_ref().map(address)}),
        EventKind::Accept { peer, local } => {
            json!({"addr": peer.as_ref().map(address), "local": local.as_ref().map(address)})
        }
        EventKind::SetSockOpt {
            level,
            option,
            family,
            socket_type,
            protocol,
        } => json!({
            "level": level, "optname": option, "socket_family": family,
            "socket_type": socket_type, "socket_protocol": protocol,
        }),
        EventKind::Dns(dns) => json!({
            "id": dns.id,
            "is_query": dns.response_code.is_none(),
            "question": {
                "name": dns.name, "type": dns.question_type, "class": dns.class,
                "size": dns.length, "count": dns.count,
            },
            "response": dns.response_code.map(|code| json!({"code": code, "answers": dns.answers})),
        }),
        EventKind::Imds(imds) => json!({
            "type": if imds.response { "response" } else { "request" },
            "cloud_provider": imds.cloud_provider, "url": imds.url, "host": imds.host,
            "user_agent": imds.user_agent, "server": imds.server,
            "aws": {"is_imds_v2": imds.is_v2},
        }),
        EventKind::IoUring { entries } => json!({"entries": entries}),
        EventKind::TakeDescriptor {
            target, is_socket, ..
        } => json!({"pid": target, "is_socket": is_socket}),
        EventKind::PassDescriptor {
            is_socket, count, ..
        } => json!({"is_socket": is_socket, "count": count}),
        _ => return None,
    })
}

fn address(address: &Address) -> Value {
    match address {
        Address::Ip { ip, port } => json!({
            "family": if ip.is_ipv4() { "AF_INET" } else { "AF_INET6" },
            "ip": ip, "port": port, "is_public": is_public(*ip),
        }),
        Address::UnixPath(path) => json!({"family": "AF_UNIX", "path": path}),
        Address::UnixAbstract(name) => json!({"family": "AF_UNIX", "abstract": name}),
        Address::Other { family } => json!({"family": family}),
        Address::Unreadable => json!({"error": "unreadable"}),
    }
}

fn transport(protocol: u16) -> Value {
    match protocol {
        0 => Value::Null,
        6 => json!("IPPROTO_TCP"),
        17 => json!("IPPROTO_UDP"),
        262 => json!("IPPROTO_MPTCP"),
        other => json!(other),
    }
}

/// Source and destination where the event has addresses of the internet.
fn network(event: &Event) -> Option<Value> {
    let end = |address: &Address| match address {
        Address::Ip { ip, port } => Some(json!({"ip": ip.to_canonical() as IpAddr, "port": port})),
        _ => None,
    };
    let (direction, source, destination) = match &event.kind {
        EventKind::Connect { address, .. } => ("egress", None, end(address)),
        EventKind::Accept { peer, local } => (
            "ingress",
            peer.as_ref().and_then(end),
            local.as_ref().and_then(end),
        ),
        _ => return None,
    };
    if source.is_none() && destination.is_none() {
        return None;
    }
    let mut network = json!({"network_direction": direction});
    for (key, value) in [("source", source), ("destination", destination)] {
        if let Some(value) = value {
            network[key] = value;
        }
    }
    Some(network)
}
