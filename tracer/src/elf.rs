//! What a program's file says of the language that it was written in.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// A section that Go's linker puts into every program since 1.13, also into stripped ones.
const GO_SECTION: &[u8] = b".go.buildinfo";
/// As much of a table as is read.
const TABLE_MAX: usize = 64 * 1024;
/// Size of a 64-bit ELF header and of an entry of its table of sections.
const HEADER: usize = 64;
const SECTION: usize = 64;

/// Whether a 64-bit program, little-endian, was built by Go.
pub(crate) fn is_go(program: &File) -> bool {
    names_of_sections(program).is_some_and(|names| {
        names
            .split(|byte| *byte == 0)
            .any(|name| name == GO_SECTION)
    })
}

/// The names of all sections, each with a zero byte at its end.
fn names_of_sections(program: &File) -> Option<Vec<u8>> {
    let header = read(program, 0, HEADER)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = word(&header, 40)?;
    let [size, _count, names] = [58, 60, 62].map(|at| half(&header, at));
    let (size, names) = (u64::from(size?), u64::from(names?));
    if size != SECTION as u64 {
        return None;
    }
    let section = read(program, table.checked_add(names * size)?, SECTION)?;
    let (at, length) = (word(&section, 24)?, word(&section, 32)?);
    read(program, at, usize::try_from(length).ok()?.min(TABLE_MAX))
}

fn read(program: &File, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    program.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with one section of this name, and one for the names.
    fn program(name: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let names = [&b"\0"[..], name, b"\0.shstrtab\0"].concat();
        let mut bytes = vec![0; HEADER];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let at = HEADER as u64;
        bytes.extend(&names);
        let table = bytes.len() as u64;
        bytes[40..48].copy_from_slice(&table.to_le_bytes());
        bytes[58..60].copy_from_slice(&64u16.to_le_bytes());
        bytes[60..62].copy_from_slice(&2u16.to_le_bytes());
        bytes[62..64].copy_from_slice(&1u16.to_le_bytes());
        let mut section = vec![0; 2 * SECTION];
        section[SECTION + 24..SECTION + 32].copy_from_slice(&at.to_le_bytes());
        section[SECTION + 32..SECTION + 40].copy_from_slice(&(names.len() as u64).to_le_bytes());
        bytes.extend(section);
        change(&mut bytes);
        let path = std::env::temp_dir().join(format!(
            "picket-elf-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&path, &bytes).unwrap();
        let found = is_go(&File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        found
    }

    #[test]
    fn a_program_of_go_is_known_by_its_section() {
        assert!(program(b".go.buildinfo", |_| {}));
        assert!(!program(b".text", |_| {}));
        assert!(!program(b".go.buildinfo.old", |_| {}));
    }

    #[test]
    fn what_is_no_program_or_lies_about_itself_is_none_of_gos() {
        assert!(!program(b".go.buildinfo", |bytes| bytes[0] = b'#'));
        assert!(!program(b".go.buildinfo", |bytes| bytes.truncate(40)));
        assert!(!program(b".go.buildinfo", |bytes| bytes[40..48].fill(0xff)));
        assert!(!program(b".go.buildinfo", |bytes| bytes[62] = 9));
        assert!(!is_go(&File::open("/proc/self/exe").unwrap()));
    }
}
