//! Rules by the texts and the directories that they ask for.
//!
//! Nearly every path that is looked up is one that no rule asks for, so both begin with a test
//! that tells most of those apart at once. Directories are followed from the root down, and only
//! as far as some rule goes.

use super::{find, mark};
use crate::matcher::{SEED, hash_text, mix_bytes};

/// Words of a [`Sieve`]: 1,024 bits, of which the default rules set a tenth.
const WORDS: usize = 16;

/// What is certainly not in a set: one bit for each of its hashes.
#[derive(Debug, Default)]
struct Sieve([u64; WORDS]);

impl Sieve {
    fn add(&mut self, hash: u64) {
        let (word, bit) = Self::place(hash);
        self.0[word] |= bit;
    }

    fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = Self::place(hash);
        self.0[word] & bit != 0
    }

    fn place(hash: u64) -> (usize, u64) {
        (hash as usize / 64 % WORDS, 1 << (hash % 64))
    }
}

/// Rules that a field has to equal a text for.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Hash of the text, and the rule; in order.
    entries: Vec<(u64, u32)>,
    shapes: Sieve,
}

impl Texts {
    pub(super) fn add(&mut self, text: &str, rule: u32) {
        self.entries.push((hash_text(text), rule));
        self.shapes.add(shape(text));
    }

    pub(super) fn seal(&mut self) {
        self.entries.sort_unstable();
        self.entries.dedup();
    }

    /// Sets the bits of the rules that ask for this text.
    pub(super) fn find(&self, text: &str, bits: &mut [u64]) {
        if self.shapes.may_have(shape(text)) {
            find(&self.entries, hash_text(text), bits);
        }
    }
}

/// A hash of a text's length and its last four bytes, where names differ most.
fn shape(text: &str) -> u64 {
    let last = text.as_bytes().last_chunk::<4>();
    let last = last.map_or(0, |last| u32::from_le_bytes(*last));
    let mixed = (u64::from(last) ^ (text.len() as u64) << 32).wrapping_mul(SEED);
    mixed >> 48
}

/// Rules that a path has to lie in a directory for.
#[derive(Debug, Default)]
pub(super) struct Directories {
    /// Hash of a directory that a rule asks for, and the rule; in order. A directory that only
    /// others lie in that rules ask for has no rule.
    entries: Vec<(u64, Option<u32>)>,
    sieve: Sieve,
}

impl Directories {
    /// Adds a directory, which ends in a slash.
    pub(super) fn add(&mut self, directory: &str, rule: u32) {
        for hash in above(directory) {
            self.entries.push((hash, None));
            self.sieve.add(hash);
        }
        // Each ends in a slash, so the last one is the directory itself.
        if let Some((_, last)) = self.entries.last_mut() {
            *last = Some(rule);
        }
    }

    pub(super) fn seal(&mut self) {
        self.entries.sort_unstable();
        self.entries.dedup();
    }

    /// Sets the bits of the rules that ask for a directory that the path lies in.
    pub(super) fn find(&self, path: &str, bits: &mut [u64]) {
        if self.entries.is_empty() {
            return;
        }
        for hash in above(path).take_while(|hash| self.sieve.may_have(*hash)) {
            let from = self.entries.partition_point(|(other, _)| *other < hash);
            let mut found = self.entries[from..]
                .iter()
                .take_while(|(other, _)| *other == hash)
                .peekable();
            if found.peek().is_none() {
                return;
            }
            found
                .filter_map(|(_, rule)| *rule)
                .for_each(|rule| mark(bits, rule));
        }
    }
}

/// A hash of each directory that a path lies in, from below the root on: of `/etc/ssh/key` those
/// of `/etc/` and `/etc/ssh/`.
fn above(path: &str) -> impl Iterator<Item = u64> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let parts = path.as_bytes().split_inclusive(|byte| *byte == b'/');
    let directories = parts.take_while(|part| part.ends_with(b"/"));
    directories.scan(SEED, |hash, part| {
        *hash = mix_bytes(*hash, part);
        Some(*hash)
    })
}
