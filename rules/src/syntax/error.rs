//! What can be wrong with an expression.

use crate::position::{Position, Span};

/// Something wrong at a place in an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ExpressionError {
    /// What is wrong.
    pub problem: Problem,
    /// Where.
    pub span: Span,
    /// What may have been meant.
    pub suggestion: Option<String>,
}

impl ExpressionError {
    pub(crate) fn new(problem: Problem, span: Span) -> Self {
        Self {
            problem,
            span,
            suggestion: None,
        }
    }

    pub(crate) fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    /// Line and column of the place.
    pub fn position(&self, expression: &str) -> Position {
        Position::of(expression, self.span.start)
    }
}

/// What can be wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing but space.
    #[error("the expression is empty")]
    Empty,
    /// Longer than [`MAX_EXPRESSION`](super::MAX_EXPRESSION).
    #[error("the expression is longer than {} bytes", super::MAX_EXPRESSION)]
    TooLong,
    /// Nested more deeply than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("the expression is nested more than {} levels deep", super::MAX_DEPTH)]
    TooDeep,
    /// Macros make it larger than is sensible.
    #[error("the expression grows too large when its macros are filled in")]
    TooLarge,
    /// No token begins with this.
    #[error("unexpected character {0:?}")]
    Character(char),
    /// A literal does not end.
    #[error("{0} is not closed")]
    Unclosed(&'static str),
    /// A number that does not fit.
    #[error("number {0} is out of range")]
    Number(String),
    /// A leading zero, and digits that are none of octal.
    #[error("number {0} is octal, for it begins with 0, and octal knows no 8 and no 9")]
    Octal(String),
    /// Not an address.
    #[error("{0:?} is not an IP address or network")]
    Address(String),
    /// Something else was expected.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What could stand here.
        expected: String,
        /// What stands here.
        found: String,
    },
    /// An empty list.
    #[error("a list needs at least one value")]
    EmptyList,
    /// No field, macro or constant has this name.
    #[error("unknown field, macro or constant {0:?}")]
    UnknownName(String),
    /// No variable has this name.
    #[error("unknown variable ${{{0}}}: no rule sets it")]
    UnknownVariable(String),
    /// No field has this name.
    #[error("unknown field {0:?}")]
    UnknownField(String),
    /// An operator does not fit its operands.
    #[error("{operator} cannot compare {left} with {right}")]
    Mismatch {
        /// The operator.
        operator: String,
        /// Type of the left side.
        left: String,
        /// Type of the right side.
        right: String,
    },
    /// A value of another type is needed.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What is needed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// `=~` with something that is not written out.
    #[error("{0} needs a literal on its right side")]
    NotStatic(&'static str),
    /// Different types in one list.
    #[error("a list holds values of one type only: {first} and {other} are mixed")]
    MixedList {
        /// Type of the first value.
        first: &'static str,
        /// Type of this one.
        other: &'static str,
    },
    /// A list holds something that is not a constant.
    #[error("{0} cannot stand in a list: lists hold constants only")]
    NotConstant(String),
    /// A path that no file can have.
    #[error("path {path:?} can never match: {reason}")]
    Path {
        /// The path.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A pattern that means nothing.
    #[error("pattern {pattern:?}: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        reason: &'static str,
    },
    /// A regular expression on a path.
    #[error(
        "a path cannot be compared with a regular expression; use a pattern such as ~\"/dir/*\""
    )]
    RegexOnPath,
    /// A regular expression that is not one.
    #[error("regular expression: {0}")]
    Regex(String),
    /// A text longer than the field can be.
    #[error("{text:?} can never match: this field holds at most {limit} bytes")]
    TooLongForField {
        /// The text.
        text: String,
        /// Bytes.
        limit: usize,
    },
    /// Two registers in one rule.
    #[error("one rule can use one register only: {first} and {other}")]
    Registers {
        /// The first.
        first: String,
        /// The other.
        other: String,
    },
    /// A register on two iterators.
    #[error("register {0} is used for two different lists")]
    RegisterReused(String),
    /// A register name that is not allowed.
    #[error("{0:?} cannot name a register")]
    RegisterName(String),
    /// An index on something that is no list of records.
    #[error("{0:?} cannot be indexed")]
    NotIndexable(String),
    /// Fields of two event types.
    #[error("a rule belongs to one event type: {first} and {other} fields are mixed")]
    MixedEvents {
        /// First event type.
        first: String,
        /// The other.
        other: String,
    },
    /// No field says which event the rule is about.
    #[error(
        "no field says which event this rule is about; add one of a certain event type, such as exec.file.path or open.file.path"
    )]
    NoEvent,
    /// The result is not a condition.
    #[error("a rule has to be a condition, but this is {0}")]
    NotACondition(String),
    /// A mistake in a macro that is used here.
    #[error("in macro {name}: {problem}")]
    InMacro {
        /// The macro.
        name: String,
        /// What is wrong there.
        problem: Box<Problem>,
    },
    /// A macro that could not be read.
    #[error("macro {0} is faulty itself")]
    FaultyMacro(String),
    /// A macro that uses itself.
    #[error("macro {0} uses itself")]
    MacroLoop(String),
    /// Pseudo-fields cannot be mixed.
    #[error("{0} cannot be used here")]
    PseudoField(String),
}

/// The candidate nearest to a name that was not found, if one is near.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut limit = (name.len() / 3).clamp(1, 4);
    let mut best: Option<(usize, &str)> = None;
    let mut rows = Rows::default();
    for candidate in candidates {
        // There are thousands of names, and most are far off: nothing is worked out for longer
        // than it can still be the nearest.
        let Some(distance) = rows.distance(name.as_bytes(), candidate.as_bytes(), limit) else {
            continue;
        };
        if best.is_none_or(|best| (distance, candidate) < best) {
            best = Some((distance, candidate));
            limit = distance;
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

/// Rows of a table of edit distances, kept to save allocations.
#[derive(Default)]
struct Rows {
    before: Vec<usize>,
    last: Vec<usize>,
    row: Vec<usize>,
}

impl Rows {
    /// Edit distance (insert, delete, replace, swap neighbours) if it is at most `limit`.
    fn distance(&mut self, a: &[u8], b: &[u8], limit: usize) -> Option<usize> {
        if a.len().abs_diff(b.len()) > limit {
            return None;
        }
        let far = limit + 1;
        let width = b.len() + 1;
        for row in [&mut self.before, &mut self.last, &mut self.row] {
            row.clear();
            row.resize(width, far);
        }
        for (j, cell) in self.last.iter_mut().enumerate() {
            *cell = j.min(far);
        }
        for i in 1..=a.len() {
            // Further from the diagonal than the limit, everything is too far.
            let (from, to) = (i.saturating_sub(limit).max(1), (i + limit).min(b.len()));
            self.row.fill(far);
            if i <= limit {
                self.row[0] = i;
            }
            let mut least = self.row[0];
            for j in from..=to {
                let replace = self.last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut cell = replace.min(self.last[j] + 1).min(self.row[j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    cell = cell.min(self.before[j - 2] + 1);
                }
                self.row[j] = cell.min(far);
                least = least.min(self.row[j]);
            }
            // A swap reaches back two rows.
            if least > limit && self.last.iter().all(|cell| *cell > limit) {
                return None;
            }
            std::mem::swap(&mut self.before, &mut self.last);
            std::mem::swap(&mut self.last, &mut self.row);
        }
        Some(self.last[b.len()]).filter(|distance| *distance <= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typing_slip_is_recognised() {
        let fields = ["open.file.path", "open.file.name", "exec.file.path"];
        let near = |name: &str| nearest(name, fields.into_iter());
        assert_eq!(near("open.file.pth").as_deref(), Some("open.file.path"));
        assert_eq!(near("opne.file.name").as_deref(), Some("open.file.name"));
        assert_eq!(near("process.uid"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"x".repeat(100_000)), None);
        // Of two that are as near, the first by name.
        assert_eq!(
            nearest("ac", ["ab", "aa"].into_iter()).as_deref(),
            Some("aa")
        );
        assert_eq!(near("poen.fiel.path").as_deref(), Some("open.file.path"));
    }
}
