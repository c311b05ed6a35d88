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
    let letters = letters_of(name);
    for candidate in candidates {
        // There are thousands of names, and most are far off: nothing is worked out for longer
        // than it can still be the nearest. An edit brings in or takes away one letter.
        let others = letters_of(candidate);
        let differing = (letters & !others)
            .count_ones()
            .max((others & !letters).count_ones());
        if differing as usize > limit || name.len().abs_diff(candidate.len()) > limit {
            continue;
        }
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

/// Which letters occur in a name, a bit for each; some share one.
fn letters_of(name: &str) -> u64 {
    let bits = name.bytes().map(|byte| 1 << (byte & 63));
    bits.fold(0, |letters, bit| letters | bit)
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
        let mut least_before = 0;
        for i in 1..=a.len() {
            // Further from the diagonal than the limit, everything is too far.
            let (from, to) = (i.saturating_sub(limit).max(1), (i + limit).min(b.len()));
            // What the row held before, as far as it is looked at from here on.
            self.row[from - 1] = far;
            if to < b.len() {
                self.row[to + 1] = far;
            }
            if i <= limit {
                self.row[0] = i;
            }
            let mut least = self.row[from - 1];
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
            if least > limit && least_before > limit {
                return None;
            }
            least_before = least;
            std::mem::swap(&mut self.before, &mut self.last);
            std::mem::swap(&mut self.last, &mut self.row);
        }
        Some(self.last[b.len()]).filter(|distance| *distance <= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::{Rows, nearest};

    /// The whole table, without any bound.
    fn plain_distance(a: &[u8], b: &[u8]) -> usize {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                table[i][j] = if i == 0 || j == 0 {
                    i + j
                } else {
                    let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let cell = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                    let is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    match is_swap {
                        true => cell.min(table[i - 2][j - 2] + 1),
                        false => cell,
                    }
                };
            }
        }
        table[a.len()][b.len()]
    }

    #[test]
    fn what_is_left_out_of_a_distance_changes_nothing() {
        let mut words = vec![Vec::new()];
        for length in 0..4 {
            let longer = words.iter().filter(|word| word.len() == length);
            let longer =
                longer.flat_map(|word| b"abc".map(|letter| [word, &[letter][..]].concat()));
            words.extend(longer.collect::<Vec<_>>());
        }
        let mut rows = Rows::default();
        for a in &words {
            for b in &words {
                let distance = plain_distance(a, b);
                for limit in 1..5 {
                    let expected = Some(distance).filter(|distance| *distance <= limit);
                    assert_eq!(rows.distance(a, b, limit), expected, "{a:?} {b:?} {limit}");
                }
                let [a, b] = [a, b].map(|word| str::from_utf8(word).unwrap());
                let limit = (a.len() / 3).clamp(1, 4);
                let near = nearest(a, std::iter::once(b));
                assert_eq!(near.is_some(), distance <= limit, "{a} {b}");
            }
        }
    }

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
