//! What a process asks the kernel to execute.
//!
//! It is read while the caller waits for our answer, and the kernel reads it again afterwards: another
//! thread, or whoever shares the memory, may change it in between. So it is held against what the
//! kernel has put on the new program's stack. That can be changed as well, but by the new program
//! alone. Where both say the same, it is what the kernel took, unless one who controls both wanted
//! it to look like that, and then the program may have its arguments from anywhere.

use crate::memory::Memory;

/// Arguments held against each other, at most, and bytes of them.
const ARGUMENTS_MAX: usize = 256;
const BYTES_MAX: usize = 8 * 1024;

/// A program and its arguments, as a caller of `execve` gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The program as it was named, without its zero byte.
    named: Vec<u8>,
    /// The arguments, each with a zero byte at its end.
    arguments: Vec<u8>,
}

impl Asked {
    /// Reads it from the caller's memory, of a 64-bit program. `None` where it cannot be read whole,
    /// is longer than what is compared, or has no arguments, in which place the kernel puts one.
    pub(crate) fn read(memory: &Memory, path: u64, arguments: u64) -> Option<Self> {
        let mut addresses = Vec::new();
        addresses.push(path);
        let mut list = [0; 512];
        while addresses.len() <= ARGUMENTS_MAX {
            let at = arguments + 8 * (addresses.len() as u64 - 1);
            // Never over the end of a page: the next one may not be there.
            let room = (4096 - at % 4096).min(list.len() as u64) as usize;
            let got = memory.read_some(at, &mut list[..room]).ok()?;
            let words = list[..got].chunks_exact(8);
            let count = words.len();
            let words = words.map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
            let before = addresses.len();
            addresses.extend(words.take_while(|address| *address != 0));
            match addresses.len() - before {
                0 if count == 0 => return None, // its end, or a pointer over the end of a page
                some if some < count => {
                    return Self::strings(memory, &addresses);
                }
                _ => {}
            }
        }
        None
    }

    fn strings(memory: &Memory, addresses: &[u64]) -> Option<Self> {
        if addresses.len() - 1 > ARGUMENTS_MAX {
            return None;
        }
        let mut named = memory.strings(addresses, BYTES_MAX)?;
        let end = named.iter().position(|byte| *byte == 0)?;
        let arguments = named.split_off(end + 1);
        named.truncate(end);
        (!arguments.is_empty()).then_some(Self { named, arguments })
    }

    /// Whether the kernel has been given the same: `arguments` as they lie on the new stack, each with
    /// a zero byte at its end, and the name that was `executed`, which lies there as well.
    ///
    /// Of a script, the kernel replaces the first argument by its interpreter, what the script's
    /// first line gives to that, and the script's name.
    pub(crate) fn is(&self, arguments: &[u8], executed: &[u8]) -> bool {
        if executed != self.named {
            return false;
        }
        if arguments == self.arguments {
            return true;
        }
        let first = self.arguments.iter().position(|byte| *byte == 0);
        let rest = first.map(|end| &self.arguments[end + 1..]);
        let script = rest.and_then(|rest| arguments.strip_suffix(rest));
        let interpreter = script
            .and_then(|script| script.strip_suffix(&[0]))
            .and_then(|script| script.strip_suffix(self.named.as_slice()));
        interpreter.is_some_and(|interpreter| interpreter.last() == Some(&0))
    }

    /// The arguments, each with a zero byte at its end.
    pub(crate) fn arguments(&self) -> &[u8] {
        &self.arguments
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use picket_events::Credentials;

    use super::*;

    fn asked(named: &str, arguments: &str) -> Asked {
        Asked {
            named: named.into(),
            arguments: arguments.into(),
        }
    }

    #[test]
    fn what_the_kernel_was_given_is_the_same_or_a_scripts() {
        let asked = asked("./run", "run\0a\0b\0");
        for (arguments, executed, expected) in [
            ("run\0a\0b\0", "./run", true),
            ("run\0a\0c\0", "./run", false),
            ("run\0a\0b\0", "./other", false),
            ("/bin/sh\0./run\0a\0b\0", "./run", true),
            ("/bin/awk\0-f\0./run\0a\0b\0", "./run", true),
            ("/bin/sh\0./ran\0a\0b\0", "./run", false),
            ("./run\0a\0b\0", "./run", false),
            ("x./run\0a\0b\0", "./run", false),
            ("/bin/sh\0./run\0a\0b\0c\0", "./run", false),
            ("/bin/sh\0./run\0b\0", "./run", false),
            ("", "./run", false),
        ] {
            let found = asked.is(arguments.as_bytes(), executed.as_bytes());
            assert_eq!(found, expected, "{arguments:?} {executed}");
        }
    }

    /// Asks for this in our own memory, in both ways of reading it.
    fn read(path: &str, arguments: &[&str]) -> [Option<Asked>; 2] {
        let text = |text: &&str| CString::new(*text).unwrap();
        let path = text(&path);
        let texts: Vec<_> = arguments.iter().map(text).collect();
        let ends = [std::ptr::null()];
        let list: Vec<_> = texts.iter().map(|text| text.as_ptr()).chain(ends).collect();
        let own = std::process::id();
        let opened = Memory::open(own, &Credentials::default()).unwrap();
        let passing = Memory::passing(own, &Credentials::default());
        let of = |memory: Memory| Asked::read(&memory, path.as_ptr() as u64, list.as_ptr() as u64);
        [of(opened), of(passing)]
    }

    #[test]
    fn what_is_asked_is_read_whole_or_not_at_all() {
        let found = read("/bin/cat", &["cat", "", "x y"]);
        let expected = Some(asked("/bin/cat", "cat\0\0x y\0"));
        assert_eq!(found, [expected.clone(), expected]);
        let many = vec!["word"; 200];
        let expected = Some(asked("/x", &"word\0".repeat(200)));
        assert_eq!(read("/x", &many), [expected.clone(), expected]);
        assert_eq!(read("/x", &vec!["w"; ARGUMENTS_MAX + 1]), [None, None]);
        assert_eq!(read("/x", &["y".repeat(BYTES_MAX).as_str()]), [None, None]);
        assert_eq!(read("/x", &[]), [None, None]);
    }
}
