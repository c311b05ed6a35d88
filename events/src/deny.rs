//! What the tracer refuses by itself: conditions that it can judge before a call is made,
//! without asking anybody.
//!
//! The agent compiles them from rules with a `deny` action and sends them whole
//! ([`ToTracer::Deny`](crate::wire::ToTracer::Deny)).

use serde::{Deserialize, Serialize};

use crate::event::EventType;
use crate::pattern::{Glob, Wildcard};

/// Events that can be denied: those whose calls the tracer can make in the caller's place, so
/// that nothing but what was judged is ever done, and exec, whose new program it sees before the
/// first instruction.
pub const DENIABLE: &[EventType] = &[
    EventType::Exec,
    EventType::Open,
    EventType::Unlink,
    EventType::Rmdir,
    EventType::Rename,
    EventType::Mkdir,
    EventType::Link,
    EventType::Chmod,
    EventType::Chown,
];

/// Most bytes of all that is denied, as it goes over the wire.
pub const MAX_ENCODED: usize = 64 * 1024;

/// A rule whose events are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyRule {
    /// Id of the rule.
    pub rule: String,
    /// Type of its events, one of [`DENIABLE`].
    pub event: EventType,
    /// When they are refused.
    pub condition: Condition,
}

/// A text that a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TextField {
    /// Path of the event's file.
    Path,
    /// Its last part.
    Name,
    /// The other path of a rename or link.
    Destination,
    /// Its last part.
    DestinationName,
    /// Path by which a program is executed, where it differs from `Path`; else empty.
    Called,
    /// Its last part.
    CalledName,
    /// The program of the calling process.
    Program,
    /// Its last part.
    ProgramName,
    /// Path by which that program was called, where it differs; else empty.
    ProgramCalled,
    /// Its last part.
    ProgramCalledName,
}

/// A number that a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IntField {
    /// Flags of an open.
    Flags,
    /// Real user id of the calling process.
    Uid,
    /// Its real group id.
    Gid,
    /// Its effective user id.
    EffectiveUid,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Holds, or does not.
    Constant(bool),
    /// Holds where the inner one does not.
    Not(Box<Condition>),
    /// All hold.
    All(Vec<Condition>),
    /// One holds.
    Any(Vec<Condition>),
    /// A text is one of these or fits one of these.
    Text {
        /// Which text.
        field: TextField,
        /// Equal to one of these.
        texts: Vec<String>,
        /// Or a path that fits one of these.
        globs: Vec<Glob>,
        /// Or a text that fits one of these.
        wildcards: Vec<Wildcard>,
    },
    /// A text is not empty.
    Filled(TextField),
    /// A number has a bit of the mask.
    AnyBit {
        /// Which number.
        field: IntField,
        /// The mask.
        mask: i64,
    },
    /// A number is one of these.
    OneOf {
        /// Which number.
        field: IntField,
        /// The values.
        values: Vec<i64>,
    },
}

/// What is known of a call before it is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// [`TextField::Path`].
    pub path: &'a str,
    /// [`TextField::Destination`].
    pub destination: &'a str,
    /// [`TextField::Called`].
    pub called: &'a str,
    /// [`TextField::Program`].
    pub program: &'a str,
    /// [`TextField::ProgramCalled`].
    pub program_called: &'a str,
    /// [`IntField::Flags`].
    pub flags: u32,
    /// [`IntField::Uid`].
    pub uid: u32,
    /// [`IntField::Gid`].
    pub gid: u32,
    /// [`IntField::EffectiveUid`].
    pub effective_uid: u32,
}

impl<'a> Facts<'a> {
    fn text(&self, field: TextField) -> &'a str {
        let name = |path: &'a str| path.rsplit_once('/').map_or(path, |(_, name)| name);
        match field {
            TextField::Path => self.path,
            TextField::Name => name(self.path),
            TextField::Destination => self.destination,
            TextField::DestinationName => name(self.destination),
            TextField::Called => self.called,
            TextField::CalledName => name(self.called),
            TextField::Program => self.program,
            TextField::ProgramName => name(self.program),
            TextField::ProgramCalled => self.program_called,
            TextField::ProgramCalledName => name(self.program_called),
        }
    }

    fn int(&self, field: IntField) -> i64 {
        i64::from(match field {
            IntField::Flags => self.flags,
            IntField::Uid => self.uid,
            IntField::Gid => self.gid,
            IntField::EffectiveUid => self.effective_uid,
        })
    }
}

impl Condition {
    /// Whether it holds.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Condition::Constant(value) => *value,
            Condition::Not(inner) => !inner.holds(facts),
            Condition::All(all) => all.iter().all(|one| one.holds(facts)),
            Condition::Any(any) => any.iter().any(|one| one.holds(facts)),
            Condition::Text {
                field,
                texts,
                globs,
                wildcards,
            } => {
                let text = facts.text(*field);
                texts.iter().any(|one| one == text)
                    || globs.iter().any(|glob| glob.matches(text))
                    || wildcards.iter().any(|wildcard| wildcard.matches(text))
            }
            Condition::Filled(field) => !facts.text(*field).is_empty(),
            Condition::AnyBit { field, mask } => facts.int(*field) & mask != 0,
            Condition::OneOf { field, values } => values.contains(&facts.int(*field)),
        }
    }

    /// Whether it holds whatever the texts and ids are, where that is so; open flags are known.
    pub fn by_flags(&self, open_flags: u32) -> Option<bool> {
        let row = |all: &[Condition], decides: bool| {
            let mut is_known = true;
            for one in all {
                match one.by_flags(open_flags) {
                    Some(value) if value == decides => return Some(decides),
                    Some(_) => {}
                    None => is_known = false,
                }
            }
            is_known.then_some(!decides)
        };
        match self {
            Condition::Not(inner) => inner.by_flags(open_flags).map(|value| !value),
            Condition::All(all) => row(all, false),
            Condition::Any(any) => row(any, true),
            Condition::Constant(value) => Some(*value),
            Condition::AnyBit {
                field: IntField::Flags,
                ..
            }
            | Condition::OneOf {
                field: IntField::Flags,
                ..
            } => Some(self.holds(&Facts {
                flags: open_flags,
                ..Facts::default()
            })),
            _ => None,
        }
    }

    /// Whether it looks at one of these texts.
    pub fn looks_at(&self, fields: &[TextField]) -> bool {
        match self {
            Condition::Not(inner) => inner.looks_at(fields),
            Condition::All(inner) | Condition::Any(inner) => {
                inner.iter().any(|one| one.looks_at(fields))
            }
            Condition::Text { field, .. } | Condition::Filled(field) => fields.contains(field),
            Condition::Constant(_) | Condition::AnyBit { .. } | Condition::OneOf { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(field: TextField, texts: &[&str], globs: &[&str]) -> Condition {
        Condition::Text {
            field,
            texts: texts.iter().map(ToString::to_string).collect(),
            globs: globs.iter().map(|glob| Glob::new(glob).unwrap()).collect(),
            wildcards: Vec::new(),
        }
    }

    #[test]
    fn a_condition_is_judged_by_what_is_known_before_the_call() {
        let keys = text(TextField::Path, &["/etc/shadow"], &["/home/*/.ssh/**"]);
        let not_ssh = Condition::Not(Box::new(text(TextField::ProgramName, &["ssh"], &[])));
        let writes = Condition::AnyBit {
            field: IntField::Flags,
            mask: 3,
        };
        let rule = Condition::All(vec![keys, not_ssh, writes]);
        let facts = |path, program, flags| Facts {
            path,
            program,
            flags,
            ..Facts::default()
        };
        for (path, program, flags, expected) in [
            ("/etc/shadow", "/bin/sh", 1, true),
            ("/etc/shadow", "/bin/sh", 0, false),
            ("/home/u/.ssh/id", "/bin/sh", 2, true),
            ("/home/u/.ssh/id", "/usr/bin/ssh", 2, false),
            ("/etc/shadow-", "/bin/sh", 1, false),
        ] {
            let holds = rule.holds(&facts(path, program, flags));
            assert_eq!(holds, expected, "{path} {program} {flags}");
        }
        assert_eq!(rule.by_flags(0), Some(false));
        assert_eq!(rule.by_flags(1), None);
        assert!(rule.looks_at(&[TextField::Path]) && !rule.looks_at(&[TextField::Called]));
    }
}
