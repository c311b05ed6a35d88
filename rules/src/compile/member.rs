//! `in`, `not in`, `allin`, and lists that are written out.

use std::sync::Arc;

use ipnet::IpNet;

use super::compare::Comparer;
use super::operand::{AddressItem, Items, Operand, Origin, TextItem, TextKind};
use super::texts::MatcherBuilder;
use super::{Compiler, Result};
use crate::matcher::{AddressSet, normalize};
use crate::position::Span;
use crate::program::{AddressNode, BoolNode, IntNode, TextNode, ignores_case};
use crate::syntax::ast::{Comparison, Kind, Membership, Node};
use crate::syntax::{ExpressionError, Problem};

impl<'a> Compiler<'a> {
    pub(super) fn membership(
        &mut self,
        operator: Membership,
        left: &Node,
        right: &Node,
        span: Span,
    ) -> Result<BoolNode> {
        let value = self.operand(left)?;
        let list = match self.operand(right)? {
            // One element of a list, or a network: a list of one.
            single if single.is_one_of_several() => {
                let comparer = Comparer {
                    operator: Comparison::Equal,
                    span,
                    blame: right.span,
                    left: left.span,
                    right: right.span,
                };
                let node = comparer.compare(value, single)?;
                return Ok(node.negate_if(operator == Membership::NotIn));
            }
            // A single constant, such as a network or a macro that stands for one.
            Operand::Address(AddressNode::Constant(network)) => {
                Operand::List(Items::Addresses(vec![AddressItem::Network(network)]))
            }
            Operand::Text(TextNode::Constant(text), None) => {
                Operand::List(Items::Texts(vec![TextItem::Text(text.to_string())]))
            }
            Operand::Pattern(text) => Operand::List(Items::Texts(vec![TextItem::Pattern(text)])),
            Operand::Regex(text) => Operand::List(Items::Texts(vec![TextItem::Regex(text)])),
            Operand::Int(IntNode::Constant(number), _) => Operand::List(Items::Ints(vec![number])),
            other => other,
        };
        let node = match list {
            Operand::List(items) => member_of(operator, value, items, right)?,
            list => overlap(operator, value, list, right)?,
        };
        Ok(node.negate_if(operator == Membership::NotIn))
    }

    /// A list that is written out.
    pub(super) fn list(&mut self, elements: &[Node]) -> Result<Items> {
        let mut list: Option<Items> = None;
        for element in elements {
            self.count(1, element.span)?;
            let items = self.element(element)?;
            match (&mut list, items) {
                (None, items) => list = Some(items),
                (Some(Items::Texts(list)), Items::Texts(items)) => list.extend(items),
                (Some(Items::Ints(list)), Items::Ints(items)) => list.extend(items),
                (Some(Items::Addresses(list)), Items::Addresses(items)) => list.extend(items),
                (Some(list), other) => {
                    let problem = Problem::MixedList {
                        first: list.describe(),
                        other: other.describe(),
                    };
                    return Err(ExpressionError::new(problem, element.span));
                }
            }
        }
        list.ok_or_else(|| ExpressionError::new(Problem::EmptyList, Span::default()))
    }

    fn element(&mut self, element: &Node) -> Result<Items> {
        let operand = match &element.kind {
            // Inside a list a macro goes before a constant.
            Kind::Name(name) if self.environment.macros.contains_key(name.as_str()) => {
                match self.environment.macros.get_key_value(name.as_str()) {
                    Some((name, body)) => self.expand_macro(name, body, element.span)?,
                    None => self.operand(element)?,
                }
            }
            _ => self.operand(element)?,
        };
        Ok(match operand {
            Operand::List(items) => items,
            Operand::Int(IntNode::Constant(number), origin) if origin != Origin::Duration => {
                Items::Ints(vec![number])
            }
            Operand::Address(AddressNode::Constant(network)) => {
                Items::Addresses(vec![AddressItem::Network(network)])
            }
            Operand::Text(TextNode::Constant(text), None) => {
                Items::Texts(vec![TextItem::Text(text.to_string())])
            }
            Operand::Text(template @ TextNode::Template(_), None) => {
                Items::Texts(vec![TextItem::Template(template)])
            }
            Operand::Pattern(pattern) => Items::Texts(vec![TextItem::Pattern(pattern)]),
            Operand::Regex(regex) => Items::Texts(vec![TextItem::Regex(regex)]),
            other => {
                let what = match &element.kind {
                    Kind::Name(name) => name.clone(),
                    _ => other.describe(),
                };
                return Err(ExpressionError::new(
                    Problem::NotConstant(what),
                    element.span,
                ));
            }
        })
    }
}

/// A value and a list that is written out.
fn member_of(operator: Membership, value: Operand, items: Items, right: &Node) -> Result<BoolNode> {
    match (value, items) {
        (Operand::Int(IntNode::Constant(value), _), Items::Ints(numbers)) => {
            Ok(BoolNode::Constant(numbers.contains(&value)))
        }
        (Operand::Int(value, _), Items::Ints(numbers)) => Ok(BoolNode::IntIn {
            value,
            set: int_set(numbers),
        }),
        (Operand::Ints(list), Items::Ints(numbers)) => Ok(BoolNode::AnyIntIn {
            list,
            set: int_set(numbers),
        }),
        // `allin` means all for several addresses only; of one it asks what `in` asks.
        (Operand::Address(value), Items::Addresses(items)) => Ok(address_set(items).map_or(
            BoolNode::Constant(false),
            |set| BoolNode::Address { value, set },
        )),
        (Operand::Addresses(list), Items::Addresses(items)) => Ok(match operator {
            Membership::AllIn => BoolNode::AllAddresses {
                list,
                networks: networks(items, right.span)?,
            },
            _ => address_set(items).map_or(BoolNode::Constant(false), |set| BoolNode::AnyAddress {
                list,
                set,
            }),
        }),
        (Operand::Text(value, kind), Items::Texts(items)) => {
            let kind = kind.unwrap_or(TextKind::plain());
            let (builder, templates) = sort(kind, &items, right)?;
            let no_case = ignores_case(kind.matching);
            let constants = (!builder.is_empty()).then(|| builder.finish());
            let constants = constants.map(|matcher| match &value {
                TextNode::Constant(text) => BoolNode::Constant(matcher.matches(text)),
                _ => BoolNode::Text {
                    value: value.clone(),
                    matcher,
                },
            });
            Ok(any(constants, templates, |right| BoolNode::SameText {
                left: value.clone(),
                right,
                no_case,
            }))
        }
        (Operand::Texts(list, kind), Items::Texts(items)) => {
            let (builder, templates) = sort(kind, &items, right)?;
            let no_case = ignores_case(kind.matching);
            let constants = (!builder.is_empty()).then(|| builder.finish());
            let constants = constants.map(|matcher| BoolNode::AnyText { list, matcher });
            Ok(any(constants, templates, |other| BoolNode::AnySameText {
                list,
                other,
                no_case,
            }))
        }
        (value, items) => {
            let problem = Problem::Mismatch {
                operator: operator.symbol().to_owned(),
                left: value.describe(),
                right: format!("a list of {}", items.describe()),
            };
            Err(ExpressionError::new(problem, right.span))
        }
    }
}

/// Constants go into a matcher, templates are compared one by one.
fn sort(
    kind: TextKind,
    items: &[TextItem],
    right: &Node,
) -> Result<(MatcherBuilder, Vec<TextNode>)> {
    let mut builder = MatcherBuilder::new(kind);
    let mut templates = Vec::new();
    for (index, item) in items.iter().enumerate() {
        // Point to the element, unless a macro brought in more of them.
        let span = match &right.kind {
            Kind::List(elements) if elements.len() == items.len() => elements[index].span,
            _ => right.span,
        };
        match item {
            TextItem::Template(node) => templates.push(node.clone()),
            constant => builder.add(constant, span)?,
        }
    }
    Ok((builder, templates))
}

fn any(
    constants: Option<BoolNode>,
    templates: Vec<TextNode>,
    make: impl Fn(TextNode) -> BoolNode,
) -> BoolNode {
    let mut nodes: Vec<BoolNode> = constants
        .into_iter()
        .chain(templates.into_iter().map(make))
        .collect();
    match nodes.len() {
        // Of a list file that is empty.
        0 => BoolNode::Constant(false),
        1 => nodes.remove(0),
        _ => BoolNode::Any(nodes.into()),
    }
}

/// A value and a list that is known only when the event is.
fn overlap(operator: Membership, value: Operand, list: Operand, right: &Node) -> Result<BoolNode> {
    let mismatch = |left: &Operand, list: &Operand| {
        let problem = Problem::Mismatch {
            operator: operator.symbol().to_owned(),
            left: left.describe(),
            right: list.describe(),
        };
        ExpressionError::new(problem, right.span)
    };
    if let (Some(item), Operand::Texts(list, kind)) = (constant_text(&value), &list) {
        let mut builder = MatcherBuilder::new(*kind);
        builder.add(&item, right.span)?;
        return Ok(BoolNode::AnyText {
            list: *list,
            matcher: builder.finish(),
        });
    }
    Ok(match (value, list) {
        (Operand::Text(other, own), Operand::Texts(list, kind)) => {
            let no_case =
                ignores_case(kind.matching) || own.is_some_and(|kind| ignores_case(kind.matching));
            BoolNode::AnySameText {
                list,
                other,
                no_case,
            }
        }
        (Operand::Texts(left, kind), Operand::Texts(right, other)) => {
            let no_case = ignores_case(kind.matching) || ignores_case(other.matching);
            BoolNode::CommonText {
                left,
                right,
                no_case,
            }
        }
        (Operand::Int(right, _), Operand::Ints(list)) => BoolNode::AnyInt {
            list,
            operator: Comparison::Equal,
            right,
        },
        (Operand::Ints(left), Operand::Ints(right)) => BoolNode::CommonInt(left, right),
        (value @ Operand::Addresses(_), list @ Operand::Addresses(_))
            if operator == Membership::AllIn =>
        {
            return Err(mismatch(&value, &list));
        }
        (Operand::Address(other), Operand::Addresses(list)) => {
            BoolNode::AnySameAddress { list, other }
        }
        (Operand::Addresses(left), Operand::Addresses(right)) => {
            BoolNode::CommonAddress(left, right)
        }
        (Operand::Bool(value), Operand::Bools(list)) => BoolNode::AnyBool(list, Box::new(value)),
        (value, list) => return Err(mismatch(&value, &list)),
    })
}

/// What a text can be held against, where that is written out.
fn constant_text(value: &Operand) -> Option<TextItem> {
    match value {
        Operand::Text(TextNode::Constant(text), None) => Some(TextItem::Text(text.to_string())),
        Operand::Pattern(pattern) => Some(TextItem::Pattern(pattern.clone())),
        Operand::Regex(regex) => Some(TextItem::Regex(regex.clone())),
        _ => None,
    }
}

fn int_set(mut numbers: Vec<i64>) -> Arc<[i64]> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into()
}

/// The set of these addresses; `None` when there are none, as in a list file that is empty.
fn address_set(items: Vec<AddressItem>) -> Option<Arc<AddressSet>> {
    let mut set = AddressSet::default();
    for item in items {
        match item {
            AddressItem::Network(network) => set.insert(network),
            AddressItem::Table(table) => set.share(&table),
        }
    }
    set.seal();
    (!set.is_empty()).then(|| Arc::new(set))
}

/// The networks of `allin`, which asks for each of them.
fn networks(items: Vec<AddressItem>, span: Span) -> Result<Arc<[IpNet]>> {
    let networks = items.into_iter().map(|item| match item {
        AddressItem::Network(network) => Ok(normalize(network)),
        AddressItem::Table(_) => {
            let problem = Problem::Mismatch {
                operator: Membership::AllIn.symbol().to_owned(),
                left: "addresses".to_owned(),
                right: "a list file".to_owned(),
            };
            Err(ExpressionError::new(problem, span))
        }
    });
    networks.collect::<Result<Vec<_>>>().map(Arc::from)
}
