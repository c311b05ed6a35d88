//! Which events a set of rules can use at all.
//!
//! Rules compute it, the webhook writes it into the tracer's flags, the tracer builds its
//! filter from it: what no rule can match is never stopped for. The text form fits a
//! command line:
//!
//! ```
//! use picket_events::{EventType, Interest, OpenInterest};
//! let interest: Interest = "exec,connect,open:write".parse().unwrap();
//! assert!(interest.contains(EventType::Connect));
//! assert_eq!(interest.open, OpenInterest::Write);
//! assert_eq!(interest.to_string(), "exec,fork,exit,connect,open:write");
//! ```

use std::fmt;
use std::str::FromStr;

use crate::event::EventType;

/// Which opens matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpenInterest {
    /// No opens at all.
    #[default]
    None,
    /// Only opens that can write, create or truncate.
    Write,
    /// Those, and read-only opens that lack `O_CLOEXEC`, `O_NONBLOCK`, `O_DIRECTORY` and
    /// `O_PATH`, and are not for `O_NOCTTY` alone: what `cat`, `cp`, `curl` and shell redirections
    /// use.
    Plain,
    /// Those, and read-only opens with `O_NOCTTY` alone: what compilers use for each header, and
    /// `grep`.
    NoTerminal,
    /// Every open.
    All,
}

/// The event types that the tracer has to report.
///
/// `exec`, `fork` and `exit` are always in: without them there is no lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    types: u64,
    /// Which opens.
    pub open: OpenInterest,
    /// With [`EventType::Mmap`]: every mapping that is executable, not only those that are
    /// writable too. Each library of each program is one.
    pub every_mapping: bool,
    /// Stop for everything that a quarantine refuses, whether it is to be reported or not. A
    /// filter that was made without it refuses connects and binds only.
    pub quarantine: bool,
}

const LINEAGE: [EventType; 3] = [EventType::Exec, EventType::Fork, EventType::Exit];

impl Interest {
    /// Lineage only.
    pub const fn lineage() -> Self {
        let types = bit(LINEAGE[0]) | bit(LINEAGE[1]) | bit(LINEAGE[2]);
        Self {
            types,
            open: OpenInterest::None,
            every_mapping: false,
            quarantine: false,
        }
    }

    /// Everything the tracer can see.
    pub fn everything() -> Self {
        let mut interest = Self::lineage();
        for event_type in EventType::ALL {
            interest.insert(*event_type);
        }
        interest
    }

    /// Adds a type; for `open` that means every open, for `mmap` every executable mapping.
    pub fn insert(&mut self, event_type: EventType) {
        self.types |= bit(event_type);
        if event_type == EventType::Open {
            self.open = OpenInterest::All;
        }
        self.every_mapping |= event_type == EventType::Mmap;
    }

    /// Adds mappings that are writable and executable, keeping a wider interest in them.
    pub fn insert_writable_mappings(&mut self) {
        self.types |= bit(EventType::Mmap);
    }

    /// Adds opens of this kind, keeping a wider one.
    pub fn insert_open(&mut self, open: OpenInterest) {
        if open != OpenInterest::None {
            self.types |= bit(EventType::Open);
            self.open = self.open.max(open);
        }
    }

    /// True when events of this type have to be reported.
    pub fn contains(&self, event_type: EventType) -> bool {
        self.types & bit(event_type) != 0
    }

    /// What either needs.
    pub fn union(mut self, other: Self) -> Self {
        self.types |= other.types;
        self.open = self.open.max(other.open);
        self.every_mapping |= other.every_mapping;
        self.quarantine |= other.quarantine;
        self
    }

    /// True when everything that `other` needs is in `self`.
    pub fn covers(&self, other: &Self) -> bool {
        self.types & other.types == other.types
            && self.open >= other.open
            && self.every_mapping >= other.every_mapping
            && self.quarantine >= other.quarantine
    }
}

impl Default for Interest {
    fn default() -> Self {
        Self::everything()
    }
}

const fn bit(event_type: EventType) -> u64 {
    1 << event_type as u8
}

impl fmt::Display for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for event_type in EventType::ALL {
            if *event_type == EventType::Open || !self.contains(*event_type) {
                continue;
            }
            write!(f, "{separator}{}", event_type.name())?;
            if *event_type == EventType::Mmap && !self.every_mapping {
                f.write_str(":write")?;
            }
            separator = ",";
        }
        if self.quarantine {
            write!(f, "{separator}quarantine")?;
            separator = ",";
        }
        match self.open {
            OpenInterest::None => Ok(()),
            OpenInterest::Write => write!(f, "{separator}open:write"),
            OpenInterest::Plain => write!(f, "{separator}open:plain"),
            OpenInterest::NoTerminal => write!(f, "{separator}open:noctty"),
            OpenInterest::All => write!(f, "{separator}open"),
        }
    }
}

/// A word in an interest text that is no event type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "interest: {word:?} is not an event type; expected `all` or names such as exec, open, open:write, connect"
)]
pub struct InterestError {
    /// The word.
    pub word: String,
}

impl FromStr for Interest {
    type Err = InterestError;

    fn from_str(text: &str) -> Result<Self, InterestError> {
        let mut interest = Self::lineage();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match word {
                "all" => interest = interest.union(Self::everything()),
                "quarantine" => interest.quarantine = true,
                "open:write" => interest.insert_open(OpenInterest::Write),
                "open:plain" => interest.insert_open(OpenInterest::Plain),
                "open:noctty" => interest.insert_open(OpenInterest::NoTerminal),
                "mmap:write" => interest.insert_writable_mappings(),
                _ => match EventType::from_name(word) {
                    Some(event_type) => interest.insert(event_type),
                    None => {
                        return Err(InterestError {
                            word: word.to_owned(),
                        });
                    }
                },
            }
        }
        Ok(interest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_bit() {
        assert!(EventType::ALL.len() <= 64);
    }

    #[test]
    fn text_round_trips() {
        for text in [
            "exec,fork,exit,quarantine,open:write",
            "exec,fork,exit",
            "exec,fork,exit,unlink,open:plain",
            "exec,fork,exit,open:noctty",
            "exec,fork,exit,mmap:write",
            "exec,fork,exit,mmap,mprotect",
        ] {
            assert_eq!(text.parse::<Interest>().unwrap().to_string(), text);
        }
        let everything = Interest::everything();
        assert_eq!(everything.to_string().parse(), Ok(everything));
    }

    #[test]
    fn an_unknown_word_is_named() {
        let error = "exec,opne".parse::<Interest>().unwrap_err();
        assert_eq!(error.word, "opne");
    }

    #[test]
    fn union_covers_both() {
        let reads: Interest = "open:plain".parse().unwrap();
        let connects: Interest = "connect".parse().unwrap();
        let both = reads.union(connects);
        assert!(both.covers(&reads) && both.covers(&connects) && !reads.covers(&both));
        let more: Interest = "open:noctty".parse().unwrap();
        assert!(
            more.covers(&reads) && !reads.covers(&more) && Interest::everything().covers(&more)
        );
        let some: Interest = "mmap:write".parse().unwrap();
        let every: Interest = "mmap".parse().unwrap();
        assert!(every.covers(&some) && !some.covers(&every) && some.union(every) == every);
    }
}
