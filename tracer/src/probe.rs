//! `probe`: what this kernel and sandbox allow.

use std::process::ExitCode;

use crate::sys::{Errno, files, poll, process, ptrace, seccomp};

/// One thing that was tried.
struct Finding {
    name: &'static str,
    /// What it is for.
    meaning: &'static str,
    result: Result<(), Errno>,
    /// Nothing is traced without it.
    required: bool,
}

fn flag(known: bool) -> Result<(), Errno> {
    if known {
        Ok(())
    } else {
        Err(Errno(libc::EINVAL))
    }
}

/// Tries what has to be tried in a process of its own; gives an errno, 0 for success.
fn in_child(work: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    match process::fork(false)? {
        process::Side::Child => process::exit(work().err().map_or(0, |errno| errno.0)),
        process::Side::Parent(_) => loop {
            match process::next_change() {
                Some(change) if change.ended() && change.status & 0x7f == 0 => {
                    let code = (change.status >> 8) & 0xff;
                    return if code == 0 { Ok(()) } else { Err(Errno(code)) };
                }
                // A sandbox may kill for a call that it refuses.
                Some(change) if change.ended() => return Err(Errno(libc::EPERM)),
                _ => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        },
    }
}

fn install_filter() -> Result<(), Errno> {
    let allow = seccomp::Instruction {
        code: 6,
        jump_true: 0,
        jump_false: 0,
        k: seccomp::RETURN_ALLOW,
    };
    if seccomp::install(&[allow], 0).is_ok() {
        return Ok(());
    }
    process::set_no_new_privs()?;
    seccomp::install(&[allow], 0).map(drop)
}

fn trace_child() -> Result<(), Errno> {
    match process::fork(false)? {
        process::Side::Child => {
            std::thread::sleep(std::time::Duration::from_millis(200));
            process::exit(0)
        }
        process::Side::Parent(pid) => {
            let result = ptrace::seize(pid as u32, ptrace::OPTION_EXEC);
            let _ = crate::sys::signals::kill(pid, libc::SIGKILL);
            result
        }
    }
}

fn findings() -> Vec<Finding> {
    let own = format!("/proc/{}/mem", process::own_pid());
    let own = std::ffi::CString::new(own).unwrap_or_default();
    let try_it = |name, meaning, required, result| Finding {
        name,
        meaning,
        result,
        required,
    };
    vec![
        try_it(
            "user_notification",
            "the engine",
            true,
            seccomp::has_notifications(),
        ),
        try_it(
            "install",
            "installing the filter",
            true,
            in_child(install_filter),
        ),
        try_it(
            "memory",
            "reading arguments through /proc/PID/mem",
            true,
            files::open(&own, libc::O_RDONLY, 0).map(drop),
        ),
        try_it(
            "pidfd",
            "being told of the end of a process",
            true,
            process::open_pidfd(process::own_pid()).map(drop),
        ),
        try_it(
            "ptrace",
            "exact confirmation of execs",
            false,
            in_child(trace_child),
        ),
        try_it(
            "openat2",
            "following paths as the kernel does",
            false,
            files::open_path(files::AT_FDCWD, c"/", true, files::IN_ROOT).map(drop),
        ),
        try_it(
            "spec_allow",
            "no slower application before Linux 5.16",
            false,
            flag(seccomp::knows_flag(seccomp::SPEC_ALLOW)),
        ),
        try_it(
            "wait_killable",
            "fewer interrupted calls (Linux 5.19)",
            false,
            flag(seccomp::knows_flag(
                seccomp::NEW_LISTENER | seccomp::WAIT_KILLABLE_RECV,
            )),
        ),
        try_it(
            "sync_wake_up",
            "wake-up on the same core (Linux 6.6)",
            false,
            in_child(sync_wake_up),
        ),
    ]
}

fn sync_wake_up() -> Result<(), Errno> {
    let allow = seccomp::Instruction {
        code: 6,
        jump_true: 0,
        jump_false: 0,
        k: seccomp::RETURN_ALLOW,
    };
    let _ = process::set_no_new_privs();
    let listener = seccomp::install(&[allow], 0)?;
    use std::os::fd::AsFd;
    flag(seccomp::wake_synchronously(listener.as_fd()))
}

/// Prints the findings; fails when the engine cannot run.
pub(crate) fn run(json: bool) -> ExitCode {
    let _ = poll::now();
    let findings = findings();
    let works = findings
        .iter()
        .all(|finding| !finding.required || finding.result.is_ok());
    if json {
        print_json(&findings, works);
    } else {
        print_text(&findings, works);
    }
    if works {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_text(findings: &[Finding], works: bool) {
    println!(
        "engine: {}",
        if works {
            "seccomp user notification"
        } else {
            "none, programs run untraced"
        }
    );
    println!("no_new_privs already set: {}", process::no_new_privs());
    for finding in findings {
        let result = match finding.result {
            Ok(()) => "yes".to_owned(),
            Err(errno) => format!("no ({errno})"),
        };
        println!("{:<18} {:<40} {}", finding.name, finding.meaning, result);
    }
}

/// The names are ours and the numbers are numbers, so nothing needs escaping.
fn print_json(findings: &[Finding], works: bool) {
    let engine = if works {
        "\"user_notification\""
    } else {
        "null"
    };
    let all: Vec<String> = findings
        .iter()
        .map(|finding| match finding.result {
            Ok(()) => format!("\"{}\":{{\"available\":true}}", finding.name),
            Err(errno) => {
                format!(
                    "\"{}\":{{\"available\":false,\"errno\":{}}}",
                    finding.name, errno.0
                )
            }
        })
        .collect();
    println!(
        "{{\"engine\":{engine},\"no_new_privs\":{},\"features\":{{{}}}}}",
        process::no_new_privs(),
        all.join(",")
    );
}
