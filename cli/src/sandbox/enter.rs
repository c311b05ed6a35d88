//! First step: new name spaces, then wait for the container and pass signals on to it.

use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid};

use super::{Container, SandboxError, Step, map_ids};

/// Runs the container to its end and returns its exit code (128 + signal if one killed it).
pub(super) fn enter(container: &Container, specification: &Path) -> Result<ExitCode, SandboxError> {
    let (uid, gid) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if !uid.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(|errno| SandboxError::NameSpaces {
        what: "mount and PID name spaces",
        source: errno.into(),
    })?;
    let stage = if uid.is_root() {
        "init"
    } else {
        map_ids((0, 0), (uid.as_raw(), gid.as_raw()))?;
        "init-mapped"
    };

    // Blocked before the child exists, so that no signal is lost between the two.
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        signals.add(signal);
    }
    signals.thread_block().step(|| "block signals".into())?;
    let child = Command::new("/proc/self/exe")
        .args(["sandbox", stage])
        .arg(specification)
        .spawn()
        .step(|| format!("start container {}", container.name))?;
    wait(Pid::from_raw(child.id() as i32), &signals)
}

fn wait(child: Pid, signals: &SigSet) -> Result<ExitCode, SandboxError> {
    loop {
        let signal = signals.wait().step(|| "wait for a signal".into())?;
        if signal != Signal::SIGCHLD {
            // A child that is gone is found by waitpid below, on its SIGCHLD.
            let _ = kill(child, signal);
            continue;
        }
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).step(|| "wait for the container".into())? {
            WaitStatus::Exited(_, code) => return Ok(ExitCode::from(code as u8)),
            WaitStatus::Signaled(_, signal, _) => return Ok(ExitCode::from(128 + signal as u8)),
            _ => {}
        }
    }
}
