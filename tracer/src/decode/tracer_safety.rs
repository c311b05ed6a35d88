//! Calls by which one process reaches for another: reported, and refused when aimed at the
//! tracer itself.

use picket_events::EventKind;

use super::spaces::{Id, here};
use super::{Call, Verdict, file_of, network};
use crate::confirm::{self, Check};
use crate::proc;
use crate::resolve::View;
use crate::sys::process;
use crate::table::DUPLICATE;

fn watch(kind: EventKind) -> Verdict {
    Verdict::Watch(kind, Check::Nothing)
}

/// Signals that the keeper passes on to the application when they are sent to it.
fn is_forwarded(signal: u32) -> bool {
    !matches!(signal as i32, libc::SIGKILL | libc::SIGSTOP | libc::SIGCHLD)
}

/// A signal sent to one process.
fn send(call: &Call<'_>, target: u32, signal: u32) -> Verdict {
    // What is sent to the keeper reaches the application: `kill 1` in a container means the
    // program that the container is for.
    let is_passed_on = target == call.own.keeper && is_forwarded(signal);
    if signal != 0 && call.own.is(target) && !is_passed_on {
        return Verdict::tampering();
    }
    if signal == 0 {
        return Verdict::Pass;
    }
    watch(EventKind::Signal {
        signal,
        target: target as i32,
    })
}

/// `kill`, `tkill`, `rt_sigqueueinfo`: target first, signal second.
pub(crate) fn kill(call: &Call<'_>) -> Verdict {
    let (target, signal) = (call.int(0), call.word(1));
    match target {
        1.. => send(call, here(call, Id::Process, target as u32), signal),
        0 | -1 | i32::MIN => signal_to(signal, target),
        // The worker leads a group of its own: nobody else can be meant.
        _ => match here(call, Id::Group, target.unsigned_abs()) {
            group if call.own.leads(group) => Verdict::tampering(),
            group => signal_to(signal, -(group as i32)),
        },
    }
}

/// To a group, or to everybody (which leaves out the sender, and process 1). SIGKILL and SIGSTOP to
/// a group that has the keeper in it would hit the keeper too, as they hit a shell in the same group;
/// that is what was asked for.
fn signal_to(signal: u32, target: i32) -> Verdict {
    match signal {
        0 => Verdict::Pass,
        _ => watch(EventKind::Signal { signal, target }),
    }
}

/// `tgkill`, `rt_tgsigqueueinfo`: group, thread, signal.
pub(crate) fn tgkill(call: &Call<'_>) -> Verdict {
    send(call, here(call, Id::Process, call.word(0)), call.word(2))
}

/// The process that a pidfd of the caller's is for, or that a process's folder in `/proc` is, which
/// the kernel takes in a pidfd's place; `None` where it has ended or cannot be seen.
fn process_behind(call: &Call<'_>, pidfd: i32) -> Option<u32> {
    /// `PIDFD_SELF_THREAD`, `PIDFD_SELF_THREAD_GROUP` of `linux/pidfd.h`; the latter as Linux 6.14 had it, and
    /// as it is since.
    const OWN: [i32; 3] = [-10_000, -20_000, -10_001];
    if OWN.contains(&pidfd) {
        return Some(call.process.pid);
    }
    told_by_pidfd(call, pidfd).or_else(|| told_by_folder(call, pidfd))
}

/// The process whose folder in `/proc` a descriptor is for. The file system may be another process
/// id name space's, in which another process has that id: that it is the same one shows from when
/// it was started.
fn told_by_folder(call: &Call<'_>, descriptor: i32) -> Option<u32> {
    let path = format!("/proc/{}/fd/{descriptor}/stat", call.tid);
    let text = proc::as_tracee(&call.process.credentials, || proc::read(&path, 4096)).ok()?;
    let digits = text.split(|byte| !byte.is_ascii_digit()).next()?;
    let pid = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let started = proc::parse_stat(&text)?.started;
    (proc::stat(pid).ok()?.started == started).then_some(pid)
}

fn told_by_pidfd(call: &Call<'_>, pidfd: i32) -> Option<u32> {
    let path = format!("/proc/{}/fdinfo/{pidfd}", call.tid);
    let info = proc::as_tracee(&call.process.credentials, || proc::read(&path, 1024)).ok()?;
    String::from_utf8_lossy(&info)
        .lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        .filter(|pid| *pid > 0)
}

pub(crate) fn pidfd_send_signal(call: &Call<'_>) -> Verdict {
    /// `PIDFD_SIGNAL_PROCESS_GROUP` of `linux/pidfd.h`: to the group that the process leads.
    const TO_GROUP: u32 = 4;
    match process_behind(call, call.int(0)) {
        Some(pid) => match send(call, pid, call.word(1)) {
            Verdict::Watch(_, _) if call.word(3) & TO_GROUP != 0 => watch(EventKind::Signal {
                signal: call.word(1),
                target: -(pid as i32),
            }),
            verdict => verdict,
        },
        None => watch(EventKind::Signal {
            signal: call.word(1),
            target: 0,
        }),
    }
}

pub(crate) fn ptrace(call: &Call<'_>) -> Verdict {
    const TRACEME: u32 = 0;
    let request = call.word(0);
    let target = match request {
        TRACEME => 0,
        _ => here(call, Id::Process, call.word(1)),
    };
    if call.own.is(target) {
        return Verdict::tampering();
    }
    watch(EventKind::Ptrace { request, target })
}

pub(crate) fn process_vm_writev(call: &Call<'_>) -> Verdict {
    let target = here(call, Id::Process, call.word(0));
    if call.own.is(target) {
        return Verdict::tampering();
    }
    watch(EventKind::MemoryWrite { target })
}

/// `pidfd_getfd`: the tracer's descriptors are its own.
pub(crate) fn pidfd_getfd(call: &Call<'_>) -> Verdict {
    let target = process_behind(call, call.int(0)).unwrap_or(0);
    if call.own.is(target) {
        return Verdict::tampering();
    }
    let view = View {
        pid: target,
        tid: target,
        ..call.view()
    };
    let wanted = view.descriptor(call.int(1));
    let is_socket = wanted.path.starts_with(b"socket:");
    // One that the caller has already shows nothing.
    let is_new = !wanted.path.is_empty() && !confirm::has_descriptor(&call.view(), &wanted);
    let kind = EventKind::TakeDescriptor {
        target,
        file: file_of(&wanted, call.mounts),
        is_socket,
    };
    match is_new {
        true => Verdict::Watch(kind, Check::Descriptor(wanted.path)),
        false => watch(kind),
    }
}

/// Whether a process, or a group given as a negative id, is the tracer's.
fn reaches_us(call: &Call<'_>, target: i32) -> bool {
    match target {
        1.. => {
            let is_named = call.own.is(target as u32);
            is_named && call.own.is(here(call, Id::Process, target as u32))
        }
        // The worker leads a group of its own; the keeper's group is also the application's,
        // which may well want its signals.
        _ => {
            let is_named = call.own.leads(target.unsigned_abs());
            is_named && call.own.leads(here(call, Id::Group, target.unsigned_abs()))
        }
    }
}

/// `fcntl`: what becomes standard input, output or error, and whom a descriptor sends signals to.
pub(crate) fn fcntl(call: &Call<'_>) -> Verdict {
    match DUPLICATE.contains(&call.word(1)) {
        true => network::duplicate(call, call.word(2)),
        false => set_owner(call),
    }
}

/// `fcntl(F_SETOWN)`, `fcntl(F_SETOWN_EX)`: signals about a descriptor go to whom it names.
fn set_owner(call: &Call<'_>) -> Verdict {
    const SET_OWNER: i32 = 8;
    let owner = if call.int(1) == SET_OWNER {
        call.int(2)
    } else {
        let mut owner = [0u8; 8];
        if call.read(call.address(2), &mut owner).is_err() {
            return Verdict::Pass;
        }
        i32::from_ne_bytes([owner[4], owner[5], owner[6], owner[7]])
    };
    if reaches_us(call, owner) {
        Verdict::tampering()
    } else {
        Verdict::Pass
    }
}

/// `ioctl(FIOSETOWN)`, `ioctl(SIOCSPGRP)`.
pub(crate) fn ioctl_owner(call: &Call<'_>) -> Verdict {
    let mut owner = [0u8; 4];
    if call.read(call.address(2), &mut owner).is_err() {
        return Verdict::Pass;
    }
    if reaches_us(call, i32::from_ne_bytes(owner)) {
        Verdict::tampering()
    } else {
        Verdict::Pass
    }
}

/// Whether a call that is about the processes of a process, group or user, as `which` says, reaches us.
fn priority_of(call: &Call<'_>, users: i32) -> Verdict {
    let (which, who) = (call.int(0), call.int(1));
    let is_about_us = if which == users {
        // 0 is the caller's own; in a user name space of its own ours may have any number.
        let ours = process::real_ids().0;
        let caller = &call.process.credentials;
        [caller.uid, caller.euid, who as u32].contains(&ours)
    } else {
        reaches_us(call, who)
    };
    if is_about_us {
        Verdict::tampering()
    } else {
        Verdict::Pass
    }
}

/// `setpriority(which, who)`.
pub(crate) fn priority(call: &Call<'_>) -> Verdict {
    priority_of(call, PRIO_USER)
}

/// `PRIO_USER`, the processes of a user as whom `setpriority` is about.
pub(crate) const PRIO_USER: i32 = 2;

/// `ioprio_set(which, who)`.
pub(crate) fn io_priority(call: &Call<'_>) -> Verdict {
    priority_of(call, IOPRIO_WHO_USER)
}

/// The same for `ioprio_set`.
pub(crate) const IOPRIO_WHO_USER: i32 = 3;

/// `sched_set…(pid)`.
pub(crate) fn scheduling(call: &Call<'_>) -> Verdict {
    if reaches_us(call, call.int(0)) {
        Verdict::tampering()
    } else {
        Verdict::Pass
    }
}
