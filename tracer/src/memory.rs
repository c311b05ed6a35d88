//! Reading a tracee's memory through `/proc/TID/mem`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use picket_events::Credentials;

use crate::sys::{Errno, Result, files};

/// Longest path the kernel takes, its end included.
pub(crate) const PATH_MAX: usize = 4096;

const PAGE: u64 = 4096;

/// One address space, opened.
#[derive(Debug)]
pub(crate) struct Memory(OwnedFd);

impl Memory {
    /// Opens the address space of a thread.
    pub(crate) fn open(tid: u32, credentials: &Credentials) -> Result<Self> {
        let path = std::ffi::CString::new(format!("/proc/{tid}/mem")).unwrap_or_default();
        crate::proc::as_tracee(credentials, || files::open(&path, libc::O_RDONLY, 0)).map(Self)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Fills the buffer from an address.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> Result<()> {
        match files::read_at(self.fd(), buffer, address)? {
            got if got == buffer.len() => Ok(()),
            _ => Err(Errno(libc::EFAULT)),
        }
    }

    /// Reads from an address on, as far as there is something; gives how much.
    pub(crate) fn read_some(&self, address: u64, buffer: &mut [u8]) -> Result<usize> {
        files::read_at(self.fd(), buffer, address)
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
            let got = files::read_at(self.fd(), &mut chunk[..room], at)?;
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

    /// A path.
    pub(crate) fn path(&self, address: u64) -> Result<Vec<u8>> {
        match self.string(address, PATH_MAX)? {
            (_, true) => Err(Errno(libc::ENAMETOOLONG)),
            (path, false) => Ok(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Memory {
        Memory::open(std::process::id(), &Credentials::default()).unwrap()
    }

    #[test]
    fn strings_end_at_their_zero_or_at_the_limit() {
        let memory = own();
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

    #[test]
    fn unmapped_memory_is_an_error() {
        assert!(own().string(0, 10).is_err());
        assert!(own().string(8, 10).is_err());
    }
}
