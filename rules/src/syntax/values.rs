//! The parser's lower half: sums, bits, single values and lists.

use super::MAX_DEPTH;
use super::ast::{Arithmetic, Kind, Node};
use super::error::{ExpressionError, Problem};
use super::lexer::Token;
use super::parser::{Parser, Result};

impl Parser {
    pub(super) fn arithmetic(&mut self) -> Result<Node> {
        let mut left = self.bits()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Punctuation('+')) => Arithmetic::Add,
                Some(Token::Punctuation('-')) => Arithmetic::Subtract,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.bits()?;
            left = arithmetic(operator, left, right);
            if depth_of(&left) > MAX_DEPTH {
                return Err(ExpressionError::new(Problem::TooDeep, left.span));
            }
        }
    }

    fn bits(&mut self) -> Result<Node> {
        let left = self.unary()?;
        let operator = match self.peek() {
            Some(Token::Punctuation('&')) if !self.symbol("&&") => Arithmetic::And,
            Some(Token::Punctuation('|')) if !self.symbol("||") => Arithmetic::Or,
            Some(Token::Punctuation('^')) => Arithmetic::Xor,
            _ => return Ok(left),
        };
        self.at += 1;
        let right = self.deeper(Self::bits)?;
        Ok(arithmetic(operator, left, right))
    }

    fn unary(&mut self) -> Result<Node> {
        let start = self.span();
        let make: fn(Box<Node>) -> Kind = match self.peek() {
            Some(Token::Punctuation('!')) => Kind::Not,
            Some(Token::Name(name)) if name == "not" => Kind::Not,
            Some(Token::Punctuation('-')) => Kind::Negate,
            Some(Token::Punctuation('^')) => Kind::Complement,
            _ => return self.primary(),
        };
        self.at += 1;
        let operand = self.deeper(Self::unary)?;
        let span = start.to(operand.span);
        Ok(Node {
            kind: make(Box::new(operand)),
            span,
        })
    }

    fn primary(&mut self) -> Result<Node> {
        let span = self.span();
        let kind = match self.peek() {
            Some(Token::Punctuation('(')) => {
                self.at += 1;
                let mut inner = self.expression()?;
                if !self.symbol(")") {
                    return Err(self.unexpected("`)`"));
                }
                inner.span = span.to(self.span());
                self.at += 1;
                return Ok(inner);
            }
            Some(Token::Name(name)) if is_operator(name) => {
                return Err(self.unexpected("a value"));
            }
            Some(Token::Name(name)) => Kind::Name(name.clone()),
            Some(Token::Ip(network)) => Kind::Ip(*network),
            Some(Token::Int(number)) => Kind::Int(*number),
            Some(Token::Variable(name)) => Kind::Variable(name.clone()),
            Some(Token::FieldReference(name)) => Kind::FieldReference(name.clone()),
            Some(Token::Text(text)) => Kind::Text(text.clone()),
            Some(Token::Pattern(text)) => Kind::Pattern(text.clone()),
            Some(Token::Regex(text)) => Kind::Regex(text.clone()),
            Some(Token::Duration(duration)) => Kind::Duration(*duration),
            Some(Token::Punctuation(_)) | None => return Err(self.unexpected("a value")),
        };
        self.at += 1;
        Ok(Node { kind, span })
    }

    /// The right side of `in`.
    pub(super) fn array(&mut self) -> Result<Node> {
        let start = self.span();
        if !self.symbol("[") {
            return match self.peek() {
                Some(
                    Token::Ip(_) | Token::Variable(_) | Token::FieldReference(_) | Token::Name(_),
                ) => self.primary(),
                _ => Err(self.unexpected("a list, such as [ \"a\", \"b\" ]")),
            };
        }
        self.at += 1;
        let mut elements = Vec::new();
        if self.symbol("]") {
            return Err(ExpressionError::new(
                Problem::EmptyList,
                start.to(self.span()),
            ));
        }
        loop {
            match self.peek() {
                Some(Token::Punctuation('(' | '[')) => {
                    return Err(self.unexpected("a constant"));
                }
                _ => elements.push(self.primary()?),
            }
            if self.symbol(",") {
                self.at += 1;
                continue;
            }
            if self.symbol("]") {
                let span = start.to(self.span());
                self.at += 1;
                return Ok(Node {
                    kind: Kind::List(elements),
                    span,
                });
            }
            return Err(self.unexpected("`,` or `]`"));
        }
    }
}

fn is_operator(name: &str) -> bool {
    matches!(name, "and" | "or" | "in" | "allin" | "not")
}

fn arithmetic(operator: Arithmetic, left: Node, right: Node) -> Node {
    let span = left.span.to(right.span);
    let kind = Kind::Arithmetic {
        operator,
        left: Box::new(left),
        right: Box::new(right),
    };
    Node { kind, span }
}

/// How long a chain of sums on the left is.
fn depth_of(node: &Node) -> usize {
    let mut depth = 0;
    let mut node = node;
    while let Kind::Arithmetic { left, .. } = &node.kind {
        depth += 1;
        node = left;
    }
    depth
}
