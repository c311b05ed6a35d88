//! The syntax tree.

use ipnet::IpNet;

use crate::position::Span;

/// A part of an expression and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Operands of `&&` or `||` in a row.
    Logical {
        all: bool,
        operands: Vec<Node>,
    },
    Compare {
        operator: Comparison,
        left: Box<Node>,
        right: Box<Node>,
    },
    Member {
        operator: Membership,
        left: Box<Node>,
        right: Box<Node>,
    },
    Arithmetic {
        operator: Arithmetic,
        left: Box<Node>,
        right: Box<Node>,
    },
    Not(Box<Node>),
    Negate(Box<Node>),
    Complement(Box<Node>),
    List(Vec<Node>),
    Name(String),
    Variable(String),
    FieldReference(String),
    Ip(IpNet),
    Int(i64),
    Duration(i64),
    Text(String),
    Pattern(String),
    Regex(String),
}

/// A comparison of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    MatchesNot,
}

impl Comparison {
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::Matches => "=~",
            Comparison::MatchesNot => "!~",
        }
    }

    /// The operator with its sides swapped.
    pub(crate) const fn mirrored(self) -> Self {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }
}

/// A comparison with a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    In,
    NotIn,
    AllIn,
}

impl Membership {
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Membership::In => "in",
            Membership::NotIn => "not in",
            Membership::AllIn => "allin",
        }
    }
}

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    And,
    Or,
    Xor,
}
