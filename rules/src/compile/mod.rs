//! From a syntax tree to a compiled expression: resolves names, checks types.

mod alternatives;
mod compare;
mod expand;
mod macros;
mod member;
mod names;
mod operand;
mod texts;

use std::cell::Cell;

use crate::catalogue::{Catalogue, FieldInfo};
use crate::position::Span;
use crate::program::{AnyNode, BoolNode, IntNode, Program, TextNode};
use crate::syntax::ast::{Arithmetic, Comparison, Kind, Node};
use crate::syntax::{ExpressionError, MAX_DEPTH, Problem, nearest};
use crate::value::{EventId, FieldId, IteratorId};
use crate::variable::{VariableId, VariableTable};

use alternatives::widen;
pub(crate) use expand::expand;
pub(crate) use macros::{Macro, MacroTable};
use operand::{Operand, Origin};

pub(crate) type Result<T> = std::result::Result<T, ExpressionError>;

/// Most parts an expression may have with its macros filled in.
const MAX_NODES: usize = 200_000;

/// Most parts that everything loaded together may have.
const MAX_ALL_NODES: usize = 1_000_000;

/// Most mistakes of everything loaded together for which it is said what may have been meant.
const MAX_SUGGESTIONS: usize = 100;

/// What a regular expression counts for: it is large once it is compiled.
const REGEX_NODES: usize = 1000;

/// How much has been compiled so far.
#[derive(Debug, Default)]
pub(crate) struct Work {
    parts: Cell<usize>,
    suggestions: Cell<usize>,
}

/// Which fields are taken for their zero value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// None: the condition is to be evaluated.
    None,
    /// Those that always have it.
    Always,
    /// Those, and those that mostly have it.
    Mostly,
}

impl Zeros {
    fn take(self, field: &FieldInfo) -> bool {
        match self {
            Zeros::None => false,
            Zeros::Always => field.zero.is_some(),
            Zeros::Mostly => field.zero.is_some() || field.mostly_zero.is_some(),
        }
    }
}

/// What names in an expression can refer to.
#[derive(Clone, Copy)]
pub(crate) struct Environment<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) macros: &'a MacroTable,
    pub(crate) variables: &'a VariableTable,
    /// The variable whose default is the tags of the rule that is compiled, where there is one.
    pub(crate) rule_tags: Option<VariableId>,
    /// Fields that are taken for their zero value, to see what can come true.
    pub(crate) zeros: Zeros,
    /// Counts what is compiled, so that a policy cannot grow without limit.
    pub(crate) work: &'a Work,
}

/// A compiled condition, with what was learned about it.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) program: Program,
    /// The event type of its fields, if any has one.
    pub(crate) event: Option<EventId>,
    /// Every field it reads.
    pub(crate) fields: Vec<FieldId>,
    /// Macros in it that stand for a list without entries.
    pub(crate) empty: Vec<String>,
}

/// Compiles a condition.
pub(crate) fn compile(environment: Environment<'_>, node: &Node) -> Result<Compiled> {
    let mut compiler = Compiler::new(environment);
    let root = compiler.condition(node)?;
    Ok(Compiled {
        program: Program {
            root,
            register: compiler.register.map(|(_, iterator)| iterator),
        },
        event: compiler.event,
        fields: compiler.fields,
        empty: compiler.empty,
    })
}

/// Compiles an expression of any type; also gives the event type of its fields.
pub(crate) fn compile_value(
    environment: Environment<'_>,
    node: &Node,
) -> Result<(AnyNode, Option<EventId>)> {
    let mut compiler = Compiler::new(environment);
    let operand = compiler.operand(node)?;
    if let Some((name, _)) = compiler.register {
        let problem = Problem::PseudoField(format!("register {name}"));
        return Err(ExpressionError::new(problem, node.span));
    }
    let value = operand.into_any().map_err(|found| {
        let problem = Problem::Type {
            expected: "a value".to_owned(),
            found,
        };
        ExpressionError::new(problem, node.span)
    })?;
    Ok((value, compiler.event))
}

/// Compiles a text in which variables and fields are filled in.
pub(crate) fn compile_text(environment: Environment<'_>, text: &str) -> Result<TextNode> {
    Compiler::new(environment).template(text, Span::new(0, text.len()))
}

struct Compiler<'a> {
    environment: Environment<'a>,
    register: Option<(String, IteratorId)>,
    event: Option<EventId>,
    fields: Vec<FieldId>,
    empty: Vec<String>,
    /// Macros that are being filled in.
    open_macros: Vec<&'a str>,
    nodes: usize,
    depth: usize,
}

impl<'a> Compiler<'a> {
    fn new(environment: Environment<'a>) -> Self {
        Self {
            environment,
            register: None,
            event: None,
            fields: Vec::new(),
            empty: Vec::new(),
            open_macros: Vec::new(),
            nodes: 0,
            depth: 0,
        }
    }

    fn condition(&mut self, node: &Node) -> Result<BoolNode> {
        match self.operand(node)? {
            Operand::Bool(condition) => Ok(condition),
            other => {
                let problem = Problem::NotACondition(other.describe());
                Err(ExpressionError::new(problem, node.span))
            }
        }
    }

    fn operand(&mut self, node: &Node) -> Result<Operand> {
        self.count(1, node.span)?;
        if self.depth > 2 * MAX_DEPTH {
            return Err(ExpressionError::new(Problem::TooDeep, node.span));
        }
        self.depth += 1;
        let operand = self.operand_inside(node);
        self.depth -= 1;
        operand
    }

    fn operand_inside(&mut self, node: &Node) -> Result<Operand> {
        match &node.kind {
            Kind::Logical { all, operands } => self.logical(*all, operands),
            Kind::Compare {
                operator,
                left,
                right,
            } => self
                .comparison(*operator, left, right, node.span)
                .map(|node| Operand::Bool(widen(self.environment.catalogue, node))),
            Kind::Member {
                operator,
                left,
                right,
            } => self
                .membership(*operator, left, right, node.span)
                .map(|node| Operand::Bool(widen(self.environment.catalogue, node))),
            Kind::Arithmetic {
                operator,
                left,
                right,
            } => {
                let left = self.int(left)?;
                let right = self.int(right)?;
                Ok(Operand::Int(
                    arithmetic(*operator, left, right),
                    Origin::Computed,
                ))
            }
            Kind::Not(inner) => Ok(Operand::Bool(self.boolean(inner)?.negate())),
            Kind::Negate(inner) => {
                let value = self.int(inner)?;
                Ok(match value {
                    IntNode::Constant(value) => {
                        Operand::Int(IntNode::Constant(value.wrapping_neg()), Origin::Literal)
                    }
                    value => Operand::Int(IntNode::Negate(Box::new(value)), Origin::Computed),
                })
            }
            Kind::Complement(inner) => {
                let value = self.int(inner)?;
                Ok(match value {
                    IntNode::Constant(value) => {
                        Operand::Int(IntNode::Constant(!value), Origin::Literal)
                    }
                    value => Operand::Int(IntNode::Complement(Box::new(value)), Origin::Computed),
                })
            }
            Kind::List(elements) => self.list(elements).map(Operand::List),
            Kind::Name(name) => self.name(name, node.span),
            Kind::Variable(name) => self.variable(name, node.span),
            Kind::FieldReference(name) => self.field_operand(name, node.span),
            Kind::Ip(address) => Ok(Operand::constant_address(*address)),
            Kind::Int(number) => Ok(Operand::Int(IntNode::Constant(*number), Origin::Literal)),
            Kind::Duration(duration) => {
                Ok(Operand::Int(IntNode::Constant(*duration), Origin::Duration))
            }
            Kind::Text(text) => Ok(Operand::Text(self.template(text, node.span)?, None)),
            Kind::Pattern(pattern) => Ok(Operand::Pattern(pattern.clone())),
            Kind::Regex(regex) => {
                self.count(REGEX_NODES, node.span)?;
                Ok(Operand::Regex(regex.clone()))
            }
        }
    }

    /// What may have been meant by a name. A policy full of mistakes does not get one for each:
    /// looking through thousands of names takes its time.
    fn suggestion<'n>(&self, name: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
        let made = &self.environment.work.suggestions;
        if made.get() >= MAX_SUGGESTIONS {
            return None;
        }
        made.set(made.get() + 1);
        nearest(name, names)
    }

    fn logical(&mut self, all: bool, operands: &[Node]) -> Result<Operand> {
        let mut row = Vec::with_capacity(operands.len());
        let mut decided = false;
        for operand in operands {
            match self.boolean(operand)? {
                // A constant that does not decide the row is left out.
                BoolNode::Constant(value) if value == all => {}
                BoolNode::Constant(_) => decided = true,
                BoolNode::All(inner) if all => row.extend(inner),
                BoolNode::Any(inner) if !all => row.extend(inner),
                other => row.push(other),
            }
        }
        let node = match row.len() {
            _ if decided => BoolNode::Constant(!all),
            0 => BoolNode::Constant(all),
            1 => row.remove(0),
            _ if all => BoolNode::All(row.into()),
            _ => BoolNode::Any(row.into()),
        };
        Ok(Operand::Bool(node))
    }

    fn boolean(&mut self, node: &Node) -> Result<BoolNode> {
        match self.operand(node)? {
            Operand::Bool(value) => Ok(value),
            // A list of booleans on its own: any of them.
            Operand::Bools(source) => Ok(BoolNode::AnyBool(
                source,
                Box::new(BoolNode::Constant(true)),
            )),
            other => Err(wrong_type("a condition", &other, node.span)),
        }
    }

    fn int(&mut self, node: &Node) -> Result<IntNode> {
        match self.operand(node)? {
            Operand::Int(value, _) => Ok(value),
            other => Err(wrong_type("a number", &other, node.span)),
        }
    }

    fn comparison(
        &mut self,
        operator: Comparison,
        left: &Node,
        right: &Node,
        span: Span,
    ) -> Result<BoolNode> {
        let left_operand = self.operand(left)?;
        let right_operand = self.operand(right)?;
        compare::Comparer {
            operator,
            span,
            blame: right.span,
            left: left.span,
            right: right.span,
        }
        .compare(left_operand, right_operand)
    }

    /// Counts parts, so that macros cannot blow an expression up without limit.
    fn count(&mut self, parts: usize, span: Span) -> Result<()> {
        self.nodes += parts;
        let all = &self.environment.work.parts;
        all.set(all.get().saturating_add(parts));
        match self.nodes > MAX_NODES || all.get() > MAX_ALL_NODES {
            true => Err(ExpressionError::new(Problem::TooLarge, span)),
            false => Ok(()),
        }
    }
}

fn arithmetic(operator: Arithmetic, left: IntNode, right: IntNode) -> IntNode {
    if let (IntNode::Constant(a), IntNode::Constant(b)) = (&left, &right) {
        return IntNode::Constant(match operator {
            Arithmetic::Add => a.wrapping_add(*b),
            Arithmetic::Subtract => a.wrapping_sub(*b),
            Arithmetic::And => a & b,
            Arithmetic::Or => a | b,
            Arithmetic::Xor => a ^ b,
        });
    }
    let (left, right) = (Box::new(left), Box::new(right));
    match operator {
        Arithmetic::Add => IntNode::Add(left, right),
        Arithmetic::Subtract => IntNode::Subtract(left, right),
        Arithmetic::And => IntNode::And(left, right),
        Arithmetic::Or => IntNode::Or(left, right),
        Arithmetic::Xor => IntNode::Xor(left, right),
    }
}

fn wrong_type(expected: &str, found: &Operand, span: Span) -> ExpressionError {
    let problem = Problem::Type {
        expected: expected.to_owned(),
        found: found.describe(),
    };
    ExpressionError::new(problem, span)
}
