//! One line for each event, for `picket run --verbose`.

use std::fmt::Write as _;

use picket_agent::context::Scene;
use picket_events::text::printable;
use picket_events::{Address, Event, EventKind, File, Outcome};
use serde_json::json;

use crate::terminal::quote;

/// `pid program  event  what  outcome`, for people.
pub(crate) fn text(scene: &Scene<'_>) -> String {
    let program = scene.process.map_or("?", |process| process.comm());
    let event = scene.event;
    let mut line = format!(
        "{:>7} {program:<15} {:<10}",
        event.pid,
        event.event_type().name()
    );
    let what = what(&event.kind);
    if !what.is_empty() {
        let _ = write!(line, " {what}");
    }
    let _ = write!(line, "{}", outcome(event));
    // Names of programs, file systems and hosts are the program's to choose.
    printable(&line)
}

/// The event as it came over the wire, with its type's name and the program's.
pub(crate) fn json(scene: &Scene<'_>) -> String {
    let event = scene.event;
    json!({
        "event": event.event_type().name(),
        "pid": event.pid,
        "tid": event.tid,
        "time": event.time,
        "comm": scene.process.map(|process| process.comm()),
        "outcome": event.outcome,
        "details": event.kind,
    })
    .to_string()
}

fn what(kind: &EventKind) -> String {
    match kind {
        EventKind::Exec(image) => {
            let arguments: Vec<String> = image
                .argv
                .iter()
                .skip(1)
                .map(|argument| quote(argument))
                .collect();
            format!("{} {}", name(&image.file), arguments.join(" "))
                .trim_end()
                .to_owned()
        }
        EventKind::Fork(process) => format!("by {}", process.parent),
        EventKind::Exit(exit) => match exit.code {
            Some(code) => format!("{:?} {code}", exit.cause).to_lowercase(),
            None => String::new(),
        },
        EventKind::Open { file, flags, .. } => format!("{} {}", name(file), open_flags(*flags)),
        EventKind::Chmod { file, mode } => format!("{} {mode:04o}", name(file)),
        EventKind::Mkdir { file, mode } => format!("{} {mode:04o}", name(file)),
        EventKind::Chown { file, uid, gid } => {
            let id = |id: &Option<u32>| id.map_or("-".to_owned(), |id| id.to_string());
            format!("{} {}:{}", name(file), id(uid), id(gid))
        }
        EventKind::Mount {
            source,
            mountpoint,
            fs_type,
        } => {
            format!("{} on {} ({fs_type})", quote(source), quote(mountpoint))
        }
        EventKind::Bind { address: peer, .. } | EventKind::Connect { address: peer, .. } => {
            address(peer)
        }
        EventKind::Accept {
            peer: Some(peer), ..
        } => format!("from {}", address(peer)),
        EventKind::Signal { signal, target } => format!("{signal} to {target}"),
        EventKind::Ptrace { request, target } => format!("request {request} of {target}"),
        EventKind::TakeDescriptor { target, file, .. } => {
            format!("{} of {target}", name(file))
        }
        EventKind::Dns(dns) => dns.name.clone(),
        kind => match (kind.file(), kind.destination()) {
            (Some(from), Some(to)) => format!("{} → {}", name(from), name(to)),
            (Some(file), None) => name(file),
            _ => String::new(),
        },
    }
}

fn outcome(event: &Event) -> String {
    match event.outcome {
        Outcome::Returned(value) if value < 0 => {
            format!(" = {}", std::io::Error::from_raw_os_error(-value as i32))
        }
        Outcome::Denied(errno) => {
            format!(" = denied ({})", std::io::Error::from_raw_os_error(errno))
        }
        Outcome::Unconfirmed => " (unconfirmed)".to_owned(),
        Outcome::Returned(_) | Outcome::Succeeded => String::new(),
    }
}

fn name(file: &File) -> String {
    quote(if file.path.is_empty() {
        file.name.as_str()
    } else {
        file.path.as_str()
    })
}

fn address(address: &Address) -> String {
    match address {
        Address::Ip { ip, port } => std::net::SocketAddr::new(*ip, *port).to_string(),
        Address::UnixPath(path) => quote(path),
        Address::UnixAbstract(name) => quote(&format!("@{name}")),
        Address::Other { family } => format!("family {family}"),
        Address::Unreadable => "unreadable".to_owned(),
    }
}

fn open_flags(flags: u32) -> String {
    let access = match flags & 3 {
        0 => "read",
        1 => "write",
        _ => "read+write",
    };
    let mut text = access.to_owned();
    for (bit, word) in [(0o100, "create"), (0o1000, "truncate"), (0o2000, "append")] {
        if flags & bit != 0 {
            text.push('+');
            text.push_str(word);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_say_what_they_are_about() {
        let file = File::from_path;
        for (kind, expected) in [
            (
                EventKind::Open {
                    file: file("/tmp/a b"),
                    flags: 0o1101,
                    mode: 0,
                },
                "'/tmp/a b' write+create+truncate",
            ),
            (
                EventKind::Rename {
                    from: file("/a"),
                    to: file("/b"),
                },
                "/a → /b",
            ),
            (
                EventKind::Unlink {
                    file: file("/a"),
                    flags: 0,
                },
                "/a",
            ),
            (EventKind::PerfEventOpen, ""),
        ] {
            assert_eq!(what(&kind), expected);
        }
    }
}
