//! Fields with a second value: a program counts under the path that it was called by, too.
//!
//! A comparison with such a field holds when it does for either value. A second value that is
//! empty does not count. `!=` and `not in` negate the whole.

use crate::catalogue::Catalogue;
use crate::matcher::TextMatcher;
use crate::program::{BoolNode, IntNode, Read, Source, TextList, TextNode};
use crate::syntax::ast::Comparison;

/// The same condition over both values of its field.
pub(super) fn widen(catalogue: &Catalogue, node: BoolNode) -> BoolNode {
    match node {
        BoolNode::Not(inner) => BoolNode::Not(Box::new(widen(catalogue, *inner))),
        BoolNode::Any(nodes) => {
            let nodes = nodes.into_iter().map(|node| widen(catalogue, node));
            BoolNode::Any(nodes.collect())
        }
        node => match other(catalogue, &node) {
            Some(other) => BoolNode::Any([node, other].into()),
            None => node,
        },
    }
}

/// The condition over the second value alone; `None` when there is none.
fn other(catalogue: &Catalogue, node: &BoolNode) -> Option<BoolNode> {
    match node {
        BoolNode::Text { value, matcher } => {
            let value = second(catalogue, value)?;
            let node = BoolNode::Text {
                value: value.clone(),
                matcher: matcher.clone(),
            };
            Some(match matches_nothing(matcher) {
                true => filled(value, node),
                false => node,
            })
        }
        BoolNode::SameText {
            left,
            right,
            no_case,
        } => {
            let (value, left, right) = match second(catalogue, left) {
                Some(value) => (value.clone(), value, right.clone()),
                None => {
                    let value = second(catalogue, right)?;
                    (value.clone(), left.clone(), value)
                }
            };
            let node = BoolNode::SameText {
                left,
                right,
                no_case: *no_case,
            };
            Some(filled(value, node))
        }
        // Of several records, those without a second value cannot be told from those whose
        // value is empty: a condition that holds for an empty text is left as it is.
        BoolNode::AnyText { list, matcher } if !matches_nothing(matcher) => {
            Some(BoolNode::AnyText {
                list: second_of_each(catalogue, list)?,
                matcher: matcher.clone(),
            })
        }
        BoolNode::AnySameText {
            list,
            other,
            no_case,
        } => {
            let node = BoolNode::AnySameText {
                list: second_of_each(catalogue, list)?,
                other: other.clone(),
                no_case: *no_case,
            };
            Some(filled(other.clone(), node))
        }
        _ => None,
    }
}

fn second(catalogue: &Catalogue, value: &TextNode) -> Option<TextNode> {
    let TextNode::Read(Read { field, at }) = value else {
        return None;
    };
    let field = catalogue.info(*field).also?;
    Some(TextNode::Read(Read { field, at: *at }))
}

fn second_of_each(catalogue: &Catalogue, list: &TextList) -> Option<TextList> {
    let Source::Each(field, iterator) = list.source else {
        return None;
    };
    let source = Source::Each(catalogue.info(field).also?, iterator);
    Some(TextList { source, ..*list })
}

fn matches_nothing(matcher: &TextMatcher) -> bool {
    matcher.matches("")
}

/// The condition, for a text that is not empty.
fn filled(text: TextNode, node: BoolNode) -> BoolNode {
    let length = BoolNode::Int {
        operator: Comparison::Greater,
        left: IntNode::TextLength(Box::new(text)),
        right: IntNode::Constant(0),
    };
    BoolNode::All([length, node].into())
}
