//! Events in a line each.

use picket_events::{Address, Credentials, Event, EventKind, File, Outcome};

/// A line behind what became of the call.
pub(crate) fn with(outcome: Outcome, line: &str) -> String {
    match outcome {
        Outcome::Returned(value) => format!("={value} {line}"),
        Outcome::Succeeded => format!("+ {line}"),
        Outcome::Unconfirmed => format!("? {line}"),
        Outcome::Denied(errno) => format!("!{errno} {line}"),
    }
}

/// Whether what was told is what is expected, seen or not where that begins with `~`. Of a call
/// that failed only the type is known to be right.
pub(crate) fn fits(told: &[String], expected: &[String], result: Option<i64>) -> bool {
    let has_failed = result.is_some_and(|result| result < 0);
    let is_loose = expected.iter().any(|line| line.starts_with('~'));
    let kept = if is_loose { 1 } else { 2 };
    let start = |line: &String| -> Vec<String> {
        let words = line.split(' ').map(str::to_owned);
        let words = words.skip(usize::from(is_loose));
        words
            .take(if has_failed { kept } else { usize::MAX })
            .collect()
    };
    told.len() == expected.len() && told.iter().map(start).eq(expected.iter().map(start))
}

fn place(path: &str, here: &str) -> String {
    match path.strip_prefix(here) {
        Some("") => ".".to_owned(),
        Some(below) => below.trim_start_matches('/').to_owned(),
        None => path.to_owned(),
    }
}

fn address(address: &Address) -> String {
    match address {
        Address::Ip { ip, port } => format!("{ip}:{port}"),
        other => format!("{other:?}"),
    }
}

fn known(found: Option<&Address>) -> String {
    found.map_or_else(|| "unknown".to_owned(), address)
}

fn user(ids: &Credentials) -> String {
    format!("{} {} {} {}", ids.uid, ids.euid, ids.suid, ids.fsuid)
}

fn group(ids: &Credentials) -> String {
    format!("{} {} {} {}", ids.gid, ids.egid, ids.sgid, ids.fsgid)
}

/// An event of a step; `None` for what only comes of there being processes.
pub(crate) fn event(event: &Event, here: &str) -> Option<(Outcome, String)> {
    let file = |file: &File| match file.path.as_str() {
        "" => file.name.to_string(),
        path => place(path, here),
    };
    let whom = |target: u32| match target == event.pid {
        true => "self",
        false => "another",
    };
    let id = |id: Option<u32>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let what = match &event.kind {
        EventKind::Fork(_) => return None,
        EventKind::Exit(exit) => {
            let code = exit.code.filter(|code| *code != 0)?;
            return Some((Outcome::Returned(0), format!("{code}")));
        }
        EventKind::Exec(image) => {
            // Where a program of the system lies differs from one to the next.
            let file = match image.file.path.starts_with(here) {
                true => file(&image.file),
                false => image.file.name.to_string(),
            };
            format!("{file} {}", image.argv.join(" "))
        }
        EventKind::Open {
            file: it,
            flags,
            mode,
        } => format!("{} {flags:#o} {mode:#o}", file(it)),
        EventKind::Unlink { file: it, .. }
        | EventKind::Rmdir { file: it }
        | EventKind::Utimes { file: it }
        | EventKind::Chdir { file: it }
        | EventKind::Chroot { file: it }
        | EventKind::Splice { file: it } => file(it),
        EventKind::Rename { from, to } => format!("{} {}", file(from), file(to)),
        EventKind::Mkdir { file: it, mode } => format!("{} {mode:#o}", file(it)),
        EventKind::Link {
            target,
            link,
            symbolic,
        } => {
            let kind = if *symbolic { "soft" } else { "hard" };
            format!("{} {} {kind}", file(target), file(link))
        }
        EventKind::Chmod { file: it, mode } => format!("{} {mode:#o}", file(it)),
        EventKind::Chown { file: it, uid, gid } => {
            format!("{} {} {}", file(it), id(*uid), id(*gid))
        }
        EventKind::SetXattr { file: it, name } | EventKind::RemoveXattr { file: it, name } => {
            format!("{} {name}", file(it))
        }
        EventKind::Mount {
            source,
            mountpoint,
            fs_type,
        } => {
            let (source, mountpoint) = (place(source, here), place(mountpoint, here));
            format!("{source:?} {mountpoint:?} {fs_type:?}")
        }
        EventKind::Umount { mountpoint } => place(mountpoint, here),
        EventKind::SetUid(ids) => user(ids),
        EventKind::SetGid(ids) => group(ids),
        EventKind::Capset {
            effective,
            permitted,
        } => format!("{effective:#x} {permitted:#x}"),
        EventKind::SetRlimit {
            resource,
            current,
            maximum,
            target,
        } => {
            format!("{resource} {current} {maximum} {}", whom(*target))
        }
        EventKind::Prctl {
            option, argument, ..
        } => format!("{option} {argument}"),
        EventKind::Signal { signal, target } => format!("{signal} {}", whom(*target as u32)),
        EventKind::Ptrace { request, target } => format!("{request} {}", whom(*target)),
        EventKind::MemoryWrite { target } => whom(*target).to_owned(),
        EventKind::Mmap {
            protection, flags, ..
        } => format!("{protection} {flags:#x}"),
        EventKind::Mprotect { before, requested } => format!("{before} {requested}"),
        EventKind::Bpf { command } => command.to_string(),
        EventKind::PerfEventOpen => String::new(),
        EventKind::Userfaultfd { flags } => flags.to_string(),
        EventKind::LoadModule {
            file: it,
            from_memory,
            arguments,
            ..
        } => {
            format!("{} {from_memory} {arguments}", file(it))
        }
        EventKind::UnloadModule { name } => name.clone(),
        EventKind::Unshare { flags, entered } => format!("{flags:#x} {entered}"),
        EventKind::Dup {
            descriptor,
            is_socket,
            ..
        } => format!("{descriptor} {is_socket}"),
        EventKind::Socket {
            domain,
            socket_type,
            protocol,
        } => {
            format!("{domain} {socket_type} {protocol}")
        }
        EventKind::Bind {
            address: to,
            protocol,
        } => format!("{} {}", address(to), protocol.0),
        EventKind::Listen { address } => known(address.as_ref()),
        EventKind::Connect {
            address: to,
            protocol,
        } => format!("{} {}", address(to), protocol.0),
        EventKind::Accept { peer, local } => {
            format!("{} {}", known(peer.as_ref()), known(local.as_ref()))
        }
        EventKind::SetSockOpt {
            level,
            option,
            family,
            socket_type,
            protocol,
        } => {
            format!("{level} {option} {family} {socket_type} {protocol}")
        }
        EventKind::Dns(dns) => {
            let kind = match dns.response_code {
                Some(_) => "answer",
                None => "question",
            };
            format!("{kind} {} {}", dns.name, dns.question_type)
        }
        EventKind::Imds(imds) => imds.url.clone(),
        EventKind::IoUring { entries } => entries.to_string(),
        EventKind::TakeDescriptor {
            target, file: it, ..
        } => {
            format!("{} {}", whom(*target), file(it))
        }
        EventKind::PassDescriptor {
            file: it, count, ..
        } => format!("{} {count}", file(it)),
    };
    let line = format!("{} {what}", event.event_type().name());
    Some((event.outcome, line.trim_end().to_owned()))
}
