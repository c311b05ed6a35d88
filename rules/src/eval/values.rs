//! Single values: numbers, texts, addresses.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use ipnet::IpNet;

use super::Frame;
use crate::program::{AddressNode, AnyNode, IntNode, Part, TextNode};
use crate::value::{Context, Value, unspecified};
use crate::variable::Stored;

/// Longest text that is put together from parts, in bytes; the rest is cut off.
const MAX_TEXT: usize = 16 * 1024;

impl<C: Context + ?Sized> Frame<'_, C> {
    pub(super) fn int(&self, node: &IntNode) -> i64 {
        match node {
            IntNode::Constant(value) => *value,
            IntNode::Read(read) => match self.read(*read) {
                Value::Int(value) => value,
                _ => 0,
            },
            IntNode::Variable(id) => self.variables.int(*id, self.context),
            IntNode::TextLength(text) => self.text(text).len() as i64,
            IntNode::Count(source) => self.count(*source),
            IntNode::IteratorLength(iterator) => self.context.length(*iterator) as i64,
            IntNode::Age(time) => self.context.now().wrapping_sub(self.int(time)),
            IntNode::Add(left, right) => self.int(left).wrapping_add(self.int(right)),
            IntNode::Subtract(left, right) => self.int(left).wrapping_sub(self.int(right)),
            IntNode::And(left, right) => self.int(left) & self.int(right),
            IntNode::Or(left, right) => self.int(left) | self.int(right),
            IntNode::Xor(left, right) => self.int(left) ^ self.int(right),
            IntNode::Negate(value) => self.int(value).wrapping_neg(),
            IntNode::Complement(value) => !self.int(value),
        }
    }

    pub(crate) fn text<'n>(&'n self, node: &'n TextNode) -> Cow<'n, str> {
        match node {
            TextNode::Constant(text) => Cow::Borrowed(text),
            TextNode::Read(read) => match self.read(*read) {
                Value::Str(text) => Cow::Borrowed(text),
                _ => Cow::Borrowed(""),
            },
            TextNode::Variable(id) => Cow::Borrowed(self.variables.text(*id, self.context)),
            TextNode::Uuid => Cow::Owned(uuid()),
            TextNode::RootDomain(inner) => Cow::Owned(root_domain(&self.text(inner)).into_owned()),
            TextNode::Template(parts) => {
                let mut text = String::new();
                for part in parts.iter() {
                    self.append(part, &mut text);
                }
                truncate(&mut text, MAX_TEXT);
                Cow::Owned(text)
            }
        }
    }

    pub(super) fn address(&self, node: &AddressNode) -> IpNet {
        match node {
            AddressNode::Constant(address) => *address,
            AddressNode::Read(read) => match self.read(*read) {
                Value::Ip(address) => address,
                _ => unspecified(),
            },
            AddressNode::Variable(id) => self.variables.address(*id, self.context),
        }
    }

    fn append(&self, part: &Part, text: &mut String) {
        if text.len() > MAX_TEXT {
            return;
        }
        let mut separator = Separator::default();
        match part {
            Part::Text(constant) => text.push_str(constant),
            Part::TextNode(node) => text.push_str(&self.text(node)),
            Part::Int(node) => text.push_str(&self.int(node).to_string()),
            Part::Bool(node) => text.push_str(bool_text(self.bool(node))),
            Part::Address(node) => text.push_str(&address_text(self.address(node))),
            Part::Bools(list) => {
                self.any_bool(*list, |element| separator.push(text, bool_text(element)));
            }
            Part::Texts(list) => {
                self.any_text(*list, |element| separator.push(text, element));
            }
            Part::Ints(list) => {
                self.any_int(*list, |element| separator.push(text, &element.to_string()));
            }
            Part::Addresses(list) => {
                self.any_address(*list, |element| {
                    separator.push(text, &address_text(element))
                });
            }
        }
    }

    /// The value of an expression of any type, to be kept.
    pub(crate) fn any_value(&self, node: &AnyNode) -> Stored {
        match node {
            AnyNode::Bool(node) => Stored::Bool(self.bool(node)),
            AnyNode::Int(node) => Stored::Int(self.int(node)),
            AnyNode::Text(node) => Stored::Text(self.text(node).into_owned()),
            AnyNode::Address(node) => Stored::Address(self.address(node)),
            AnyNode::Bools(source) => {
                let mut values = Vec::new();
                self.any_bool(*source, |value| keep(&mut values, value));
                Stored::Bools(values)
            }
            AnyNode::Ints(list) => {
                let mut values = Vec::new();
                self.any_int(*list, |value| keep(&mut values, value));
                Stored::Ints(values)
            }
            AnyNode::Texts(list) => {
                let mut values = Vec::new();
                self.any_text(*list, |value| keep(&mut values, value.to_owned()));
                Stored::Texts(values)
            }
            AnyNode::Addresses(source) => {
                let mut values = Vec::new();
                self.any_address(*source, |value| keep(&mut values, value));
                Stored::Addresses(values)
            }
            AnyNode::TextConstants(values) => Stored::Texts(values.to_vec()),
            AnyNode::IntConstants(values) => Stored::Ints(values.to_vec()),
            AnyNode::AddressConstants(values) => Stored::Addresses(values.to_vec()),
        }
    }
}

fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Collects a value and asks for the next.
fn keep<T>(values: &mut Vec<T>, value: T) -> bool {
    values.push(value);
    false
}

#[derive(Default)]
struct Separator {
    needed: bool,
}

impl Separator {
    /// Appends an element; true when the text is long enough to stop.
    fn push(&mut self, text: &mut String, element: &str) -> bool {
        if self.needed {
            text.push(',');
        }
        self.needed = true;
        text.push_str(element);
        text.len() > MAX_TEXT
    }
}

/// An address without its prefix length, a network with it.
pub(crate) fn address_text(address: IpNet) -> String {
    match address.prefix_len() == address.max_prefix_len() {
        true => address.addr().to_string(),
        false => address.to_string(),
    }
}

/// The registrable domain of a name (`a.b.co.uk` → `b.co.uk`), or nothing.
pub(super) fn root_domain(name: &str) -> Cow<'_, str> {
    let name = name.trim_end_matches('.');
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let lower = name.to_ascii_lowercase();
        return Cow::Owned(psl::domain_str(&lower).unwrap_or_default().to_owned());
    }
    Cow::Borrowed(psl::domain_str(name).unwrap_or_default())
}

/// Cuts a text to at most `limit` bytes at a character's end.
pub(crate) fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

/// A random version 4 UUID, from the standard library's random hash keys.
fn uuid() -> String {
    let high = RandomState::new().hash_one(1u8);
    let low = RandomState::new().hash_one(2u8);
    let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
    let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
