//! Second step, as process 1 of the container: root file system, identity, program.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::{Container, SandboxError, Step, map_ids, root};

/// Becomes the container's program; returns only an error. `mapped` says that the caller is
/// root only in a user name space of ours.
pub(super) fn init(container: &Container, mapped: bool) -> Result<Infallible, SandboxError> {
    prctl::set_pdeathsig(Signal::SIGKILL).step(|| "bind to the parent".into())?;
    SigSet::empty()
        .thread_set_mask()
        .step(|| "unblock signals".into())?;
    root::make(container)?;
    if mapped {
        become_mapped_user(container)?
    } else {
        become_user(container)?
    };
    prctl::set_no_new_privs().step(|| "set no_new_privs".into())?;
    let (program, arguments) = container
        .argv
        .split_first()
        .ok_or(std::io::ErrorKind::InvalidInput)
        .step(|| format!("container {} has no command", container.name))?;
    let error = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&container.env)
        .current_dir(
            container
                .working_directory
                .as_deref()
                .unwrap_or("/".as_ref()),
        )
        .exec();
    Err(error).step(|| format!("run {program} in container {}", container.name))
}

/// Leaving uid 0 empties the capability sets.
fn become_user(container: &Container) -> Result<(), SandboxError> {
    let (uid, gid) = (Uid::from_raw(container.uid), Gid::from_raw(container.gid));
    setgroups(&[gid]).step(|| "drop groups".into())?;
    setresgid(gid, gid, gid).step(|| format!("become group {gid}"))?;
    setresuid(uid, uid, uid).step(|| format!("become user {uid}"))
}

/// Without privilege one id can be mapped, and mounting took it as 0; a second user name space
/// within shows it as the container's. The next exec empties the capability sets.
fn become_mapped_user(container: &Container) -> Result<(), SandboxError> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| SandboxError::NameSpaces {
        what: "a user name space within one",
        source: errno.into(),
    })?;
    map_ids((container.uid, container.gid), (0, 0))
}
