//! Which rules compare sums of files, and those sums.

use picket_events::{Event, File};
use picket_rules::{FieldId, RuleSet};

use super::super::Outputs;
use super::super::actions::Summing;
use crate::context::Derived;
use crate::hashes::{COMPARED_LIMIT, FileId};
use crate::tree::ProcessNode;

/// Files of an event that rules compare by their sums.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hashed {
    /// That of the event itself.
    pub(super) event: bool,
    /// That of the process's program.
    pub(super) program: bool,
}

impl Hashed {
    /// The files of an event whose sums are compared.
    pub(super) fn files<'a>(
        self,
        event: &'a Event,
        process: Option<&'a ProcessNode>,
    ) -> [Option<&'a File>; 2] {
        [
            event.kind.file().filter(|_| self.event),
            process
                .filter(|_| self.program)
                .map(|process| &process.program.image.file),
        ]
    }
}

/// Sums of the files that rules on an event compare. True when a tracer was asked for some.
pub(super) fn compare(
    summing: &mut Summing<'_>,
    event: &Event,
    files: [Option<&File>; 2],
    derived: &mut Derived,
    outputs: &mut dyn Outputs,
) -> bool {
    let mut asked = false;
    for file in files.into_iter().flatten() {
        match (
            FileId::of(file),
            summing.of(file, Some(event.pid), COMPARED_LIMIT, outputs),
        ) {
            (Some(id), Some(sums)) => derived.hashed(id, sums),
            (_, None) => asked = true,
            (None, Some(_)) => {}
        }
    }
    asked
}

/// By rule, whether it compares the sums of a file.
pub(super) fn late(rules: &RuleSet) -> Vec<bool> {
    let catalogue = rules.catalogue();
    let is_sum = |field: &FieldId| catalogue.info(*field).name.ends_with("file.hashes");
    let rules = rules.rules().iter();
    rules.map(|rule| rule.fields.iter().any(is_sum)).collect()
}

/// Which files of which events the rules compare by their sums.
pub(super) fn hashed(rules: &RuleSet) -> Vec<Hashed> {
    let catalogue = rules.catalogue();
    let mut hashed = vec![Hashed::default(); catalogue.events().count()];
    for rule in rules.rules().iter().filter(|rule| !rule.never_matches()) {
        for field in &rule.fields {
            let info = catalogue.info(*field);
            if !info.name.ends_with("file.hashes") {
                continue;
            }
            let of = &mut hashed[usize::from(rule.event.0)];
            match info.event {
                Some(_) => of.event = true,
                None => of.program = true,
            }
        }
    }
    hashed
}
