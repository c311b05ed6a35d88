//! Cuts an expression into tokens.

use std::net::IpAddr;

use ipnet::IpNet;

use super::MAX_EXPRESSION;
use super::error::{ExpressionError, Problem};
use crate::position::Span;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Ip(IpNet),
    Variable(String),
    FieldReference(String),
    Duration(i64),
    Regex(String),
    Name(String),
    Text(String),
    Pattern(String),
    Int(i64),
    Punctuation(char),
}

impl Token {
    /// The token as a message shows it.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Ip(_) => "an address".to_owned(),
            Token::Variable(name) => format!("${{{name}}}"),
            Token::FieldReference(name) => format!("%{{{name}}}"),
            Token::Duration(_) => "a duration".to_owned(),
            Token::Regex(_) => "a regular expression".to_owned(),
            Token::Name(name) => format!("{name:?}"),
            Token::Text(_) => "a text".to_owned(),
            Token::Pattern(_) => "a pattern".to_owned(),
            Token::Int(number) => format!("number {number}"),
            Token::Punctuation(character) => format!("{character:?}"),
        }
    }
}

/// All tokens with their places.
pub(super) fn tokenize(text: &str) -> Result<Vec<(Token, Span)>, ExpressionError> {
    if text.len() > MAX_EXPRESSION {
        return Err(ExpressionError::new(Problem::TooLong, Span::new(0, 0)));
    }
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        if lexer.at == text.len() {
            return Ok(tokens);
        }
        let start = lexer.at;
        let token = lexer.token()?;
        tokens.push((token, Span::new(start, lexer.at)));
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, problem: Problem, length: usize) -> ExpressionError {
        ExpressionError::new(problem, Span::new(self.at, self.at + length))
    }

    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let skipped = if rest.starts_with('#') || rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else {
                rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len()
            };
            if skipped == 0 {
                return;
            }
            self.at += skipped;
        }
    }

    fn token(&mut self) -> Result<Token, ExpressionError> {
        let rest = self.rest();
        if let Some(length) = address_length(rest) {
            return self.address(length);
        }
        let first = rest.chars().next().unwrap_or_default();
        match first {
            '$' if rest.starts_with("${") => self.reference("variable", false).map(Token::Variable),
            '%' if rest.starts_with("%{") => self
                .reference("field reference", true)
                .map(Token::FieldReference),
            '"' => self.quoted(0, "text").map(Token::Text),
            '~' if rest.starts_with("~\"") => self.quoted(1, "pattern").map(Token::Pattern),
            'r' if rest.starts_with("r\"") => {
                self.quoted(1, "regular expression").map(Token::Regex)
            }
            'A'..='Z' | 'a'..='z' | '_' => {
                let name = word(rest, |c| is_word(c) || matches!(c, '.' | '[' | ']'));
                self.at += name.len();
                Ok(Token::Name(name.to_owned()))
            }
            '0'..='9' => self.number(0),
            '-' | '+' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(1),
            '!' | '=' | '<' | '>' | '+' | '-' | '[' | ']' | '(' | ')' | ',' | '&' | '|' | '~'
            | '^' | '%' => {
                self.at += 1;
                Ok(Token::Punctuation(first))
            }
            other => Err(self.error(Problem::Character(other), other.len_utf8())),
        }
    }

    fn address(&mut self, length: usize) -> Result<Token, ExpressionError> {
        let text = &self.rest()[..length];
        let network = match text.contains('/') {
            true => text.parse::<IpNet>().ok(),
            false => text.parse::<IpAddr>().ok().map(IpNet::from),
        };
        match network {
            Some(network) => {
                self.at += length;
                Ok(Token::Ip(network))
            }
            None => Err(self.error(Problem::Address(text.to_owned()), length)),
        }
    }

    /// `${name}` or `%{name}`.
    fn reference(
        &mut self,
        what: &'static str,
        with_index: bool,
    ) -> Result<String, ExpressionError> {
        let inside = &self.rest()[2..];
        let name = word(inside, |c| {
            is_word(c) || c == '.' || with_index && matches!(c, '[' | ']')
        });
        if !inside[name.len()..].starts_with('}') {
            return Err(self.error(Problem::Unclosed(what), 2 + name.len()));
        }
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let problem = Problem::Unexpected {
                expected: format!("the name of a {what}"),
                found: format!("{name:?}"),
            };
            return Err(self.error(problem, 3 + name.len()));
        }
        self.at += name.len() + 3;
        Ok(name.to_owned())
    }

    /// A literal in quotes behind `prefix` bytes. A backslash protects a quote but stays.
    fn quoted(&mut self, prefix: usize, what: &'static str) -> Result<String, ExpressionError> {
        let body = &self.rest()[prefix + 1..];
        let mut escaped = false;
        for (index, character) in body.char_indices() {
            match character {
                '"' if !escaped => {
                    self.at += prefix + index + 2;
                    return Ok(body[..index].to_owned());
                }
                '\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        Err(self.error(Problem::Unclosed(what), self.rest().len()))
    }

    /// A number, or without a sign a duration.
    fn number(&mut self, sign: usize) -> Result<Token, ExpressionError> {
        let rest = self.rest();
        let digits = word(&rest[sign..], |c| c.is_ascii_digit());
        let unit = &rest[sign + digits.len()..];
        if sign == 0 {
            for (suffix, nanoseconds) in crate::duration::UNITS {
                if !unit.starts_with(suffix) {
                    continue;
                }
                let length = digits.len() + suffix.len();
                let value = digits
                    .parse::<i64>()
                    .ok()
                    .and_then(|n| n.checked_mul(nanoseconds));
                let Some(value) = value else {
                    return Err(self.error(Problem::Number(rest[..length].to_owned()), length));
                };
                self.at += length;
                return Ok(Token::Duration(value));
            }
        }
        let length = sign + digits.len();
        let text = &rest[..length];
        // As Go reads it: a leading zero makes it octal.
        let octal = digits.len() > 1 && digits.starts_with('0');
        match i64::from_str_radix(text, if octal { 8 } else { 10 }) {
            Ok(number) => {
                self.at += length;
                Ok(Token::Int(number))
            }
            Err(_) if octal && digits.contains(['8', '9']) => {
                Err(self.error(Problem::Octal(text.to_owned()), length))
            }
            Err(_) => Err(self.error(Problem::Number(text.to_owned()), length)),
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn word(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !belongs(c)).unwrap_or(text.len())]
}

/// The length of the address or network at the start, if something like one stands there.
fn address_length(text: &str) -> Option<usize> {
    let run = word(text, |c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'));
    let v6 = run.matches(':').count() >= 2;
    let mut length = run.len();
    if !v6 {
        let mut parts = 0;
        let digits = word(text, |c| c.is_ascii_digit() || c == '.');
        for part in digits.split('.') {
            if part.is_empty() {
                return None;
            }
            parts += 1;
        }
        if parts != 4 {
            return None;
        }
        length = digits.len();
    }
    if let Some(prefix) = text[length..].strip_prefix('/') {
        let prefix = word(prefix, |c| c.is_ascii_digit());
        if !prefix.is_empty() {
            length += 1 + prefix.len();
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        tokenize(text)
            .unwrap()
            .into_iter()
            .map(|(token, _)| token)
            .collect()
    }

    #[test]
    fn numbers_take_their_sign_and_durations_their_unit() {
        assert_eq!(tokens("5 -2"), [Token::Int(5), Token::Int(-2)]);
        assert_eq!(tokens("10ms"), [Token::Duration(10_000_000)]);
        assert_eq!(tokens("0755"), [Token::Int(0o755)]);
        assert_eq!(tokens("--3"), [Token::Punctuation('-'), Token::Int(-3)]);
    }

    #[test]
    fn addresses_come_before_numbers_and_names() {
        for text in [
            "10.0.0.0/8",
            "::1",
            "fe80::1/64",
            "192.168.1.1",
            "::ffff:1.2.3.4",
        ] {
            assert!(matches!(tokens(text)[..], [Token::Ip(_)]), "{text}");
        }
        assert_eq!(tokens("abc.d"), [Token::Name("abc.d".to_owned())]);
        assert!(tokenize("1.2.3.4.5").is_err());
        assert!(tokenize("300.1.1.1").is_err());
    }

    #[test]
    fn a_backslash_protects_a_quote_and_stays() {
        assert_eq!(tokens(r#""a\"b""#), [Token::Text(r#"a\"b"#.to_owned())]);
        assert_eq!(tokens(r#"r"\.so$""#), [Token::Regex(r"\.so$".to_owned())]);
    }

    #[test]
    fn a_bracket_belongs_to_a_name() {
        assert_eq!(tokens("a[B]"), [Token::Name("a[B]".to_owned())]);
        assert_eq!(tokens("a ]").len(), 2);
    }

    #[test]
    fn comments_run_to_the_end_of_the_line() {
        assert_eq!(tokens("# one\n1 // two\n"), [Token::Int(1)]);
    }

    #[test]
    fn a_text_that_does_not_end_is_found_where_it_begins() {
        let error = tokenize(r#"a == "b"#).unwrap_err();
        assert_eq!(error.problem, Problem::Unclosed("text"));
        assert_eq!(error.span.start, 5);
    }
}
