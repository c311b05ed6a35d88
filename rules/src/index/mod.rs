//! Finds the rules that can match an event at all.
//!
//! Many rules hold only when a certain field has one of certain values, or a path lies in a
//! certain directory. Such rules are looked up by the event's values; the others are always
//! tried. Only hashes are kept: a collision costs a look at one rule more.

mod texts;

use std::collections::BTreeMap;

use self::texts::{Directories, Texts};
use crate::matcher::TextKey;
use crate::program::{At, BoolNode, IntNode, Read, Source, TextList, TextNode};
use crate::syntax::ast::Comparison;
use crate::value::{Context, FieldId, Value};

/// More keys than this are not worth their memory.
const MAX_KEYS: usize = 4096;

/// A property of an event that a rule needs.
#[derive(Debug, Clone, Copy)]
struct Key<'a> {
    field: FieldId,
    test: Test<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Test<'a> {
    Int(i64),
    /// The text itself.
    Text(&'a str),
    /// A directory that the path lies in.
    Directory(&'a str),
}

/// An index over the rules of one event type, which are numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct Index {
    fields: Vec<FieldIndex>,
    /// Rules that have no key, one bit each.
    always: Vec<u64>,
}

#[derive(Debug)]
struct FieldIndex {
    field: FieldId,
    ints: Vec<(i64, u32)>,
    texts: Texts,
    directories: Directories,
}

impl Index {
    pub(crate) fn new<'a>(rules: impl ExactSizeIterator<Item = &'a BoolNode>) -> Self {
        let mut always = vec![0; rules.len().div_ceil(64)];
        let mut fields: BTreeMap<FieldId, FieldIndex> = BTreeMap::new();
        for (rule, node) in rules.enumerate() {
            let Some(keys) = keys(node).filter(|keys| keys.len() <= MAX_KEYS) else {
                mark(&mut always, rule as u32);
                continue;
            };
            for key in keys {
                fields
                    .entry(key.field)
                    .or_insert_with(|| FieldIndex::new(key.field))
                    .add(key.test, rule as u32);
            }
        }
        let mut fields: Vec<FieldIndex> = fields.into_values().collect();
        for field in &mut fields {
            field.ints.sort_unstable();
            field.ints.dedup();
            field.texts.seal();
            field.directories.seal();
        }
        Self { fields, always }
    }

    /// Sets the bits of the rules that can match.
    pub(crate) fn candidates(&self, context: &impl Context, bits: &mut Vec<u64>) {
        bits.clone_from(&self.always);
        for field in &self.fields {
            match context.value(field.field) {
                Value::Int(value) => field.find_int(value, bits),
                Value::Ints(values) => values.iter().for_each(|value| field.find_int(*value, bits)),
                Value::Str(text) => field.find_text(text, bits),
                Value::Strs(texts) => texts.iter().for_each(|text| field.find_text(text, bits)),
                // Another type than the catalogue says: it counts as not filled.
                _ => {
                    field.find_int(0, bits);
                    field.find_text("", bits);
                }
            }
        }
    }

    /// How many rules are tried for every event.
    pub(crate) fn unindexed(&self) -> usize {
        self.always
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }
}

impl FieldIndex {
    fn new(field: FieldId) -> Self {
        Self {
            field,
            ints: Vec::new(),
            texts: Texts::default(),
            directories: Directories::default(),
        }
    }

    fn add(&mut self, test: Test<'_>, rule: u32) {
        match test {
            Test::Int(value) => self.ints.push((value, rule)),
            Test::Text(text) => self.texts.add(text, rule),
            Test::Directory(directory) => self.directories.add(directory, rule),
        }
    }

    fn find_int(&self, value: i64, bits: &mut [u64]) {
        find(&self.ints, value, bits);
    }

    fn find_text(&self, text: &str, bits: &mut [u64]) {
        self.texts.find(text, bits);
        self.directories.find(text, bits);
    }
}

fn find<K: Ord + Copy>(entries: &[(K, u32)], key: K, bits: &mut [u64]) {
    let from = entries.partition_point(|(other, _)| *other < key);
    for (_, rule) in entries[from..]
        .iter()
        .take_while(|(other, _)| *other == key)
    {
        mark(bits, *rule);
    }
}

fn mark(bits: &mut [u64], rule: u32) {
    bits[rule as usize / 64] |= 1 << (rule % 64);
}

/// Properties of which an event must have at least one for the condition to hold; `None`
/// when nothing of the kind can be said.
fn keys(node: &BoolNode) -> Option<Vec<Key<'_>>> {
    match node {
        BoolNode::Constant(false) => Some(Vec::new()),
        BoolNode::All(operands) => operands
            .iter()
            .filter_map(keys)
            .min_by_key(|keys| weight(keys)),
        BoolNode::Any(operands) => {
            let mut all = Vec::new();
            for operand in operands {
                all.append(&mut keys(operand)?);
                if all.len() > MAX_KEYS {
                    return None;
                }
            }
            Some(all)
        }
        BoolNode::Text {
            value:
                TextNode::Read(Read {
                    field,
                    at: At::Event,
                }),
            matcher,
        }
        | BoolNode::AnyText {
            list:
                TextList {
                    source:
                        Source::Read(Read {
                            field,
                            at: At::Event,
                        }),
                    root_domain: false,
                },
            matcher,
        } => {
            let keys = matcher.keys(MAX_KEYS)?;
            keys.into_iter().map(|key| text_key(*field, key)).collect()
        }
        BoolNode::IntIn {
            value:
                IntNode::Read(Read {
                    field,
                    at: At::Event,
                }),
            set,
        } => Some(
            set.iter()
                .map(|value| Key {
                    field: *field,
                    test: Test::Int(*value),
                })
                .collect(),
        ),
        BoolNode::Int {
            operator: Comparison::Equal,
            left:
                IntNode::Read(Read {
                    field,
                    at: At::Event,
                }),
            right: IntNode::Constant(value),
        } => Some(vec![Key {
            field: *field,
            test: Test::Int(*value),
        }]),
        _ => None,
    }
}

fn text_key(field: FieldId, key: TextKey<'_>) -> Option<Key<'_>> {
    let test = match key {
        TextKey::Exact(text) => Test::Text(text),
        // Below the root lies everything.
        TextKey::Directory("" | "/") => return None,
        TextKey::Directory(directory) => Test::Directory(directory),
    };
    Some(Key { field, test })
}

/// Numbers are rarely telling: user 0, flags. Of the others, fewer are better.
fn weight(keys: &[Key<'_>]) -> usize {
    let ints = keys
        .iter()
        .filter(|key| matches!(key.test, Test::Int(_)))
        .count();
    keys.len() + 100 * ints
}
