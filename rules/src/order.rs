//! Puts the parts of a condition in the order in which they are quickest to decide.
//!
//! Nothing that a condition looks at changes while it is evaluated, and looking changes nothing, so
//! the order cannot be seen from outside.

use crate::program::{BoolNode, IntNode, Program, TextNode};

/// What a node takes, in comparisons of a number: rough, and only good to be compared.
type Cost = u32;

/// Comparing with a set of addresses.
const ADDRESSES: Cost = 4;
/// Looking at every element of a list, such as all ancestors.
const LIST: Cost = 16;
/// Finding the value of a variable.
const VARIABLE: Cost = 8;

impl Program {
    /// The same condition, with what is quick to decide before what is not.
    pub(crate) fn cheapest_first(mut self) -> Self {
        order(&mut self.root);
        self
    }
}

/// Orders a node's parts; gives what it takes.
fn order(node: &mut BoolNode) -> Cost {
    match node {
        BoolNode::Not(inner) => order(inner),
        BoolNode::Same(left, right) => order(left).saturating_add(order(right)),
        BoolNode::All(operands) | BoolNode::Any(operands) => {
            let row = std::mem::take(operands).into_iter();
            let mut row: Vec<(Cost, BoolNode)> = row
                .map(|mut operand| (order(&mut operand), operand))
                .collect();
            // What takes the same stays as it was written.
            row.sort_by_key(|(cost, _)| *cost);
            let costs = row.iter().map(|(cost, _)| *cost);
            let cost = costs.fold(0, Cost::saturating_add);
            *operands = row.into_iter().map(|(_, operand)| operand).collect();
            cost
        }
        BoolNode::Constant(_) => 0,
        BoolNode::Read(_) => 1,
        BoolNode::Variable(_) => VARIABLE,
        BoolNode::Int { left, right, .. } => number(left).saturating_add(number(right)),
        BoolNode::IntIn { value, .. } => number(value).saturating_add(1),
        BoolNode::Text { value, matcher } => text(value).saturating_add(matcher.cost()),
        BoolNode::SameText { left, right, .. } => text(left).saturating_add(text(right)),
        BoolNode::Address { .. } | BoolNode::SameAddress(..) => ADDRESSES,
        BoolNode::AnyText { matcher, .. } => matcher.cost().saturating_mul(LIST),
        BoolNode::AnyBool(..)
        | BoolNode::AnyInt { .. }
        | BoolNode::AnyIntIn { .. }
        | BoolNode::AnySameText { .. }
        | BoolNode::AnyAddress { .. }
        | BoolNode::AnySameAddress { .. }
        | BoolNode::AllAddresses { .. } => LIST,
        BoolNode::CommonInt(..) | BoolNode::CommonText { .. } | BoolNode::CommonAddress(..) => {
            LIST * LIST
        }
    }
}

fn number(node: &IntNode) -> Cost {
    match node {
        IntNode::Constant(_) => 0,
        IntNode::Read(_) | IntNode::IteratorLength(_) => 1,
        IntNode::Variable(_) => VARIABLE,
        IntNode::TextLength(value) => text(value),
        IntNode::Count(_) => LIST,
        IntNode::Age(value) | IntNode::Negate(value) | IntNode::Complement(value) => number(value),
        IntNode::Add(left, right)
        | IntNode::Subtract(left, right)
        | IntNode::And(left, right)
        | IntNode::Or(left, right)
        | IntNode::Xor(left, right) => number(left).saturating_add(number(right)),
    }
}

fn text(node: &TextNode) -> Cost {
    match node {
        TextNode::Constant(_) => 0,
        TextNode::Read(_) => 1,
        TextNode::Variable(_) => VARIABLE,
        // Both make a text of their own.
        TextNode::Uuid | TextNode::Template(_) => LIST,
        TextNode::RootDomain(inner) => text(inner).saturating_add(LIST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{At, Read};
    use crate::value::FieldId;

    fn flag(field: u16) -> BoolNode {
        BoolNode::Read(Read {
            field: FieldId(field),
            at: At::Event,
        })
    }

    fn fields(node: &BoolNode) -> Vec<u16> {
        match node {
            BoolNode::Read(read) => vec![read.field.0],
            BoolNode::All(operands) | BoolNode::Any(operands) => {
                operands.iter().flat_map(fields).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn what_is_quick_comes_first_and_equals_keep_their_places() {
        let many = BoolNode::Any([flag(1), flag(2), flag(3)].into());
        let mut node = BoolNode::All([many, flag(4), flag(5)].into());
        assert_eq!(order(&mut node), 5);
        assert_eq!(fields(&node), [4, 5, 1, 2, 3]);
    }
}
