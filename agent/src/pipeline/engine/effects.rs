//! What an event changes in the tree, and whom it concerns.

use std::net::IpAddr;

use picket_events::{Address, Event, EventKind, Outcome, kept_name};

use crate::tree::{Key, ProcessNode, ProcessTree};

/// `prctl` option that renames the calling thread.
const PR_SET_NAME: u32 = 15;

/// The other end of a connection.
pub(super) fn remote_address(kind: &EventKind) -> Option<IpAddr> {
    match kind {
        EventKind::Connect {
            address: Address::Ip { ip, .. },
            ..
        }
        | EventKind::Accept {
            peer: Some(Address::Ip { ip, .. }),
            ..
        } => Some(*ip),
        _ => None,
    }
}

/// True when the call did what it was meant to, as far as is known.
pub(super) fn took_effect(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Returned(value) => value >= 0,
        Outcome::Succeeded | Outcome::Unconfirmed => true,
        Outcome::Denied(_) => false,
    }
}

/// Brings the tree to where rules are to see it: a new process is there, a new program runs.
/// For an exec that was refused, the process as it would have been comes back too.
pub(super) fn before(tree: &mut ProcessTree, event: &Event) -> (Option<Key>, Option<ProcessNode>) {
    match &event.kind {
        EventKind::Fork(process) => (tree.insert((**process).clone()), None),
        EventKind::Exec(image) => {
            let Some(key) = tree.find_or_insert(event.pid) else {
                return (None, None);
            };
            if took_effect(event.outcome) {
                return (Some(tree.exec(key, (**image).clone(), event.time)), None);
            }
            let refused = tree
                .get(key)
                .map(|node| node.running((**image).clone(), event.time));
            (Some(key), refused)
        }
        _ => (tree.find_or_insert(event.pid), None),
    }
}

/// Brings the tree to where it is after the event. Ids change only now, so that a rule sees
/// both those before (`process.uid`) and those after (`setuid.uid`).
pub(super) fn after(tree: &mut ProcessTree, key: Key, event: &Event) {
    if !took_effect(event.outcome) {
        return;
    }
    match &event.kind {
        EventKind::Exit(_) => tree.end(key, event.time),
        EventKind::SetUid(ids) | EventKind::SetGid(ids) => {
            tree.set_credentials(key, (**ids).clone())
        }
        EventKind::Capset {
            effective,
            permitted,
        } => {
            tree.set_capabilities(key, *effective, *permitted);
        }
        EventKind::Prctl {
            option: PR_SET_NAME,
            name,
            ..
        } if event.tid == event.pid => {
            tree.rename(key, kept_name(name));
        }
        _ => {}
    }
}

/// The process that an event is aimed at, where it is aimed at one.
pub(super) fn target_pid(kind: &EventKind, own_pid: u32) -> Option<u32> {
    let own_if_zero = |pid: u32| if pid == 0 { own_pid } else { pid };
    match kind {
        EventKind::Signal { target, .. } => match *target {
            0 => Some(own_pid),
            target => u32::try_from(target).ok(),
        },
        EventKind::SetRlimit { target, .. }
        | EventKind::Ptrace { target, .. }
        | EventKind::MemoryWrite { target }
        | EventKind::TakeDescriptor { target, .. } => Some(own_if_zero(*target)),
        _ => None,
    }
}
