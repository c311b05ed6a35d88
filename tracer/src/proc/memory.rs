//! What `/proc` tells of a process's memory: what the kernel put there, and what is mapped where.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::read;
use crate::sys::{Errno, Result};

/// Entries of the auxiliary vector that the kernel gave a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Auxiliary {
    /// Address of 16 random bytes, fresh for each exec.
    pub(crate) random: u64,
    /// Address of the file name that was executed.
    pub(crate) file_name: u64,
}

/// The auxiliary vector of a process; `pointer_size` as its ABI has it.
pub(crate) fn auxiliary(pid: u32) -> Result<Auxiliary> {
    let bytes = read(&format!("/proc/{pid}/auxv"), 4096)?;
    // A 32-bit program's entries are 8 bytes; the first key is small, so its size shows.
    let is_64 = bytes.get(4..8).is_none_or(|upper| upper == [0; 4]);
    Ok(if is_64 {
        parse_auxiliary::<8>(&bytes)
    } else {
        parse_auxiliary::<4>(&bytes)
    })
}

fn parse_auxiliary<const SIZE: usize>(bytes: &[u8]) -> Auxiliary {
    let mut found = Auxiliary::default();
    let word = |bytes: &[u8]| {
        let mut value = [0u8; 8];
        value[..SIZE].copy_from_slice(bytes);
        u64::from_le_bytes(value)
    };
    for pair in bytes.chunks_exact(2 * SIZE) {
        match word(&pair[..SIZE]) {
            25 => found.random = word(&pair[SIZE..]),
            31 => found.file_name = word(&pair[SIZE..]),
            _ => {}
        }
    }
    found
}

/// Largest part of a process's list of mappings that is looked through, in bytes: some twenty
/// thousand of them.
const MAX_MAPPINGS: u64 = 2 << 20;

/// Memory that is mapped, as a line such as `7f00-7f20 r-xp 00000000 08:01 1    /lib/x.so` tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    start: u64,
    end: u64,
    /// `PROT_…` bits.
    pub(crate) protection: u32,
    /// Where in its file it begins.
    offset: u64,
    inode: u64,
    /// As the kernel writes it, with the ends of lines escaped; empty where it is of no file.
    path: Vec<u8>,
}

impl Mapping {
    /// Whether an address lies behind the end of the mapped file, which has been made shorter: nobody can
    /// read there, the kernel neither. False where the file has no name any more.
    pub(crate) fn is_behind_its_file(&self, address: u64) -> bool {
        const PAGE: u64 = 4096;
        let path = Path::new(OsStr::from_bytes(&self.path));
        let Ok(file) = std::fs::symlink_metadata(path) else {
            return false;
        };
        let at = self.offset + address.saturating_sub(self.start);
        file.is_file() && file.ino() == self.inode && at >= file.len().next_multiple_of(PAGE)
    }
}

/// What is mapped at an address.
pub(crate) fn mapping(tid: u32, address: u64) -> Result<Option<Mapping>> {
    let failed = |error: std::io::Error| Errno(error.raw_os_error().unwrap_or(libc::EIO));
    let file = File::open(format!("/proc/{tid}/maps")).map_err(failed)?;
    // The kernel writes it page by page, so what is not read costs nothing.
    mapping_in(BufReader::new(file.take(MAX_MAPPINGS)), address).map_err(failed)
}

/// The `PROT_…` bits of the memory at an address; 0 where nothing is mapped.
pub(crate) fn protection(tid: u32, address: u64) -> Result<u32> {
    Ok(mapping(tid, address)?.unwrap_or_default().protection)
}

/// Looks through lines, in ascending order, as far as the address.
pub(crate) fn mapping_in(
    mut mappings: impl BufRead,
    address: u64,
) -> std::io::Result<Option<Mapping>> {
    let mut line = Vec::new();
    while mappings.read_until(b'\n', &mut line)? > 0 {
        match parse(&line) {
            Some(mapping) if address < mapping.start => break,
            Some(mapping) if address < mapping.end => return Ok(Some(mapping)),
            _ => line.clear(),
        }
    }
    Ok(None)
}

fn parse(line: &[u8]) -> Option<Mapping> {
    let mut parts = line.trim_ascii_end().splitn(6, |byte| *byte == b' ');
    let mut next = || std::str::from_utf8(parts.next()?).ok();
    let (range, letters, offset) = (next()?, next()?, next()?);
    let inode = next().and_then(|_| next()?.parse().ok());
    let (start, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let bits = letters.bytes().zip([(b'r', 1), (b'w', 2), (b'x', 4)]);
    let set = bits.filter(|(byte, (letter, _))| byte == letter);
    Some(Mapping {
        start: number(start)?,
        end: number(end)?,
        protection: set.map(|(_, (_, bit))| bit).sum(),
        offset: number(offset).unwrap_or_default(),
        inode: inode.unwrap_or_default(),
        path: parts.next().unwrap_or_default().trim_ascii_start().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protection_of_memory_is_that_of_the_mapping_around_it() {
        let mappings = b"1000-3000 r-xp 00000000 08:01 1 /lib/x\n3000-4000 rw-p 0 0:0 0\nf000-f100 ---p 0 0:0 0 [x y]\n";
        for (address, expected) in [
            (0xfff, 0),
            (0x1000, 5),
            (0x2fff, 5),
            (0x3000, 3),
            (0x4000, 0),
            (0xf000, 0),
        ] {
            let found = mapping_in(&mappings[..], address).unwrap();
            let found = found.unwrap_or_default().protection;
            assert_eq!(found, expected, "{address:x}");
        }
        let first = mapping_in(&mappings[..], 0x1000).unwrap().unwrap();
        assert_eq!(
            (first.path.as_slice(), first.inode),
            (b"/lib/x".as_slice(), 1)
        );
    }

    #[test]
    fn our_own_auxiliary_vector_is_found() {
        let found = auxiliary(std::process::id()).unwrap();
        assert!(found.random != 0 && found.file_name != 0);
        let mut bytes = Vec::new();
        for word in [25u32, 7, 31, 9, 0, 0] {
            bytes.extend(word.to_le_bytes());
        }
        assert_eq!(
            parse_auxiliary::<4>(&bytes),
            Auxiliary {
                random: 7,
                file_name: 9
            }
        );
    }
}
