//! The system call layer: every line of `unsafe` in the tracer is below this module.
//!
//! Functions here do one system call each, take and give safe types, and report failure as
//! [`Errno`]. They allocate nothing, so that the keeper can use all of them.

#![allow(unsafe_code)]

pub(crate) mod acting;
pub(crate) mod alarm;
#[cfg(all(target_arch = "x86_64", any(test, target_env = "musl")))]
mod copy;
pub(crate) mod files;
pub(crate) mod handed;
pub(crate) mod heap;
pub(crate) mod inherited;
pub(crate) mod memory;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod ptrace;
pub(crate) mod seccomp;
pub(crate) mod shared;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod stored;
pub(crate) mod watch;

use std::fmt;

/// A positive error number from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

/// What a system call gave.
pub(crate) type Result<T> = std::result::Result<T, Errno>;

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        // The standard library appends " (os error N)", which tells a user nothing.
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// The calling thread's last error.
fn last() -> Errno {
    Errno::from(std::io::Error::last_os_error())
}

/// Turns the C convention (-1 and errno) into a result.
fn check(value: libc::c_long) -> Result<libc::c_long> {
    if value == -1 { Err(last()) } else { Ok(value) }
}
