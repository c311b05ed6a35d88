//! Typed parts of an expression while it is compiled.

use std::sync::Arc;

use ipnet::IpNet;

use crate::catalogue::FieldInfo;
use crate::catalogue::Matching;
use crate::matcher::{AddressSet, TextTable};
use crate::program::{
    AddressNode, AnyNode, At, BoolNode, IntList, IntNode, Source, TextList, TextNode,
};

/// How texts of a field are compared, and what they can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextKind {
    pub(super) matching: Matching,
    /// See [`FieldInfo::resolved`].
    pub(super) resolved: bool,
    pub(super) max_length: Option<usize>,
}

impl TextKind {
    pub(super) fn of(info: &FieldInfo) -> Self {
        Self {
            matching: info.matching,
            resolved: info.resolved,
            max_length: info.max_length,
        }
    }

    pub(super) const fn plain() -> Self {
        Self {
            matching: Matching::Pattern,
            resolved: false,
            max_length: None,
        }
    }
}

/// Where a number comes from, which decides what a duration next to it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Literal,
    Duration,
    /// A field or a variable: possibly a point in time.
    Value,
    Computed,
}

/// A part with its type.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Bool(BoolNode),
    Int(IntNode, Origin),
    /// The kind is that of the field it was read from; literals and variables have none.
    Text(TextNode, Option<TextKind>),
    Pattern(String),
    Regex(String),
    Address(AddressNode),
    Bools(Source),
    Ints(IntList),
    Texts(TextList, TextKind),
    Addresses(Source),
    List(Items),
}

/// A list that is written out.
#[derive(Debug, Clone)]
pub(crate) enum Items {
    Texts(Vec<TextItem>),
    Ints(Vec<i64>),
    Addresses(Vec<AddressItem>),
}

/// A text in a list.
#[derive(Debug, Clone)]
pub(crate) enum TextItem {
    Text(String),
    Pattern(String),
    Regex(String),
    Template(TextNode),
    /// Everything in a list file.
    Table(Arc<TextTable>),
}

/// An address in a list.
#[derive(Debug, Clone)]
pub(crate) enum AddressItem {
    Network(IpNet),
    /// Everything in a list file.
    Table(Arc<AddressSet>),
}

impl Items {
    pub(super) const fn describe(&self) -> &'static str {
        match self {
            Items::Texts(_) => "texts",
            Items::Ints(_) => "numbers",
            Items::Addresses(_) => "addresses",
        }
    }
}

impl Operand {
    pub(super) fn constant_address(address: IpNet) -> Self {
        Operand::Address(AddressNode::Constant(address))
    }

    /// True for what is written out.
    pub(super) fn is_literal(&self) -> bool {
        matches!(
            self,
            Operand::Bool(BoolNode::Constant(_))
                | Operand::Int(IntNode::Constant(_), _)
                | Operand::Text(TextNode::Constant(_), _)
                | Operand::Address(AddressNode::Constant(_))
                | Operand::Pattern(_)
                | Operand::Regex(_)
                | Operand::List(_)
        )
    }

    /// True for a single value that `in` takes for a list of one: an element that a register
    /// stands on, or an address, which may be a network.
    pub(super) fn is_one_of_several(&self) -> bool {
        let at = match self {
            Operand::Bool(BoolNode::Read(read))
            | Operand::Int(IntNode::Read(read), _)
            | Operand::Text(TextNode::Read(read), _) => read.at,
            Operand::Address(AddressNode::Constant(_)) => return false,
            Operand::Address(_) => return true,
            _ => return false,
        };
        at == At::Register
    }

    /// True for what others are matched against.
    pub(super) fn is_pattern(&self) -> bool {
        matches!(self, Operand::Pattern(_) | Operand::Regex(_))
    }

    /// True for several values.
    pub(super) fn is_list(&self) -> bool {
        matches!(
            self,
            Operand::Bools(_)
                | Operand::Ints(_)
                | Operand::Texts(..)
                | Operand::Addresses(_)
                | Operand::List(_)
        )
    }

    /// The type, for people.
    pub(super) fn describe(&self) -> String {
        let text = match self {
            Operand::Bool(_) => "a condition",
            Operand::Int(_, Origin::Duration) => "a duration",
            Operand::Int(..) => "a number",
            Operand::Text(..) => "a text",
            Operand::Pattern(_) => "a pattern",
            Operand::Regex(_) => "a regular expression",
            Operand::Address(_) => "an address",
            Operand::Bools(_) => "a list of booleans",
            Operand::Ints(_) => "a list of numbers",
            Operand::Texts(..) => "a list of texts",
            Operand::Addresses(_) => "a list of addresses",
            Operand::List(items) => return format!("a list of {}", items.describe()),
        };
        text.to_owned()
    }

    /// The value to be kept in a variable, or what this is instead.
    pub(super) fn into_any(self) -> Result<AnyNode, String> {
        Ok(match self {
            Operand::Bool(node) => AnyNode::Bool(node),
            Operand::Int(node, _) => AnyNode::Int(node),
            Operand::Text(node, _) => AnyNode::Text(node),
            Operand::Address(node) => AnyNode::Address(node),
            Operand::Bools(source) => AnyNode::Bools(source),
            Operand::Ints(list) => AnyNode::Ints(list),
            Operand::Texts(list, _) => AnyNode::Texts(list),
            Operand::Addresses(source) => AnyNode::Addresses(source),
            Operand::List(Items::Ints(values)) => AnyNode::IntConstants(values.into()),
            Operand::List(Items::Addresses(items)) => {
                let networks = items.into_iter().map(|item| match item {
                    AddressItem::Network(network) => Ok(network),
                    AddressItem::Table(_) => Err("a list file".to_owned()),
                });
                AnyNode::AddressConstants(networks.collect::<Result<Vec<_>, _>>()?.into())
            }
            Operand::List(Items::Texts(items)) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    match item {
                        TextItem::Text(text) => texts.push(text),
                        TextItem::Table(_) => return Err("a list file".to_owned()),
                        _ => return Err("a list of patterns".to_owned()),
                    }
                }
                AnyNode::TextConstants(texts.into())
            }
            pattern @ (Operand::Pattern(_) | Operand::Regex(_)) => return Err(pattern.describe()),
        })
    }
}
