//! What `/proc/PID/stat` says.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use picket_events::Credentials;

use crate::sys::{Errno, Result, files, process};

/// What `/proc/PID/stat` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) comm: String,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    /// Device number of the controlling terminal, 0 for none.
    pub(crate) terminal: u32,
    /// It runs a program that it has executed itself, not what it had from its parent.
    pub(crate) has_executed: bool,
    /// Start, in clock ticks since boot.
    pub(crate) started: u64,
    /// Raw wait status of a process that ended and was not reaped yet.
    pub(crate) exit_status: i32,
    /// Where its arguments and its environment are; `None` where we may not know.
    pub(crate) strings: Option<Strings>,
}

/// Where the kernel put the strings that a program was started with. The environment stands
/// behind the arguments, and the name that was executed behind both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Strings {
    pub(crate) arguments: u64,
    pub(crate) environment: u64,
    pub(crate) end: u64,
}

/// Stat of a process.
pub(crate) fn stat(pid: u32) -> Result<Stat> {
    OpenStat::of(pid)?.read()
}

/// The same with what the kernel tells only those who may look into the process: its strings and its
/// exit status. It leaves them out for others instead of refusing.
pub(crate) fn stat_as_tracee(pid: u32, credentials: &Credentials) -> Result<Stat> {
    OpenStat::of(pid)?.read_as_tracee(credentials)
}

/// Stat of a process that is read again soon: its program may have become another meanwhile.
#[derive(Debug)]
pub(crate) struct OpenStat(OwnedFd);

impl OpenStat {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = CString::new(format!("/proc/{pid}/stat")).unwrap_or_default();
        files::open(&path, libc::O_RDONLY, 0).map(Self)
    }

    /// As it is now.
    pub(crate) fn read(&self) -> Result<Stat> {
        let mut text = [0; 4096];
        let length = files::read_at(self.0.as_fd(), &mut text, 0)?;
        parse_stat(&text[..length]).ok_or(Errno(libc::ESRCH))
    }

    /// As [`stat_as_tracee`].
    pub(crate) fn read_as_tracee(&self, credentials: &Credentials) -> Result<Stat> {
        let (uid, gid) = (credentials.uid, credentials.gid);
        match self.read()? {
            stat if stat.strings.is_none() && (uid, gid) != process::effective_ids() => {
                process::with_file_system_ids(uid, gid, || self.read())
            }
            stat => Ok(stat),
        }
    }
}

/// `PF_FORKNOEXEC` of `linux/sched.h`: set for each process that is made, and taken away by its first
/// exec that succeeds, and by nothing else.
const FORKED_ONLY: u32 = 0x40;

/// What a `stat` says.
pub(crate) fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    // The name stands in parentheses and may itself hold any byte, parentheses included.
    let open = bytes.iter().position(|byte| *byte == b'(')?;
    let close = bytes.iter().rposition(|byte| *byte == b')')?;
    let comm = picket_events::text::from_bytes(bytes.get(open + 1..close)?);
    let rest = bytes.get(close + 2..)?.trim_ascii_end();
    // Fields are numbered from 1 in proc(5); the first behind the name is number 3.
    let mut fields = (3..).zip(rest.split(|byte| *byte == b' '));
    let mut field = |wanted: u32| {
        let found = fields.find(|(number, _)| *number == wanted);
        found.and_then(|(_, text)| decimal(text))
    };
    // In their order, for each look goes on where the one before has ended.
    Some(Stat {
        comm,
        parent: field(4)?.try_into().ok()?,
        session: field(6)?.max(0) as u32,
        terminal: field(7)? as u32,
        has_executed: field(9)? & i64::from(FORKED_ONLY) == 0,
        started: field(22)?.try_into().ok()?,
        strings: strings([48, 49, 50, 51].map(|number| field(number).unwrap_or(0) as u64)),
        exit_status: field(52).unwrap_or(0) as i32,
    })
}

/// A number that fits, with or without a sign.
fn decimal(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let number = digits.iter().try_fold(0i64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    let number = number.filter(|_| !digits.is_empty())?;
    Some(if is_negative { -number } else { number })
}

/// From where arguments start and end, and the environment does.
fn strings([start, end, after, last]: [u64; 4]) -> Option<Strings> {
    let is_in_order = start != 0 && start <= end && end == after && after <= last;
    is_in_order.then_some(Strings {
        arguments: start,
        environment: after,
        end: last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::{state, terminal_name};

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let line = b"12 (a) b) S 3 4 5 34816 0 0 0 0 0 0 0 0 0 0 0 0 0 0 99 0";
        let stat = parse_stat(line).unwrap();
        assert_eq!(
            (stat.comm.as_str(), stat.parent, stat.session),
            ("a) b", 3, 5)
        );
        assert_eq!((stat.started, stat.has_executed), (99, true));
        let forked = parse_stat(b"12 (sh) S 3 4 5 0 0 4194368 0 0 0 0 0 0 0 0 0 0 0 0 0 99 0");
        assert!(!forked.unwrap().has_executed);
        assert_eq!(terminal_name(stat.terminal), "pts/0");
        assert_eq!(state(line), Some(b'S'));
    }
}
