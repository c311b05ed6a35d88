//! Text from the kernel: file names and arguments are bytes, everything after us is UTF-8.

use std::fmt::Display;

/// Turns bytes from the kernel into text without losing any: what is not valid UTF-8 is
/// written as `\xNN`, byte by byte. Valid text is returned unchanged, so a rule that names a
/// path matches exactly that path.
///
/// ```
/// assert_eq!(picket_events::text::from_bytes(b"/etc/passwd"), "/etc/passwd");
/// assert_eq!(picket_events::text::from_bytes(b"/tmp/\xff\xfe"), "/tmp/\\xff\\xfe");
/// ```
pub fn from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            text.push_str("\\x");
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    text
}

/// What the kernel keeps of a thread's name: 15 bytes of it (`TASK_COMM_LEN`, with the zero at its
/// end), here up to a character's end.
///
/// ```
/// assert_eq!(picket_events::kept_name("a-very-long-name-indeed"), "a-very-long-nam");
/// ```
pub fn kept_name(name: &str) -> &str {
    const KEPT: usize = 15;
    &name[..name.floor_char_boundary(KEPT)]
}

/// How many of something there are, in words: `1 finding`, `2 findings`.
///
/// ```
/// use picket_events::text::counted;
/// assert_eq!(counted(1_usize, "entry", "entries"), "1 entry");
/// assert_eq!(counted(0_i32, "entry", "entries"), "0 entries");
/// ```
pub fn counted<N: Display + From<u8> + PartialEq>(count: N, one: &str, many: &str) -> String {
    let noun = if count == N::from(1) { one } else { many };
    format!("{count} {noun}")
}

/// Text of a stranger for people's eyes: control characters, which could disturb a terminal or
/// forge a line, become spaces.
///
/// ```
/// assert_eq!(picket_events::text::printable("a\u{1b}[31m\nb"), "a [31m b");
/// ```
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::from_bytes;

    #[test]
    fn keeps_newlines_and_multibyte_text() {
        assert_eq!(from_bytes("a\nb/ü".as_bytes()), "a\nb/ü");
    }

    #[test]
    fn escapes_a_truncated_sequence() {
        assert_eq!(from_bytes(b"x\xc3"), "x\\xc3");
    }
}
