//! What `/proc` tells of a process's memory: what the kernel put there, and what is mapped where.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

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

/// The `PROT_…` bits of the memory at an address; 0 where nothing is mapped.
pub(crate) fn protection(tid: u32, address: u64) -> Result<u32> {
    let failed = |error: std::io::Error| Errno(error.raw_os_error().unwrap_or(libc::EIO));
    let file = File::open(format!("/proc/{tid}/maps")).map_err(failed)?;
    // The kernel writes it page by page, so what is not read costs nothing.
    protection_in(BufReader::new(file.take(MAX_MAPPINGS)), address).map_err(failed)
}

/// Looks through lines such as `7f00-7f20 r-xp 00000000 08:01 1 /lib/x.so`, in ascending order,
/// as far as the address.
fn protection_in(mut mappings: impl BufRead, address: u64) -> std::io::Result<u32> {
    let mut line = Vec::new();
    while mappings.read_until(b'\n', &mut line)? > 0 {
        match mapping(&line) {
            Some((start, _, _)) if address < start => break,
            Some((_, end, bits)) if address < end => {
                let bits = bits.iter().zip([(b'r', 1), (b'w', 2), (b'x', 4)]);
                return Ok(bits
                    .filter(|(byte, (letter, _))| *byte == letter)
                    .map(|(_, (_, bit))| bit)
                    .sum());
            }
            _ => line.clear(),
        }
    }
    Ok(0)
}

fn mapping(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (range, bits) = (std::str::from_utf8(parts.next()?).ok()?, parts.next()?);
    let (start, end) = range.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some((address(start)?, address(end)?, bits))
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
            assert_eq!(
                protection_in(&mappings[..], address).unwrap(),
                expected,
                "{address:x}"
            );
        }
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
