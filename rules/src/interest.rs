//! Which events can matter to a rule at all.
//!
//! For opens the question is which flags can matter, for mappings which protection: the condition
//! is evaluated with only some bits of these known and everything else unknown. What comes out
//! false even then never has to be reported by the tracer.

use picket_events::{EventType, Interest, OpenInterest};

use crate::catalogue::{Catalogue, Role};
use crate::program::{At, BoolNode, IntNode, Read};
use crate::rule::Rule;
use crate::syntax::ast::Comparison;
use crate::value::FieldId;
use crate::watching;

const O_WRONLY: i64 = 1;
const O_RDWR: i64 = 2;
const O_CREAT: i64 = 0o100;
const O_NOCTTY: i64 = 0o400;
const O_TRUNC: i64 = 0o1000;
const O_APPEND: i64 = 0o2000;
const O_NONBLOCK: i64 = 0o4000;
const O_CLOEXEC: i64 = 0o2_000_000;
const O_PATH: i64 = 0o10_000_000;
const PROT_WRITE: i64 = 2;
const PROT_EXEC: i64 = 4;

/// Bits that make an open one that can write, create or truncate.
///
/// `O_APPEND` is among them although it does nothing on a descriptor that cannot write: rules
/// name it with the others, and to stop every open for the sake of that oddity would be a
/// poor bargain.
const WRITE: i64 = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;

/// What these rules need.
pub(crate) fn interest(catalogue: &Catalogue, rules: &[Rule]) -> Interest {
    let mut interest = Interest::lineage();
    let are_watched = watching::fit(catalogue, rules);
    // What never matches, such as a rule over an empty list file, needs nothing.
    for rule in rules.iter().filter(|rule| !rule.never_matches()) {
        for needs in rule
            .fields
            .iter()
            .filter_map(|field| catalogue.info(*field).needs)
        {
            interest = interest.union(needs);
        }
        interest.quarantine |= rule.quarantines();
        if let Some(needs) = catalogue.event_info(rule.event).needs {
            interest = interest.union(needs);
        }
        match EventType::from_name(catalogue.event_name(rule.event)) {
            Some(EventType::Open) => {
                let is_left = are_watched && may_be_left_to_watches(catalogue, rule);
                interest.insert_open(match of_opens(catalogue, rule) {
                    OpenInterest::NoTerminal if is_left => OpenInterest::Plain,
                    opens => opens,
                });
            }
            Some(EventType::Mmap) if needs_writable_only(catalogue, rule) => {
                interest.insert_writable_mappings();
            }
            Some(event_type) => interest.insert(event_type),
            None => {}
        }
    }
    interest
}

/// Whether a rule finds reads as well that watches tell, which is without their flags.
fn may_be_left_to_watches(catalogue: &Catalogue, rule: &Rule) -> bool {
    let bits = Bits::exact(0);
    watching::is_watched(catalogue, rule)
        && open_flags(catalogue)
            .is_some_and(|field| Assumption { field, bits }.bool(&rule.program.root) != Some(false))
}

/// Which opens a rule can match; `None` for one about other events.
pub(crate) fn of_opens(catalogue: &Catalogue, rule: &Rule) -> OpenInterest {
    match EventType::from_name(catalogue.event_name(rule.event)) {
        Some(EventType::Open) => open_interest(&rule.program.root, open_flags(catalogue)),
        _ => OpenInterest::None,
    }
}

fn open_flags(catalogue: &Catalogue) -> Option<FieldId> {
    with_role(catalogue, Role::OpenFlags)
}

fn with_role(catalogue: &Catalogue, role: Role) -> Option<FieldId> {
    catalogue
        .fields()
        .find(|(_, info)| info.role == Some(role))
        .map(|(id, _)| id)
}

/// Whether a rule about mappings can only match those that are writable.
fn needs_writable_only(catalogue: &Catalogue, rule: &Rule) -> bool {
    let Some(field) = with_role(catalogue, Role::MapProtection) else {
        return false;
    };
    // Others are executable: the tracer tells of no more.
    let bits = Bits {
        known: PROT_WRITE | PROT_EXEC,
        value: PROT_EXEC,
    };
    Assumption { field, bits }.bool(&rule.program.root) == Some(false)
}

fn open_interest(node: &BoolNode, flags: Option<FieldId>) -> OpenInterest {
    let Some(field) = flags else {
        return OpenInterest::All;
    };
    let can_match = |bits: Bits| Assumption { field, bits }.bool(node) != Some(false);
    let directory: i64 = if cfg!(target_arch = "aarch64") {
        0o40_000
    } else {
        0o200_000
    };
    let marks = [O_CLOEXEC, O_NONBLOCK, O_PATH, directory];
    let without_marks = |flags: i64| Bits {
        known: WRITE | O_NOCTTY | marks.iter().fold(0, |all, mark| all | mark),
        value: flags,
    };
    if marks.iter().any(|mark| {
        can_match(Bits {
            known: WRITE | mark,
            value: *mark,
        })
    }) {
        OpenInterest::All
    } else if can_match(without_marks(O_NOCTTY)) {
        OpenInterest::NoTerminal
    } else if can_match(without_marks(0)) {
        OpenInterest::Plain
    } else {
        OpenInterest::Write
    }
}

/// A number of which only some bits are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bits {
    known: i64,
    value: i64,
}

impl Bits {
    const UNKNOWN: Self = Self { known: 0, value: 0 };

    const fn exact(value: i64) -> Self {
        Self { known: -1, value }
    }

    fn value(self) -> Option<i64> {
        (self.known == -1).then_some(self.value)
    }
}

/// Evaluates with one field partly known and nothing else.
struct Assumption {
    field: FieldId,
    bits: Bits,
}

impl Assumption {
    /// `None` when it depends on what is not known.
    fn bool(&self, node: &BoolNode) -> Option<bool> {
        match node {
            BoolNode::Constant(value) => Some(*value),
            BoolNode::Not(inner) => self.bool(inner).map(|value| !value),
            BoolNode::All(operands) => self.row(operands, false),
            BoolNode::Any(operands) => self.row(operands, true),
            BoolNode::Int {
                operator,
                left,
                right,
            } => self.compare(*operator, self.int(left), self.int(right)),
            BoolNode::IntIn { value, set } => {
                let bits = self.int(value);
                let possible = |member: &i64| member & bits.known == bits.value;
                match bits.value() {
                    Some(value) => Some(set.contains(&value)),
                    None if !set.iter().any(possible) => Some(false),
                    None => None,
                }
            }
            _ => None,
        }
    }

    /// A row of conditions that one operand with the value `decides` decides.
    fn row(&self, operands: &[BoolNode], decides: bool) -> Option<bool> {
        let mut known = true;
        for operand in operands {
            match self.bool(operand) {
                Some(value) if value == decides => return Some(decides),
                Some(_) => {}
                None => known = false,
            }
        }
        known.then_some(!decides)
    }

    fn compare(&self, operator: Comparison, left: Bits, right: Bits) -> Option<bool> {
        if let (Some(left), Some(right)) = (left.value(), right.value()) {
            return Some(crate::eval::compare(operator, left, right));
        }
        let both = left.known & right.known;
        let differ = left.value & both != right.value & both;
        // A known bit other than the sign makes a number with a known sign positive.
        let positive = |bits: Bits| bits.known < 0 && bits.value > 0;
        let zero = |bits: Bits| bits.value() == Some(0);
        match operator {
            Comparison::Equal if differ => Some(false),
            Comparison::NotEqual if differ => Some(true),
            Comparison::Greater if positive(left) && zero(right) => Some(true),
            Comparison::LessOrEqual if positive(left) && zero(right) => Some(false),
            Comparison::Less if zero(left) && positive(right) => Some(true),
            Comparison::GreaterOrEqual if zero(left) && positive(right) => Some(false),
            _ => None,
        }
    }

    fn int(&self, node: &IntNode) -> Bits {
        match node {
            IntNode::Constant(value) => Bits::exact(*value),
            IntNode::Read(Read {
                field,
                at: At::Event,
            }) if *field == self.field => self.bits,
            IntNode::And(left, right) => {
                let (left, right) = (self.int(left), self.int(right));
                let zeros = left.known & !left.value | right.known & !right.value;
                let known = left.known & right.known | zeros;
                Bits {
                    known,
                    value: left.value & right.value & known,
                }
            }
            IntNode::Or(left, right) => {
                let (left, right) = (self.int(left), self.int(right));
                let ones = left.known & left.value | right.known & right.value;
                let known = left.known & right.known | ones;
                Bits {
                    known,
                    value: (left.value | right.value) & known,
                }
            }
            IntNode::Xor(left, right) => {
                let (left, right) = (self.int(left), self.int(right));
                let known = left.known & right.known;
                Bits {
                    known,
                    value: (left.value ^ right.value) & known,
                }
            }
            IntNode::Complement(value) => {
                let bits = self.int(value);
                Bits {
                    known: bits.known,
                    value: !bits.value & bits.known,
                }
            }
            _ => Bits::UNKNOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{LoadOptions, PolicySource, RuleSet};

    fn interest_of(expressions: &[&str]) -> String {
        let rules: String = expressions
            .iter()
            .enumerate()
            .map(|(n, expression)| format!("- id: r{n}\n  expression: >-\n    {expression}\n"))
            .collect();
        let source = PolicySource {
            name: "test".to_owned(),
            text: format!("rules:\n{rules}"),
            origin: String::new(),
        };
        let catalogue = Arc::clone(&Catalogue::standard());
        let (rules, report) = RuleSet::load(&catalogue, &[source], &LoadOptions::default());
        assert!(report.is_ok(), "{report:?}");
        rules.interest().to_string()
    }

    #[test]
    fn a_rule_that_tests_write_flags_needs_no_reads() {
        let path = r#"open.file.path == "/etc/passwd" &&"#;
        let cases = [
            ("open.flags & (O_CREAT|O_RDWR|O_WRONLY) > 0", "open:write"),
            (
                "(open.flags & O_CREAT > 0 || open.flags & O_WRONLY != 0)",
                "open:write",
            ),
            (
                "open.flags & (O_CLOEXEC|O_NONBLOCK|O_DIRECTORY|O_PATH) == 0",
                "open:plain",
            ),
            ("open.flags & O_ACCMODE == O_RDONLY", "open"),
            ("!(open.flags & O_WRONLY > 0)", "open"),
            ("open.flags == O_RDONLY", "open:plain"),
            (
                "open.flags & (O_CLOEXEC|O_NONBLOCK|O_DIRECTORY|O_PATH|O_NOCTTY) == 0",
                "open:plain",
            ),
            ("open.flags == O_NOCTTY", "open:noctty"),
            ("open.flags in [ O_RDWR, O_WRONLY ]", "open:write"),
            ("process.uid == 0", "open"),
        ];
        for (condition, expected) in cases {
            let interest = interest_of(&[&format!("{path} {condition}")]);
            assert_eq!(
                interest,
                format!("exec,fork,exit,{expected}"),
                "{condition}"
            );
        }
    }

    #[test]
    fn reads_for_no_terminal_are_left_to_watches_where_all_files_of_a_rule_can_be_watched() {
        let plain = "open.flags & (O_CLOEXEC|O_NONBLOCK|O_DIRECTORY|O_PATH) == 0";
        for (files, expected) in [
            (
                r#"open.file.path in [ "/etc/shadow", ~"/run/secrets/**" ]"#,
                "open:plain",
            ),
            (r#"open.file.name == "shadow""#, "open:noctty"),
            (
                r#"(open.file.path == "/a" || process.comm == "a")"#,
                "open:noctty",
            ),
        ] {
            let interest = interest_of(&[&format!("{files} && {plain}")]);
            assert_eq!(interest, format!("exec,fork,exit,{expected}"), "{files}");
        }
        let many: Vec<String> = (0..300).map(|n| format!(r#""/srv/{n}""#)).collect();
        let many = format!("open.file.path in [ {} ] && {plain}", many.join(", "));
        assert_eq!(interest_of(&[&many]), "exec,fork,exit,open:noctty");
    }

    #[test]
    fn a_rule_that_tests_for_writable_mappings_needs_no_libraries() {
        let cases = [
            (
                "mmap.protection & (PROT_WRITE|PROT_EXEC) == (PROT_WRITE|PROT_EXEC)",
                "mmap:write",
            ),
            (
                "mmap.protection & PROT_WRITE > 0 && mmap.file.name == \"x\"",
                "mmap:write",
            ),
            ("mmap.protection & PROT_EXEC > 0", "mmap"),
            ("mmap.file.path == \"/tmp/x.so\"", "mmap"),
        ];
        for (condition, expected) in cases {
            let interest = interest_of(&[condition]);
            assert_eq!(
                interest,
                format!("exec,fork,exit,{expected}"),
                "{condition}"
            );
        }
    }

    #[test]
    fn the_widest_rule_decides() {
        let interest = interest_of(&[
            "open.flags & O_CREAT > 0",
            "open.flags == O_RDONLY",
            "connect.addr.port == 80",
        ]);
        assert_eq!(interest, "exec,fork,exit,connect,open:plain");
    }
}
