//! Patterns with `*`.

use serde::{Deserialize, Serialize};

/// Longest piece that is looked for byte by byte, which is quickest for what people write; for
/// longer ones the time that takes would grow with their length.
const SHORT: usize = 32;

/// A text with `*` for any characters, matched in time linear in the text, whatever the pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wildcard {
    /// Text before the first star.
    prefix: Box<str>,
    /// Texts between stars, in order.
    middle: Box<[Box<str>]>,
    /// Text behind the last star; `None` when there is no star at all.
    suffix: Option<Box<str>>,
    no_case: bool,
}

impl Wildcard {
    /// The pattern; `no_case`: ASCII letters are compared without regard to case.
    pub fn new(pattern: &str, no_case: bool) -> Self {
        let mut pieces = pattern.split('*');
        let prefix = pieces.next().unwrap_or_default().into();
        let mut middle: Vec<Box<str>> = pieces.map(Box::from).collect();
        let suffix = middle.pop();
        middle.retain(|piece| !piece.is_empty());
        Self {
            prefix,
            middle: middle.into(),
            suffix,
            no_case,
        }
    }

    /// Whether a text fits.
    pub fn matches(&self, text: &str) -> bool {
        let Some(suffix) = &self.suffix else {
            return self.same(text.as_bytes(), &self.prefix);
        };
        let text = text.as_bytes();
        if text.len() < self.prefix.len() + suffix.len() {
            return false;
        }
        let (start, rest) = text.split_at(self.prefix.len());
        let (mut rest, end) = rest.split_at(rest.len() - suffix.len());
        if !self.same(start, &self.prefix) || !self.same(end, suffix) {
            return false;
        }
        for piece in &self.middle {
            match self.find(rest, piece.as_bytes()) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        true
    }

    fn same(&self, text: &[u8], other: &str) -> bool {
        match self.no_case {
            true => text.eq_ignore_ascii_case(other.as_bytes()),
            false => text == other.as_bytes(),
        }
    }

    fn find(&self, text: &[u8], piece: &[u8]) -> Option<usize> {
        if piece.len() > SHORT {
            return match self.no_case {
                true => find_long(&text.to_ascii_lowercase(), &piece.to_ascii_lowercase()),
                false => find_long(text, piece),
            };
        }
        if self.no_case {
            return text
                .windows(piece.len())
                .position(|part| part.eq_ignore_ascii_case(piece));
        }
        let first = *piece.first()?;
        let mut from = 0;
        while from + piece.len() <= text.len() {
            let last = text.len() - piece.len();
            let at = from + text[from..=last].iter().position(|byte| *byte == first)?;
            if &text[at..at + piece.len()] == piece {
                return Some(at);
            }
            from = at + 1;
        }
        None
    }
}

/// The standard library's search takes linear time, but for texts only. Both are: what was cut off
/// in front of them ended with a character.
fn find_long(text: &[u8], piece: &[u8]) -> Option<usize> {
    let (text, piece) = (str::from_utf8(text).ok()?, str::from_utf8(piece).ok()?);
    text.find(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let cases = [
            ("a*", "abc/d", true),
            ("*c", "abc", true),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "acb", false),
            ("*aa*aa*", "aaa", false),
            ("*aa*aa*", "aaaa", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("*", "", true),
            ("ab*ba", "aba", false),
            ("", "", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                Wildcard::new(pattern, false).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn a_long_piece_is_found_as_a_short_one_is() {
        for length in [1, SHORT - 1, SHORT, SHORT + 1, 300] {
            let piece = format!("{}B", "a".repeat(length));
            let (pattern, text) = (format!("x*{piece}*y"), format!("x{}By", "a".repeat(1000)));
            assert!(Wildcard::new(&pattern, false).matches(&text), "{length}");
            assert!(
                Wildcard::new(&pattern, true).matches(&text.to_uppercase()),
                "{length}"
            );
            let lower = text.to_lowercase();
            assert!(!Wildcard::new(&pattern, false).matches(&lower), "{length}");
        }
    }

    #[test]
    fn case_can_be_ignored() {
        assert!(Wildcard::new("*.Example.*", true).matches("www.EXAMPLE.com"));
        assert!(!Wildcard::new("*.Example.*", false).matches("www.EXAMPLE.com"));
    }
}
