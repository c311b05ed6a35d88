//! Compiled expressions: typed trees that are evaluated without allocation.

use std::sync::Arc;

use ipnet::IpNet;

use crate::catalogue::Matching;
use crate::matcher::{AddressSet, TextMatcher};
use crate::syntax::ast::Comparison;
use crate::value::{FieldId, IteratorId, ValueType};
use crate::variable::VariableId;

/// A compiled condition of a rule or an action.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) root: BoolNode,
    /// The list that the rule's register runs over: the condition holds when it does for one
    /// of its elements.
    pub(crate) register: Option<IteratorId>,
}

/// Reads a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Read {
    pub(crate) field: FieldId,
    pub(crate) at: At,
}

/// Which record a field is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// The event itself.
    Event,
    /// The element of this list that the register stands on.
    Register,
    /// A certain element of the list; a missing one has zero values.
    Index(IteratorId, usize),
}

/// A condition.
#[derive(Debug, Clone)]
pub(crate) enum BoolNode {
    Constant(bool),
    Read(Read),
    Variable(VariableId),
    Not(Box<BoolNode>),
    All(Box<[BoolNode]>),
    Any(Box<[BoolNode]>),
    Same(Box<BoolNode>, Box<BoolNode>),
    /// Any element of a list of booleans equals the value.
    AnyBool(Source, Box<BoolNode>),
    Int {
        operator: Comparison,
        left: IntNode,
        right: IntNode,
    },
    IntIn {
        value: IntNode,
        set: Arc<[i64]>,
    },
    AnyInt {
        list: IntList,
        operator: Comparison,
        right: IntNode,
    },
    AnyIntIn {
        list: IntList,
        set: Arc<[i64]>,
    },
    /// Lists of numbers that have one in common.
    CommonInt(IntList, IntList),
    Text {
        value: TextNode,
        matcher: Arc<TextMatcher>,
    },
    SameText {
        left: TextNode,
        right: TextNode,
        no_case: bool,
    },
    AnyText {
        list: TextList,
        matcher: Arc<TextMatcher>,
    },
    AnySameText {
        list: TextList,
        other: TextNode,
        no_case: bool,
    },
    /// Lists of texts that have one in common.
    CommonText {
        left: TextList,
        right: TextList,
        no_case: bool,
    },
    Address {
        value: AddressNode,
        set: Arc<AddressSet>,
    },
    SameAddress(AddressNode, AddressNode),
    AnyAddress {
        list: Source,
        set: Arc<AddressSet>,
    },
    AnySameAddress {
        list: Source,
        other: AddressNode,
    },
    CommonAddress(Source, Source),
    /// Every element fits every network.
    AllAddresses {
        list: Source,
        networks: Arc<[IpNet]>,
    },
}

/// A number.
#[derive(Debug, Clone)]
pub(crate) enum IntNode {
    Constant(i64),
    Read(Read),
    Variable(VariableId),
    /// Bytes of a text.
    TextLength(Box<TextNode>),
    /// Elements of a list.
    Count(Source),
    /// Elements of a list of records.
    IteratorLength(IteratorId),
    /// Time since a point in time.
    Age(Box<IntNode>),
    Add(Box<IntNode>, Box<IntNode>),
    Subtract(Box<IntNode>, Box<IntNode>),
    And(Box<IntNode>, Box<IntNode>),
    Or(Box<IntNode>, Box<IntNode>),
    Xor(Box<IntNode>, Box<IntNode>),
    Negate(Box<IntNode>),
    Complement(Box<IntNode>),
}

/// A text.
#[derive(Debug, Clone)]
pub(crate) enum TextNode {
    Constant(Arc<str>),
    Read(Read),
    Variable(VariableId),
    /// A fresh random identifier.
    Uuid,
    RootDomain(Box<TextNode>),
    /// Parts in a row.
    Template(Arc<[Part]>),
}

/// A part of a text with values filled in.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Text(Arc<str>),
    TextNode(TextNode),
    Int(IntNode),
    Bool(BoolNode),
    Address(AddressNode),
    Bools(Source),
    Texts(TextList),
    Ints(IntList),
    Addresses(Source),
}

/// An address.
#[derive(Debug, Clone)]
pub(crate) enum AddressNode {
    Constant(IpNet),
    Read(Read),
    Variable(VariableId),
}

/// Where several values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A field that holds a list.
    Read(Read),
    /// A field of each element of a list of records.
    Each(FieldId, IteratorId),
    /// A variable that holds a list.
    Variable(VariableId),
}

/// Several texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TextList {
    pub(crate) source: Source,
    /// Compare only the registrable domain.
    pub(crate) root_domain: bool,
}

/// Several numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IntList {
    Values(Source),
    /// The length of each text.
    TextLengths(Source),
    /// The number of elements of a list field in each record.
    Counts(FieldId, IteratorId),
}

/// A value of any type, for `set` and interpolation.
#[derive(Debug, Clone)]
pub(crate) enum AnyNode {
    Bool(BoolNode),
    Int(IntNode),
    Text(TextNode),
    Address(AddressNode),
    Bools(Source),
    Ints(IntList),
    Texts(TextList),
    Addresses(Source),
    /// A list that is written out.
    TextConstants(Arc<[String]>),
    IntConstants(Arc<[i64]>),
    AddressConstants(Arc<[IpNet]>),
}

impl AnyNode {
    pub(crate) const fn value_type(&self) -> ValueType {
        match self {
            AnyNode::Bool(_) => ValueType::Bool,
            AnyNode::Int(_) => ValueType::Int,
            AnyNode::Text(_) => ValueType::String,
            AnyNode::Address(_) => ValueType::Ip,
            AnyNode::Bools(_) => ValueType::Bools,
            AnyNode::Ints(_) | AnyNode::IntConstants(_) => ValueType::Ints,
            AnyNode::Texts(_) | AnyNode::TextConstants(_) => ValueType::Strings,
            AnyNode::Addresses(_) | AnyNode::AddressConstants(_) => ValueType::Ips,
        }
    }
}

impl BoolNode {
    pub(crate) fn negate(self) -> Self {
        match self {
            BoolNode::Not(inner) => *inner,
            BoolNode::Constant(value) => BoolNode::Constant(!value),
            other => BoolNode::Not(Box::new(other)),
        }
    }

    pub(crate) fn negate_if(self, negated: bool) -> Self {
        if negated { self.negate() } else { self }
    }
}

/// True when texts of this kind are compared without regard to case.
pub(crate) fn ignores_case(matching: Matching) -> bool {
    matching == Matching::NoCase
}
