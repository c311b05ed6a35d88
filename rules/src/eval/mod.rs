//! Evaluates compiled expressions.

mod lists;
mod values;

use ipnet::IpNet;

use crate::matcher::{normalize, overlap};
use crate::program::{At, BoolNode, Program, Read};
use crate::store::Variables;
use crate::syntax::ast::Comparison;
use crate::value::{Context, Value};
pub(crate) use values::{address_text, truncate};

/// What an expression is evaluated with.
pub(crate) struct Frame<'a, C: ?Sized> {
    pub(crate) context: &'a C,
    pub(crate) variables: &'a Variables,
    /// The element that the register stands on.
    register: usize,
}

impl<'a, C: Context + ?Sized> Frame<'a, C> {
    pub(crate) fn new(context: &'a C, variables: &'a Variables) -> Self {
        Self {
            context,
            variables,
            register: 0,
        }
    }

    /// True when the program's condition holds.
    pub(crate) fn run(&mut self, program: &Program) -> bool {
        let Some(iterator) = program.register else {
            return self.bool(&program.root);
        };
        (0..self.context.length(iterator)).any(|index| {
            self.register = index;
            self.bool(&program.root)
        })
    }

    fn read(&self, read: Read) -> Value<'a> {
        match read.at {
            At::Event => self.context.value(read.field),
            At::Register => self.context.element(read.field, self.register),
            At::Index(iterator, index) if index < self.context.length(iterator) => {
                self.context.element(read.field, index)
            }
            // No type expects this one, so each falls back to its zero value.
            At::Index(..) => Value::Bools(&[]),
        }
    }

    pub(crate) fn bool(&self, node: &BoolNode) -> bool {
        match node {
            BoolNode::Constant(value) => *value,
            BoolNode::Read(read) => matches!(self.read(*read), Value::Bool(true)),
            BoolNode::Variable(id) => self.variables.bool(*id, self.context),
            BoolNode::Not(inner) => !self.bool(inner),
            BoolNode::All(operands) => operands.iter().all(|operand| self.bool(operand)),
            BoolNode::Any(operands) => operands.iter().any(|operand| self.bool(operand)),
            BoolNode::Same(left, right) => self.bool(left) == self.bool(right),
            BoolNode::AnyBool(source, value) => {
                let value = self.bool(value);
                self.any_bool(*source, |element| element == value)
            }
            BoolNode::Int {
                operator,
                left,
                right,
            } => compare(*operator, self.int(left), self.int(right)),
            BoolNode::IntIn { value, set } => set.binary_search(&self.int(value)).is_ok(),
            BoolNode::AnyInt {
                list,
                operator,
                right,
            } => {
                let right = self.int(right);
                self.any_int(*list, |element| compare(*operator, element, right))
            }
            BoolNode::AnyIntIn { list, set } => {
                self.any_int(*list, |element| set.binary_search(&element).is_ok())
            }
            BoolNode::CommonInt(left, right) => {
                self.any_int(*left, |a| self.any_int(*right, |b| a == b))
            }
            BoolNode::Text { value, matcher } => matcher.matches(&self.text(value)),
            BoolNode::SameText {
                left,
                right,
                no_case,
            } => same_text(&self.text(left), &self.text(right), *no_case),
            BoolNode::AnyText { list, matcher } => {
                self.any_text(*list, |element| matcher.matches(element))
            }
            BoolNode::AnySameText {
                list,
                other,
                no_case,
            } => {
                let other = self.text(other);
                self.any_text(*list, |element| same_text(element, &other, *no_case))
            }
            BoolNode::CommonText {
                left,
                right,
                no_case,
            } => self.any_text(*left, |a| {
                self.any_text(*right, |b| same_text(a, b, *no_case))
            }),
            BoolNode::Address { value, set } => set.contains(self.address(value)),
            BoolNode::SameAddress(left, right) => {
                same_address(self.address(left), self.address(right))
            }
            BoolNode::AnyAddress { list, set } => {
                self.any_address(*list, |element| set.contains(element))
            }
            BoolNode::AnySameAddress { list, other } => {
                let other = self.address(other);
                self.any_address(*list, |element| same_address(element, other))
            }
            BoolNode::CommonAddress(left, right) => {
                self.any_address(*left, |a| self.any_address(*right, |b| same_address(a, b)))
            }
            BoolNode::AllAddresses { list, networks } => {
                !self.any_address(*list, |element| !in_all(element, networks))
            }
        }
    }
}

pub(crate) fn compare(operator: Comparison, left: i64, right: i64) -> bool {
    match operator {
        Comparison::Equal | Comparison::Matches => left == right,
        Comparison::NotEqual | Comparison::MatchesNot => left != right,
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
    }
}

fn same_text(a: &str, b: &str, no_case: bool) -> bool {
    if no_case {
        a.eq_ignore_ascii_case(b)
    } else {
        a == b
    }
}

/// True when the value fits every network.
fn in_all(value: IpNet, networks: &[IpNet]) -> bool {
    let value = normalize(value);
    networks.iter().all(|network| overlap(*network, value))
}

fn same_address(a: IpNet, b: IpNet) -> bool {
    overlap(normalize(a), normalize(b))
}
