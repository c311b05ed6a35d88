//! Starting the application: looking its program up as `execvp` does.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::memory::PATH_MAX;
use crate::sys::{Errno, files, process};

/// Where programs are looked for without `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/bin:/usr/bin";

/// Exit code for a program that was not found.
const NOT_FOUND: i32 = 127;
/// Exit code for a program that was found and could not be run.
const NOT_RUNNABLE: i32 = 126;

fn c_string(text: &OsStr) -> CString {
    CString::new(text.as_bytes()).unwrap_or_default()
}

/// Replaces this process by the command. Returns only on failure, with the code that a shell
/// would give, after telling why on standard error.
pub(crate) fn execute(command: &[OsString]) -> i32 {
    let Some(name) = command.first() else {
        return NOT_FOUND;
    };
    let errno = try_all(name, command);
    let text = format!("picket-tracer: {}: {errno}\n", name.to_string_lossy());
    files::write_raw(2, text.as_bytes());
    if matches!(errno, Errno(libc::ENOENT | libc::ENOTDIR)) {
        NOT_FOUND
    } else {
        NOT_RUNNABLE
    }
}

fn try_all(name: &OsStr, command: &[OsString]) -> Errno {
    let arguments: Vec<CString> = command.iter().map(|argument| c_string(argument)).collect();
    if name.is_empty() {
        return Errno(libc::ENOENT);
    }
    if name.as_bytes().contains(&b'/') {
        return run(&c_string(name), &arguments);
    }
    let path = std::env::var_os("PATH");
    let path = path.as_deref().map_or(DEFAULT_PATH, OsStr::as_bytes);
    let mut result = Errno(libc::ENOENT);
    for directory in path.split(|byte| *byte == b':') {
        // Nor does execvp try these.
        if directory.len() >= PATH_MAX {
            continue;
        }
        let directory = if directory.is_empty() {
            b".".as_slice()
        } else {
            directory
        };
        let candidate = [directory, b"/", name.as_bytes()].concat();
        match run(&CString::new(candidate).unwrap_or_default(), &arguments) {
            // One that may not be run is told of only if there is no other.
            Errno(libc::EACCES) => result = Errno(libc::EACCES),
            Errno(libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT) => {
            }
            other => return other,
        }
    }
    result
}

fn run(path: &CString, arguments: &[CString]) -> Errno {
    let mut all: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    all.push(std::ptr::null());
    let errno = process::execute(path, &all);
    if errno != Errno(libc::ENOEXEC) {
        return errno;
    }
    // Without a `#!` line it is a script for the shell, says execvp.
    let shell = c"/bin/sh";
    let mut script = vec![shell.as_ptr(), path.as_ptr()];
    script.extend(arguments.iter().skip(1).map(|argument| argument.as_ptr()));
    script.push(std::ptr::null());
    process::execute(shell, &script)
}
