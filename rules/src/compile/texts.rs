//! Texts with values filled in, and the constants texts are compared with.

use std::sync::Arc;

use regex::RegexBuilder;

use super::operand::{Operand, TextItem, TextKind};
use super::{Compiler, Result};
use crate::catalogue::Matching;
use crate::matcher::{Glob, TextMatcher, Wildcard, from_re2};
use crate::position::Span;
use crate::program::{Part, TextNode, ignores_case};
use crate::syntax::{ExpressionError, Problem};

/// Longest name of a file.
const MAX_SEGMENT: usize = 255;

/// Most directories above a file.
const MAX_PATH_DEPTH: usize = 1363;

/// Largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

impl Compiler<'_> {
    /// A text in which `${variable}` and `%{field}` are filled in. What only looks like one
    /// stays as it is.
    pub(super) fn template(&mut self, text: &str, span: Span) -> Result<TextNode> {
        let mut parts = Vec::new();
        let (mut plain, mut at) = (String::new(), 0);
        while let Some(found) = text[at..].find(['$', '%']) {
            plain.push_str(&text[at..at + found]);
            at += found;
            let Some((name, length)) = reference(&text[at..]) else {
                plain.push_str(&text[at..=at]);
                at += 1;
                continue;
            };
            let operand = match text[at..].starts_with('$') {
                true => self.variable(name, span)?,
                false => self.field_operand(name, span)?,
            };
            if !plain.is_empty() {
                parts.push(Part::Text(Arc::from(plain.as_str())));
                plain.clear();
            }
            parts.push(part(operand, span)?);
            at += length;
        }
        plain.push_str(&text[at..]);
        if parts.is_empty() {
            return Ok(TextNode::Constant(Arc::from(plain.as_str())));
        }
        if !plain.is_empty() {
            parts.push(Part::Text(Arc::from(plain.as_str())));
        }
        Ok(TextNode::Template(parts.into()))
    }
}

/// The name in a reference at the start of a text, and the reference's length.
fn reference(text: &str) -> Option<(&str, usize)> {
    let with_index = text.starts_with('%');
    let inside = text[1..].strip_prefix('{')?;
    let end = inside.find('}')?;
    let name = &inside[..end];
    let first = name.chars().next()?;
    let belongs = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '.') || with_index && matches!(c, '[' | ']')
    };
    let valid = (first.is_ascii_alphabetic() || first == '_') && name.chars().all(belongs);
    valid.then_some((name, end + 3))
}

fn part(operand: Operand, span: Span) -> Result<Part> {
    Ok(match operand {
        Operand::Bool(node) => Part::Bool(node),
        Operand::Int(node, _) => Part::Int(node),
        Operand::Text(node, _) => Part::TextNode(node),
        Operand::Address(node) => Part::Address(node),
        Operand::Bools(source) => Part::Bools(source),
        Operand::Texts(list, _) => Part::Texts(list),
        Operand::Ints(list) => Part::Ints(list),
        Operand::Addresses(source) => Part::Addresses(source),
        other => {
            return Err(super::wrong_type(
                "a value that can be written out",
                &other,
                span,
            ));
        }
    })
}

/// Collects constants that a text is compared with.
pub(super) struct MatcherBuilder {
    kind: TextKind,
    matcher: TextMatcher,
}

impl MatcherBuilder {
    pub(super) fn new(kind: TextKind) -> Self {
        Self {
            kind,
            matcher: TextMatcher::new(ignores_case(kind.matching)),
        }
    }

    /// Adds a constant. A template is not one and is left to the caller.
    pub(super) fn add(&mut self, item: &TextItem, span: Span) -> Result<()> {
        match item {
            TextItem::Text(text) => self.text(text, span),
            TextItem::Pattern(pattern) => self.pattern(pattern, span),
            TextItem::Regex(regex) => self.regex(regex, span),
            TextItem::Table(table) => {
                self.matcher.add_table(table);
                Ok(())
            }
            TextItem::Template(_) => Ok(()),
        }
    }

    pub(super) fn finish(mut self) -> Arc<TextMatcher> {
        self.matcher.seal();
        Arc::new(self.matcher)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.matcher.is_empty()
    }

    pub(super) fn text(&mut self, text: &str, span: Span) -> Result<()> {
        if self.kind.resolved {
            check_path(text, span)?;
        }
        if let Some(limit) = self.kind.max_length
            && text.len() > limit
        {
            let problem = Problem::TooLongForField {
                text: text.to_owned(),
                limit,
            };
            return Err(ExpressionError::new(problem, span));
        }
        self.matcher.add_text(text);
        Ok(())
    }

    pub(super) fn pattern(&mut self, pattern: &str, span: Span) -> Result<()> {
        if !pattern.contains('*') {
            return self.text(pattern, span);
        }
        let fault = |reason| {
            let problem = Problem::Pattern {
                pattern: pattern.to_owned(),
                reason,
            };
            ExpressionError::new(problem, span)
        };
        if self.kind.matching == Matching::Path {
            if self.kind.resolved {
                check_path(pattern, span)?;
            }
            self.matcher.add_glob(Glob::new(pattern).map_err(fault)?);
        } else {
            if pattern.contains("**") {
                let error =
                    fault("`**` means something in paths only; one `*` stands for anything");
                return Err(error.suggest(Some(format!("~{:?}", pattern.replace("**", "*")))));
            }
            let no_case = ignores_case(self.kind.matching);
            self.matcher.add_wildcard(Wildcard::new(pattern, no_case));
        }
        Ok(())
    }

    pub(super) fn regex(&mut self, regex: &str, span: Span) -> Result<()> {
        if self.kind.resolved {
            return Err(ExpressionError::new(Problem::RegexOnPath, span));
        }
        let compiled = RegexBuilder::new(&from_re2(regex))
            .size_limit(MAX_REGEX)
            .dfa_size_limit(MAX_REGEX)
            .nest_limit(64)
            .build();
        match compiled {
            Ok(regex) => {
                self.matcher.add_regex(regex);
                Ok(())
            }
            Err(error) => {
                let message = error.to_string();
                let line = message.lines().last().unwrap_or_default();
                let line = line.strip_prefix("error: ").unwrap_or(line);
                Err(ExpressionError::new(Problem::Regex(line.to_owned()), span))
            }
        }
    }
}

/// Refuses paths and patterns that no file can have.
fn check_path(path: &str, span: Span) -> Result<()> {
    let mut suggestion = None;
    let reason = if path.is_empty() {
        return Ok(());
    } else if let Some(rest) = path.strip_prefix('~') {
        suggestion = Some(format!("{:?}", format!("/home/*{rest}")));
        "`~` is not a home directory here"
    } else if path == "*" {
        "it stands for every file; name a directory"
    } else if !path.starts_with(['/', '*']) {
        suggestion = Some(format!("{:?}", format!("/{path}")));
        "a path begins with `/` or `*`"
    } else if path.split('/').any(|segment| segment == "..") {
        "`..` does not occur in resolved paths"
    } else if path.len() > 1 && path.ends_with('/') {
        let shorter = path.trim_end_matches('/');
        suggestion = (shorter != "*").then(|| format!("{shorter:?}"));
        "a path does not end with `/`"
    } else if path.contains("//") || path.split('/').any(|segment| segment == ".") {
        "`//` and `.` do not occur in resolved paths"
    } else if path.split('/').any(|segment| segment.len() > MAX_SEGMENT) {
        "a part is longer than 255 bytes"
    } else if path.matches('/').count() > MAX_PATH_DEPTH {
        "it has too many parts"
    } else {
        return Ok(());
    };
    let problem = Problem::Path {
        path: path.to_owned(),
        reason,
    };
    Err(ExpressionError::new(problem, span).suggest(suggestion))
}
