//! `probe`: what this kernel and sandbox allow.

use std::os::fd::AsFd;
use std::process::ExitCode;

use crate::config;
use crate::sys::watch::Watcher;
use crate::sys::{Errno, files, poll, process, ptrace, seccomp};

/// One thing that was tried.
struct Finding {
    name: &'static str,
    /// What it is for.
    meaning: &'static str,
    result: Result<(), Errno>,
    /// What does not work without it.
    needed_for: Needed,
}

/// What something is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    Both,
    Notification,
    Ptrace,
    Nothing,
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
    let mut listener = seccomp::install(&[allow], 0);
    if listener.is_err() {
        process::set_no_new_privs()?;
        listener = seccomp::install(&[allow], 0);
    }
    seccomp::can_ask(listener?.as_fd())
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

/// Runs a child whose one call of interest stops for us, as the ptrace engine does.
fn ptrace_engine() -> Result<(), Errno> {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 6;
    let instruction = |code, jump_false, k| seccomp::Instruction {
        code,
        jump_true: 0,
        jump_false,
        k,
    };
    let program = [
        instruction(LOAD_NUMBER, 0, 0),
        instruction(JUMP_EQUAL, 1, libc::SYS_getppid as u32),
        instruction(RETURN, 0, seccomp::RETURN_TRACE),
        instruction(RETURN, 0, seccomp::RETURN_ALLOW),
    ];
    let child = match process::fork(false)? {
        process::Side::Child => {
            // Long enough to be seized.
            std::thread::sleep(std::time::Duration::from_millis(50));
            let installed = process::set_no_new_privs()
                .and_then(|()| seccomp::install_quietly(&program))
                .err();
            process::parent_pid();
            process::exit(installed.map_or(0, |errno| errno.0))
        }
        process::Side::Parent(pid) => pid as u32,
    };
    let mut result = ptrace::seize(child, ptrace::FOLLOW);
    let mut has_stopped = false;
    while let Some(change) = process::await_change() {
        if change.ended() {
            let errno = (change.status >> 8) & 0xff;
            if result.is_ok() && (errno != 0 || !has_stopped) {
                let errno = if errno == 0 { libc::EINVAL } else { errno };
                result = Err(Errno(errno));
            }
            break;
        }
        if ptrace::stop_of(change.status) == ptrace::Stop::Call {
            has_stopped = true;
            result = ptrace::call(child).map(drop);
        }
        let _ = ptrace::resume(child, 0);
    }
    result
}

fn findings() -> Vec<Finding> {
    let own = format!("/proc/{}/mem", process::own_pid());
    let own = std::ffi::CString::new(own).unwrap_or_default();
    let try_it = |name, meaning, needed_for, result| Finding {
        name,
        meaning,
        result,
        needed_for,
    };
    vec![
        try_it(
            "user_notification",
            "the engine",
            Needed::Notification,
            seccomp::has_notifications(),
        ),
        try_it(
            "install",
            "installing the filter",
            Needed::Notification,
            in_child(install_filter),
        ),
        try_it(
            "descriptors",
            "parting ours from the application's",
            Needed::Notification,
            process::unshare_files(),
        ),
        try_it(
            "waiting",
            "being told of the end of a child",
            Needed::Both,
            process::can_wait(),
        ),
        try_it(
            "memory",
            "reading arguments through /proc/PID/mem",
            Needed::Both,
            files::open(&own, libc::O_RDONLY, 0).map(drop),
        ),
        try_it(
            "pidfd",
            "being told of the end of a process",
            Needed::Both,
            process::open_pidfd(process::own_pid()).map(drop),
        ),
        try_it(
            "ptrace",
            "exact confirmation of execs",
            Needed::Nothing,
            in_child(trace_child),
        ),
        try_it(
            "ptrace_engine",
            "the second engine",
            Needed::Ptrace,
            in_child(ptrace_engine),
        ),
        try_it(
            "openat2",
            "following paths as the kernel does",
            Needed::Nothing,
            files::open_path(files::AT_FDCWD, c"/", true, files::IN_ROOT).map(drop),
        ),
        try_it(
            "inotify",
            "seeing reads without stopping for them",
            Needed::Nothing,
            Watcher::new().map(drop),
        ),
        try_it(
            "spec_allow",
            "no slower application before Linux 5.16",
            Needed::Nothing,
            flag(seccomp::knows_flag(seccomp::SPEC_ALLOW)),
        ),
        try_it(
            "wait_killable",
            "fewer interrupted calls (Linux 5.19)",
            Needed::Nothing,
            flag(seccomp::knows_flag(
                seccomp::NEW_LISTENER | seccomp::WAIT_KILLABLE_RECV,
            )),
        ),
        try_it(
            "sync_wake_up",
            "wake-up on the same core (Linux 6.6)",
            Needed::Nothing,
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
    flag(seccomp::wake_here(listener.as_fd(), true))
}

/// The engine that would be taken.
fn engine(findings: &[Finding]) -> Option<Needed> {
    let works = |engine: Needed| {
        findings
            .iter()
            .filter(|finding| [Needed::Both, engine].contains(&finding.needed_for))
            .all(|finding| finding.result.is_ok())
    };
    [Needed::Notification, Needed::Ptrace]
        .into_iter()
        .find(|engine| works(*engine))
}

/// Prints the findings; fails when no engine can run.
pub(crate) fn run(json: bool) -> ExitCode {
    let _ = poll::now();
    let findings = findings();
    let engine = engine(&findings);
    if json {
        print_json(&findings, engine);
    } else {
        print_text(&findings, engine);
    }
    if engine.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_text(findings: &[Finding], engine: Option<Needed>) {
    let engine = match engine {
        Some(Needed::Ptrace) => "ptrace",
        Some(_) => "seccomp user notification",
        None => "none, programs run untraced",
    };
    println!("engine: {engine}");
    if let Some(scope) = config::yama_scope() {
        println!("Yama's ptrace_scope: {scope}");
    }
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
fn print_json(findings: &[Finding], engine: Option<Needed>) {
    let engine = match engine {
        Some(Needed::Ptrace) => "\"ptrace\"",
        Some(_) => "\"user_notification\"",
        None => "null",
    };
    let yama = config::yama_scope().map_or("null".to_owned(), |scope| scope.to_string());
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
        "{{\"engine\":{engine},\"yama_scope\":{yama},\"no_new_privs\":{},\"features\":{{{}}}}}",
        process::no_new_privs(),
        all.join(",")
    );
}
