//! Compares texts and addresses with constants.

mod address;
mod re2;
mod table;

use std::sync::Arc;

use regex::Regex;

pub(crate) use address::{AddressSet, normalize, overlap};
pub(crate) use picket_events::pattern::{Glob, Wildcard};
pub(crate) use re2::from_re2;
pub(crate) use table::TextTable;

/// The constants a text is compared with: it matches when it equals or fits any of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextMatcher {
    exact: ExactSet,
    globs: Vec<Glob>,
    wildcards: Vec<Wildcard>,
    regexes: Vec<Regex>,
    tables: Vec<Arc<TextTable>>,
}

impl TextMatcher {
    pub(crate) fn new(no_case: bool) -> Self {
        Self {
            exact: ExactSet {
                no_case,
                ..ExactSet::default()
            },
            ..Self::default()
        }
    }

    pub(crate) fn add_text(&mut self, text: &str) {
        self.exact.insert(text);
    }

    pub(crate) fn add_glob(&mut self, glob: Glob) {
        self.globs.push(glob);
    }

    pub(crate) fn add_wildcard(&mut self, wildcard: Wildcard) {
        self.wildcards.push(wildcard);
    }

    pub(crate) fn add_regex(&mut self, regex: Regex) {
        self.regexes.push(regex);
    }

    pub(crate) fn add_table(&mut self, table: &Arc<TextTable>) {
        // An empty one would only keep the rule out of the index.
        if table.len() > 0 {
            self.tables.push(Arc::clone(table));
        }
    }

    /// To be called when all constants are there: puts the exact ones in order.
    pub(crate) fn seal(&mut self) {
        self.exact.seal();
    }

    /// True when no constant was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.entries.is_empty()
            && self.globs.is_empty()
            && self.wildcards.is_empty()
            && self.regexes.is_empty()
            && self.tables.is_empty()
    }

    /// The constants themselves: texts, globs, wildcards; `None` where there are others, or
    /// where case does not count.
    pub(crate) fn constants(&self) -> Option<(Vec<String>, &[Glob], &[Wildcard])> {
        let is_plain = self.regexes.is_empty() && self.tables.is_empty() && !self.exact.no_case;
        let texts = self.exact.entries.iter().map(|(_, text)| text.to_string());
        is_plain.then(|| (texts.collect(), &*self.globs, &*self.wildcards))
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.exact.contains(text)
            || self.globs.iter().any(|glob| glob.matches(text))
            || self.wildcards.iter().any(|wildcard| wildcard.matches(text))
            || self.regexes.iter().any(|regex| regex.is_match(text))
            || self.tables.iter().any(|table| table.contains(text))
    }

    /// What a comparison takes, in comparisons of a number, roughly.
    pub(crate) fn cost(&self) -> u32 {
        let patterns = self.globs.len() + self.wildcards.len();
        // A text that equals none is mostly told by its length.
        let cost = 2 + 2 * patterns + 16 * self.regexes.len() + 16 * self.tables.len();
        u32::try_from(cost).unwrap_or(u32::MAX)
    }

    /// All constants as patterns of paths, where they are that and no more than `limit`.
    pub(crate) fn patterns(&self, limit: usize) -> Option<Vec<String>> {
        let others = self.wildcards.len() + self.regexes.len() + self.tables.len();
        let count = self.exact.entries.len() + self.globs.len();
        if self.exact.no_case || others > 0 || count > limit {
            return None;
        }
        let exact = self.exact.entries.iter().map(|(_, text)| text.to_string());
        let globs = self.globs.iter().map(|glob| glob.pattern().to_owned());
        Some(exact.chain(globs).collect())
    }

    /// What every matching text has in common with one of these keys, if that can be said in
    /// no more than `limit` keys.
    pub(crate) fn keys(&self, limit: usize) -> Option<Vec<TextKey<'_>>> {
        if self.exact.entries.len() + self.globs.len() > limit {
            return None;
        }
        let others = self.wildcards.len() + self.regexes.len() + self.tables.len();
        if self.exact.no_case || others > 0 {
            return None;
        }
        let exact = self
            .exact
            .entries
            .iter()
            .map(|(_, text)| TextKey::Exact(text));
        let directories = self
            .globs
            .iter()
            .map(|glob| TextKey::Directory(glob.directory()));
        Some(exact.chain(directories).collect())
    }
}

/// A property of a text by which rules are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TextKey<'a> {
    /// The text itself.
    Exact(&'a str),
    /// The directory, ending in a slash, that the path lies in at any depth.
    Directory(&'a str),
}

/// A set of texts, sorted by their hash.
#[derive(Debug, Clone, Default)]
struct ExactSet {
    entries: Vec<(u64, Box<str>)>,
    /// Bit n is set when some text is n bytes long (63: that or longer).
    lengths: u64,
    no_case: bool,
}

impl ExactSet {
    fn insert(&mut self, text: &str) {
        self.entries.push((self.hash(text), text.into()));
        self.lengths |= length_bit(text);
    }

    fn seal(&mut self) {
        self.entries.sort_unstable();
        self.entries.dedup();
    }

    fn contains(&self, text: &str) -> bool {
        if self.lengths & length_bit(text) == 0 {
            return false;
        }
        let hash = self.hash(text);
        let at = self.entries.partition_point(|(other, _)| *other < hash);
        self.entries[at..]
            .iter()
            .take_while(|(other, _)| *other == hash)
            .any(|(_, other)| self.same(other, text))
    }

    fn same(&self, a: &str, b: &str) -> bool {
        if self.no_case {
            a.eq_ignore_ascii_case(b)
        } else {
            a == b
        }
    }

    fn hash(&self, text: &str) -> u64 {
        match self.no_case {
            true => text.bytes().fold(SEED, |hash, byte| {
                mix(hash, u64::from(byte.to_ascii_lowercase()))
            }),
            false => hash_text(text),
        }
    }
}

pub(crate) const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word)
        .wrapping_mul(0xff51_afd7_ed55_8ccd)
        .rotate_left(29)
}

/// A fast hash for texts that the policy's author chose.
pub(crate) fn hash_text(text: &str) -> u64 {
    mix_bytes(mix(SEED, text.len() as u64), text.as_bytes())
}

/// Goes on with such a hash, where more bytes belong to it.
pub(crate) fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    mix(hash, padded(bytes, rest))
}

/// The last bytes of a text, fewer than eight, with zeros behind them. Taken out of what is before
/// them where there is enough: to copy so few takes longer.
fn padded(bytes: &[u8], rest: &[u8]) -> u64 {
    let missing = 8 * (8 - rest.len() as u32);
    if let Some(last) = bytes.last_chunk::<8>() {
        return u64::from_le_bytes(*last).checked_shr(missing).unwrap_or(0);
    }
    match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let behind = u64::from(u32::from_le_bytes(*last)) >> missing;
            u64::from(u32::from_le_bytes(*first)) | behind << 32
        }
        _ => rest
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

fn length_bit(text: &str) -> u64 {
    1 << text.len().min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_finds_each_of_its_texts_and_no_other() {
        let mut matcher = TextMatcher::new(false);
        let texts: Vec<String> = (0..500).map(|n| format!("/usr/bin/tool-{n}")).collect();
        for text in &texts {
            matcher.add_text(text);
        }
        matcher.seal();
        assert!(texts.iter().all(|text| matcher.matches(text)));
        assert!(!matcher.matches("/usr/bin/tool-500") && !matcher.matches(""));
    }

    #[test]
    fn the_last_bytes_are_padded_with_zeros() {
        let text: Vec<u8> = (1..=40).collect();
        for length in 0..=text.len() {
            let bytes = &text[..length];
            let rest = bytes.as_chunks::<8>().1;
            let mut copied = [0; 8];
            copied[..rest.len()].copy_from_slice(rest);
            let expected = u64::from_le_bytes(copied);
            assert_eq!(padded(bytes, rest), expected, "{length} bytes");
        }
    }

    #[test]
    fn case_is_ignored_only_where_asked() {
        let mut matcher = TextMatcher::new(true);
        matcher.add_text("Example.COM");
        matcher.seal();
        assert!(matcher.matches("example.com"));
        assert_eq!(matcher.keys(10), None);
    }
}
