//! From tokens to a syntax tree.

use super::ast::{Comparison, Kind, Membership, Node};
use super::error::{ExpressionError, Problem};
use super::lexer::{Token, tokenize};
use super::{MAX_DEPTH, MAX_EXPRESSION};
use crate::position::Span;

pub(super) type Result<T> = std::result::Result<T, ExpressionError>;

/// Parses the expression of a rule.
pub(crate) fn parse_expression(text: &str) -> Result<Node> {
    let mut parser = Parser::new(text)?;
    let node = parser.expression()?;
    parser.end()?;
    Ok(node)
}

/// Parses a macro: an expression, or a list.
pub(crate) fn parse_macro(text: &str) -> Result<Node> {
    let mut parser = Parser::new(text)?;
    let node = match parser.peek() {
        Some(Token::Punctuation('[')) => parser.array()?,
        _ => parser.expression()?,
    };
    parser.end()?;
    Ok(node)
}

pub(super) struct Parser {
    tokens: Vec<(Token, Span)>,
    pub(super) at: usize,
    depth: usize,
    end: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Self> {
        let tokens = tokenize(text)?;
        debug_assert!(text.len() <= MAX_EXPRESSION);
        if tokens.is_empty() {
            return Err(ExpressionError::new(Problem::Empty, Span::new(0, 0)));
        }
        Ok(Self {
            tokens,
            at: 0,
            depth: 0,
            end: text.trim_end().len(),
        })
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    pub(super) fn span(&self) -> Span {
        match self.tokens.get(self.at) {
            Some((_, span)) => *span,
            None => Span::new(self.end, self.end),
        }
    }

    /// True when these characters stand here without space between them.
    pub(super) fn symbol(&self, symbol: &str) -> bool {
        let mut behind = None;
        for (index, character) in symbol.chars().enumerate() {
            let Some((token, span)) = self.tokens.get(self.at + index) else {
                return false;
            };
            if *token != Token::Punctuation(character)
                || behind.is_some_and(|behind| behind != span.start)
            {
                return false;
            }
            behind = Some(span.end);
        }
        true
    }

    fn word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(name)) if name == word)
    }

    pub(super) fn unexpected(&self, expected: &str) -> ExpressionError {
        let found = self
            .peek()
            .map_or_else(|| "the end".to_owned(), Token::describe);
        let mut suggestion = None;
        let before = self.at.checked_sub(1).map(|index| &self.tokens[index].0);
        for token in [self.peek(), before].into_iter().flatten() {
            match token {
                Token::Name(name) if name.ends_with(']') && !name.contains('[') => {
                    suggestion = Some(format!(
                        "`{} ]` with a space before the bracket",
                        &name[..name.len() - 1]
                    ));
                }
                Token::Name(name) if matches!(name.as_str(), "in[" | "allin[") => {
                    suggestion = Some(format!(
                        "`{} [` with a space before the bracket",
                        &name[..name.len() - 1]
                    ));
                }
                _ => {}
            }
        }
        if let Some(Token::Name(name)) = self.peek() {
            suggestion = suggestion.or_else(|| match name.as_str() {
                "AND" | "And" => Some("`and`".to_owned()),
                "OR" | "Or" => Some("`or`".to_owned()),
                "IN" | "In" => Some("`in`".to_owned()),
                "contains" | "startswith" | "endswith" => {
                    Some("`=~` with a pattern such as \"*text*\"".to_owned())
                }
                _ => None,
            });
        }
        let problem = Problem::Unexpected {
            expected: expected.to_owned(),
            found,
        };
        ExpressionError::new(problem, self.span()).suggest(suggestion)
    }

    fn end(&self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("an operator or the end")),
        }
    }

    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(ExpressionError::new(Problem::TooDeep, self.span()));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// `&&` and `||` bind alike and to the right: `a && b || c` is `a && (b || c)`. Read
    /// flat, then folded from the right, so that a long row needs no deep stack.
    pub(super) fn expression(&mut self) -> Result<Node> {
        self.deeper(|parser| {
            let mut operands = vec![parser.comparison()?];
            let mut operators = Vec::new();
            while let Some(all) = parser.logical() {
                operators.push(all);
                operands.push(parser.comparison()?);
            }
            parser.fold(operands, operators)
        })
    }

    fn logical(&mut self) -> Option<bool> {
        let (all, tokens) = if self.symbol("&&") {
            (true, 2)
        } else if self.symbol("||") {
            (false, 2)
        } else if self.word("and") {
            (true, 1)
        } else if self.word("or") {
            (false, 1)
        } else {
            return None;
        };
        self.at += tokens;
        Some(all)
    }

    fn fold(&self, mut operands: Vec<Node>, mut operators: Vec<bool>) -> Result<Node> {
        let mut changes = 0;
        let Some(mut right) = operands.pop() else {
            return Err(self.unexpected("a value"));
        };
        while let (Some(left), Some(all)) = (operands.pop(), operators.pop()) {
            let span = left.span.to(right.span);
            right = match right {
                // Operands were read from the right, so this list is built backwards.
                Node {
                    kind:
                        Kind::Logical {
                            all: same,
                            operands: mut row,
                        },
                    ..
                } if same == all && changes > 0 => {
                    row.push(left);
                    Node {
                        kind: Kind::Logical { all, operands: row },
                        span,
                    }
                }
                right => {
                    let right = forwards(right, changes > 0);
                    changes += 1;
                    Node {
                        kind: Kind::Logical {
                            all,
                            operands: vec![right, left],
                        },
                        span,
                    }
                }
            };
            if changes + self.depth > MAX_DEPTH {
                return Err(ExpressionError::new(Problem::TooDeep, span));
            }
        }
        Ok(forwards(right, changes > 0))
    }

    fn comparison(&mut self) -> Result<Node> {
        let left = self.arithmetic()?;
        if let Some(operator) = self.membership() {
            let right = self.array()?;
            let span = left.span.to(right.span);
            let kind = Kind::Member {
                operator,
                left: Box::new(left),
                right: Box::new(right),
            };
            return Ok(Node { kind, span });
        }
        let Some(operator) = self.comparison_operator() else {
            return Ok(left);
        };
        let right = self.deeper(Self::comparison)?;
        let span = left.span.to(right.span);
        let kind = Kind::Compare {
            operator,
            left: Box::new(left),
            right: Box::new(right),
        };
        Ok(Node { kind, span })
    }

    fn membership(&mut self) -> Option<Membership> {
        let next_is_in = matches!(
            self.tokens.get(self.at + 1), Some((Token::Name(name), _)) if name == "in"
        );
        let (operator, tokens) = if self.word("in") {
            (Membership::In, 1)
        } else if self.word("allin") {
            (Membership::AllIn, 1)
        } else if self.word("not") && next_is_in {
            (Membership::NotIn, 2)
        } else {
            return None;
        };
        self.at += tokens;
        Some(operator)
    }

    fn comparison_operator(&mut self) -> Option<Comparison> {
        const SYMBOLS: [Comparison; 8] = [
            Comparison::GreaterOrEqual,
            Comparison::Greater,
            Comparison::LessOrEqual,
            Comparison::Less,
            Comparison::NotEqual,
            Comparison::Equal,
            Comparison::Matches,
            Comparison::MatchesNot,
        ];
        for operator in SYMBOLS {
            if self.symbol(operator.symbol()) {
                self.at += operator.symbol().len();
                return Some(operator);
            }
        }
        // `=~"x"` without a space: the lexer took the tilde for the pattern's.
        let next_is_pattern = matches!(self.tokens.get(self.at + 1), Some((Token::Pattern(_), _)));
        let operator = match self.peek() {
            Some(Token::Punctuation('=')) if next_is_pattern => Comparison::Matches,
            Some(Token::Punctuation('!')) if next_is_pattern => Comparison::MatchesNot,
            _ => return None,
        };
        self.at += 1;
        Some(operator)
    }
}

/// A row that was built from the right, put in reading order.
fn forwards(mut node: Node, built_here: bool) -> Node {
    if let (Kind::Logical { operands, .. }, true) = (&mut node.kind, built_here) {
        operands.reverse();
    }
    node
}
