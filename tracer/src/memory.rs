//! Reading a tracee's memory, through `/proc/TID/mem` or for once without it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use picket_events::Credentials;

use crate::sys::{Errno, Result, files, memory, process};

/// Longest path the kernel takes, its end included.
pub(crate) const PATH_MAX: usize = 4096;

const PAGE: u64 = 4096;

/// One address space.
#[derive(Debug)]
pub(crate) enum Memory {
    /// Opened: stays readable whatever ids the process takes on later.
    Opened(OwnedFd),
    /// That of a thread at the moment of each reading. Opening and closing it costs more than
    /// reading a path does, so where little is read it is not opened.
    Passing {
        /// The thread.
        tid: u32,
        /// Its ids, for where it has to be opened after all.
        credentials: Credentials,
    },
}

/// The sandbox that we are in does not let us read memory that was not opened.
static IS_REFUSED: AtomicBool = AtomicBool::new(false);

impl Memory {
    /// Opens the address space of a thread.
    pub(crate) fn open(tid: u32, credentials: &Credentials) -> Result<Self> {
        open(tid, credentials).map(Self::Opened)
    }

    /// The address space of a thread, to be read once or twice.
    pub(crate) fn passing(tid: u32, credentials: &Credentials) -> Self {
        let credentials = credentials.clone();
        Self::Passing { tid, credentials }
    }

    /// Reads from an address on, as far as there is something; gives how much.
    pub(crate) fn read_some(&self, address: u64, buffer: &mut [u8]) -> Result<usize> {
        let (tid, credentials) = match self {
            Self::Opened(file) => return files::read_at(file.as_fd(), buffer, address),
            Self::Passing { tid, credentials } => (*tid, credentials),
        };
        let refusal = match IS_REFUSED.load(Ordering::Relaxed) {
            true => Errno(libc::ENOSYS),
            false => match memory::read_of(tid, buffer, address) {
                Err(refusal @ Errno(libc::EPERM | libc::ENOSYS)) => refusal,
                other => return other,
            },
        };
        let file = open(tid, credentials)?;
        // Refused although it is our own user's, and can be opened: it is the call that is refused.
        let is_our_users = (credentials.uid, credentials.gid) == process::effective_ids();
        if refusal == Errno(libc::ENOSYS) || is_our_users {
            IS_REFUSED.store(true, Ordering::Relaxed);
        }
        files::read_at(file.as_fd(), buffer, address)
    }

    /// Fills the buffer from an address.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> Result<()> {
        match self.read_some(address, buffer)? {
            got if got == buffer.len() => Ok(()),
            _ => Err(Errno(libc::EFAULT)),
        }
    }

    /// A string that ends with a zero byte, which is left out; at most `limit` bytes. True
    /// when the limit cut it.
    pub(crate) fn string(&self, address: u64, limit: usize) -> Result<(Vec<u8>, bool)> {
        if address == 0 {
            return Err(Errno(libc::EFAULT));
        }
        let mut text = Vec::new();
        let mut chunk = [0u8; 512];
        while text.len() < limit {
            let at = address + text.len() as u64;
            // Never over the end of a page: the next one may not be there.
            let room = (PAGE - at % PAGE).min((limit - text.len()) as u64).min(512) as usize;
            let got = self.read_some(at, &mut chunk[..room])?;
            if got == 0 {
                return Err(Errno(libc::EFAULT));
            }
            match chunk[..got].iter().position(|byte| *byte == 0) {
                Some(end) => {
                    text.extend_from_slice(&chunk[..end]);
                    return Ok((text, false));
                }
                None => text.extend_from_slice(&chunk[..got]),
            }
        }
        Ok((text, true))
    }

    /// Strings that end with a zero byte each, which is kept, one after the other; `None` where
    /// one cannot be read, or they are longer than `limit` together.
    pub(crate) fn strings(&self, addresses: &[u64], limit: usize) -> Option<Vec<u8>> {
        /// Of each string, at first.
        const PIECE: u64 = 128;
        let mut all = Vec::new();
        let mut buffer = [0u8; PIECE as usize * memory::PIECES_MAX];
        for addresses in addresses.chunks(memory::PIECES_MAX) {
            // Never over the end of a page: the next one may not be there.
            let length = |at: &u64| (PAGE - at % PAGE).min(PIECE) as usize;
            let pieces = addresses.iter().map(|at| (*at, length(at)));
            let mut got = match self {
                Self::Passing { tid, .. } if !IS_REFUSED.load(Ordering::Relaxed) => {
                    let length = memory::read_pieces(*tid, &mut buffer, pieces).unwrap_or(0);
                    &buffer[..length]
                }
                _ => &[],
            };
            for at in addresses {
                let (piece, rest) = got.split_at(length(at).min(got.len()));
                got = rest;
                match piece.iter().position(|byte| *byte == 0) {
                    Some(end) => all.extend_from_slice(&piece[..=end]),
                    None => {
                        let (text, is_cut) = self.string(*at, limit).ok()?;
                        all.extend_from_slice(&text);
                        all.push(0);
                        if is_cut {
                            return None;
                        }
                    }
                }
                if all.len() > limit {
                    return None;
                }
            }
        }
        Some(all)
    }

    /// A path.
    pub(crate) fn path(&self, address: u64) -> Result<Vec<u8>> {
        match self.string(address, PATH_MAX)? {
            (_, true) => Err(Errno(libc::ENAMETOOLONG)),
            (path, false) => Ok(path),
        }
    }
}

fn open(tid: u32, credentials: &Credentials) -> Result<OwnedFd> {
    let path = std::ffi::CString::new(format!("/proc/{tid}/mem")).unwrap_or_default();
    crate::proc::as_tracee(credentials, || files::open(&path, libc::O_RDONLY, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Memory {
        Memory::open(std::process::id(), &Credentials::default()).unwrap()
    }

    fn both_ways() -> [Memory; 2] {
        let passing = Memory::passing(std::process::id(), &Credentials::default());
        [own(), passing]
    }

    #[test]
    fn strings_end_at_their_zero_or_at_the_limit() {
        for memory in both_ways() {
            let text = std::ffi::CString::new("x".repeat(9000)).unwrap();
            let address = text.as_ptr() as u64;
            assert_eq!(
                memory.string(address, 10_000).unwrap(),
                (vec![b'x'; 9000], false)
            );
            assert_eq!(
                memory.string(address, 100).unwrap(),
                (vec![b'x'; 100], true)
            );
            assert_eq!(memory.path(address), Err(Errno(libc::ENAMETOOLONG)));
        }
    }

    #[test]
    fn many_strings_are_read_as_each_is() {
        let long = "y".repeat(3000);
        let texts = (0..150).map(|at| match at % 50 {
            0 => format!("{at}{long}"),
            1 => String::new(),
            _ => format!("word {at}"),
        });
        let texts: Vec<_> = texts
            .map(|text| std::ffi::CString::new(text).unwrap())
            .collect();
        let expected: Vec<u8> = texts
            .iter()
            .flat_map(|text| text.to_bytes_with_nul())
            .copied()
            .collect();
        let addresses: Vec<_> = texts.iter().map(|text| text.as_ptr() as u64).collect();
        for memory in both_ways() {
            assert_eq!(
                memory.strings(&addresses, 64 << 10).as_ref(),
                Some(&expected)
            );
            assert_eq!(memory.strings(&addresses, 1000), None);
            assert_eq!(memory.strings(&[addresses[0], 8], 64 << 10), None);
        }
    }

    #[test]
    fn unmapped_memory_is_an_error() {
        for memory in both_ways() {
            assert!(memory.string(0, 10).is_err());
            assert!(memory.string(8, 10).is_err());
        }
    }

    #[test]
    fn a_reading_ends_where_the_memory_does() {
        // The last page that is mapped: what follows the stack is the kernel's.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.contains("[stack]")).unwrap();
        let range = line.split(' ').next().unwrap();
        let end = u64::from_str_radix(range.split('-').nth(1).unwrap(), 16).unwrap();
        for memory in both_ways() {
            let mut buffer = [0; 8192];
            assert_eq!(memory.read_some(end - 100, &mut buffer), Ok(100));
        }
    }

    #[test]
    fn where_it_is_refused_it_is_opened() {
        IS_REFUSED.store(true, Ordering::Relaxed);
        let text = c"still readable";
        let [_, passing] = both_ways();
        let read = passing.string(text.as_ptr() as u64, 100);
        IS_REFUSED.store(false, Ordering::Relaxed);
        assert_eq!(read.unwrap().0, text.to_bytes());
    }
}
