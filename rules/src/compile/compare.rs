//! `==`, `!=`, `<`, `=~` and their kin.

use std::sync::Arc;

use super::Result;
use super::operand::{Operand, Origin, TextItem, TextKind};
use super::texts::MatcherBuilder;
use crate::matcher::AddressSet;
use crate::position::Span;
use crate::program::{AddressNode, BoolNode, IntNode, TextNode, ignores_case};
use crate::syntax::ast::Comparison;
use crate::syntax::{ExpressionError, Problem};

/// Compiles one comparison.
pub(super) struct Comparer {
    pub(super) operator: Comparison,
    pub(super) span: Span,
    /// The value on the right as it was written: what does not fit is pointed out there.
    pub(super) blame: Span,
    pub(super) left: Span,
    pub(super) right: Span,
}

impl Comparer {
    pub(super) fn compare(mut self, left: Operand, right: Operand) -> Result<BoolNode> {
        if let Comparison::Matches | Comparison::MatchesNot = self.operator {
            return self.matches(left, right);
        }
        // Constants and single values go to the right, and of two constants the pattern.
        let swap = left.is_literal() && !right.is_literal()
            || !left.is_list() && right.is_list() && !right.is_literal()
            || left.is_pattern() && !right.is_pattern();
        if swap {
            self.operator = self.operator.mirrored();
            std::mem::swap(&mut self.left, &mut self.right);
            return self.ordered(right, left);
        }
        self.ordered(left, right)
    }

    fn ordered(&self, left: Operand, right: Operand) -> Result<BoolNode> {
        match (left, right) {
            (Operand::Int(left, left_origin), Operand::Int(right, right_origin)) => {
                self.ints(left, left_origin, right, right_origin)
            }
            (Operand::Ints(list), Operand::Int(right, origin)) => {
                // `!=` on several values: none of them equals.
                let (operator, negated) = match self.operator {
                    Comparison::NotEqual => (Comparison::Equal, true),
                    other => (other, false),
                };
                if origin == Origin::Duration {
                    let problem = self.mismatch_problem("a list of numbers", "a duration");
                    return Err(ExpressionError::new(problem, self.span));
                }
                Ok(BoolNode::AnyInt {
                    list,
                    operator,
                    right,
                }
                .negate_if(negated))
            }
            (left, right) => {
                let negated = match self.operator {
                    Comparison::Equal => false,
                    Comparison::NotEqual => true,
                    _ => return Err(self.mismatch(&left, &right)),
                };
                self.equal(left, right).map(|node| node.negate_if(negated))
            }
        }
    }

    fn ints(
        &self,
        left: IntNode,
        left_origin: Origin,
        right: IntNode,
        right_origin: Origin,
    ) -> Result<BoolNode> {
        let mut left = left;
        if right_origin == Origin::Duration && left_origin == Origin::Value {
            if self.operator == Comparison::NotEqual {
                let problem = self.mismatch_problem("a point in time", "a duration");
                return Err(ExpressionError::new(problem, self.span));
            }
            left = IntNode::Age(Box::new(left));
        }
        if let (IntNode::Constant(a), IntNode::Constant(b)) = (&left, &right) {
            return Ok(BoolNode::Constant(crate::eval::compare(
                self.operator,
                *a,
                *b,
            )));
        }
        Ok(BoolNode::Int {
            operator: self.operator,
            left,
            right,
        })
    }

    fn equal(&self, left: Operand, right: Operand) -> Result<BoolNode> {
        Ok(match (left, right) {
            (Operand::Bool(left), Operand::Bool(BoolNode::Constant(value))) => {
                left.negate_if(!value)
            }
            (Operand::Bool(left), Operand::Bool(right)) => {
                BoolNode::Same(Box::new(left), Box::new(right))
            }
            (Operand::Bools(list), Operand::Bool(value)) => {
                BoolNode::AnyBool(list, Box::new(value))
            }
            (Operand::Ints(left), Operand::Ints(right)) => BoolNode::CommonInt(left, right),
            (Operand::Text(left, left_kind), Operand::Text(right, right_kind)) => {
                let kind = left_kind.or(right_kind).unwrap_or(TextKind::plain());
                match right {
                    TextNode::Constant(text) => {
                        self.fits(left, left_kind, &TextItem::Text(text.to_string()))?
                    }
                    right => {
                        let no_case = ignores_case(kind.matching)
                            || right_kind.is_some_and(|kind| ignores_case(kind.matching));
                        BoolNode::SameText {
                            left,
                            right,
                            no_case,
                        }
                    }
                }
            }
            (Operand::Text(left, kind), Operand::Pattern(pattern)) => {
                self.fits(left, kind, &TextItem::Pattern(pattern))?
            }
            (Operand::Text(left, kind), Operand::Regex(regex)) => {
                self.fits(left, kind, &TextItem::Regex(regex))?
            }
            (Operand::Texts(list, kind), Operand::Text(TextNode::Constant(text), _)) => {
                let mut builder = MatcherBuilder::new(kind);
                builder.text(&text, self.right)?;
                BoolNode::AnyText {
                    list,
                    matcher: builder.finish(),
                }
            }
            (Operand::Texts(list, kind), Operand::Text(other, _)) => BoolNode::AnySameText {
                list,
                other,
                no_case: ignores_case(kind.matching),
            },
            (Operand::Texts(list, kind), Operand::Pattern(pattern)) => {
                let mut builder = MatcherBuilder::new(kind);
                builder.pattern(&pattern, self.right)?;
                BoolNode::AnyText {
                    list,
                    matcher: builder.finish(),
                }
            }
            (Operand::Texts(list, kind), Operand::Regex(regex)) => {
                let mut builder = MatcherBuilder::new(kind);
                builder.regex(&regex, self.right)?;
                BoolNode::AnyText {
                    list,
                    matcher: builder.finish(),
                }
            }
            (Operand::Texts(left, kind), Operand::Texts(right, _)) => BoolNode::CommonText {
                left,
                right,
                no_case: ignores_case(kind.matching),
            },
            (Operand::Address(value), Operand::Address(AddressNode::Constant(network))) => {
                BoolNode::Address {
                    value,
                    set: one(network),
                }
            }
            (Operand::Address(left), Operand::Address(right)) => BoolNode::SameAddress(left, right),
            (Operand::Addresses(list), Operand::Address(AddressNode::Constant(network))) => {
                BoolNode::AnyAddress {
                    list,
                    set: one(network),
                }
            }
            (Operand::Addresses(list), Operand::Address(other)) => {
                BoolNode::AnySameAddress { list, other }
            }
            (Operand::Addresses(left), Operand::Addresses(right)) => {
                BoolNode::CommonAddress(left, right)
            }
            (left, right) => return Err(self.mismatch(&left, &right)),
        })
    }

    fn fits(&self, left: TextNode, kind: Option<TextKind>, item: &TextItem) -> Result<BoolNode> {
        let mut builder = MatcherBuilder::new(kind.unwrap_or(TextKind::plain()));
        builder.add(item, self.right)?;
        let matcher = builder.finish();
        Ok(match &left {
            TextNode::Constant(text) => BoolNode::Constant(matcher.matches(text)),
            _ => BoolNode::Text {
                value: left,
                matcher,
            },
        })
    }

    /// `=~`: a text on the right is a pattern.
    fn matches(&self, left: Operand, right: Operand) -> Result<BoolNode> {
        let right = match right {
            Operand::Text(TextNode::Constant(text), None) => Operand::Pattern(text.to_string()),
            Operand::Text(..) => {
                let problem = Problem::NotStatic(self.operator.symbol());
                return Err(ExpressionError::new(problem, self.right));
            }
            pattern @ (Operand::Pattern(_) | Operand::Regex(_)) => pattern,
            other => return Err(self.mismatch(&left, &other)),
        };
        if !matches!(left, Operand::Text(..) | Operand::Texts(..)) {
            return Err(self.mismatch(&left, &right));
        }
        let negated = self.operator == Comparison::MatchesNot;
        self.equal(left, right).map(|node| node.negate_if(negated))
    }

    fn mismatch(&self, left: &Operand, right: &Operand) -> ExpressionError {
        let problem = self.mismatch_problem(&left.describe(), &right.describe());
        let suggestion = match (self.operator, right) {
            (Comparison::Equal | Comparison::Matches, Operand::List(_)) => Some("`in`".to_owned()),
            (Comparison::NotEqual | Comparison::MatchesNot, Operand::List(_)) => {
                Some("`not in`".to_owned())
            }
            _ => None,
        };
        // Of two values of one type, the operator is what does not fit.
        let span = match left.describe() == right.describe() {
            true => self.span,
            false => self.blame,
        };
        ExpressionError::new(problem, span).suggest(suggestion)
    }

    fn mismatch_problem(&self, left: &str, right: &str) -> Problem {
        Problem::Mismatch {
            operator: self.operator.symbol().to_owned(),
            left: left.to_owned(),
            right: right.to_owned(),
        }
    }
}

fn one(network: ipnet::IpNet) -> Arc<AddressSet> {
    let mut set = AddressSet::default();
    set.insert(network);
    set.seal();
    Arc::new(set)
}
