//! Which rules compare sums of files, and those sums.

use picket_events::{Event, File};
use picket_rules::{FieldId, RuleSet};

use super::super::Outputs;
use super::super::actions::Summing;
use crate::context::Derived;
use crate::hashes::{COMPARED_LIMIT, FileId};
use crate::tree::{Key, ProcessNode, ProcessTree};

/// Most processes above one whose programs are summed, nearest first.
const ABOVE: usize = 8;

/// Files of an event that rules compare by their sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hashed {
    /// That of the event itself.
    event: bool,
    /// Where it is renamed or linked to.
    destination: bool,
    programs: Programs,
    interpreters: Programs,
}

/// Whose program, or whose interpreter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Programs {
    process: bool,
    above: bool,
    target: bool,
    above_target: bool,
}

/// The processes that an event has to do with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Processes<'a> {
    pub(super) process: Option<&'a ProcessNode>,
    pub(super) ancestors: &'a [Key],
    pub(super) target: Option<&'a ProcessNode>,
    pub(super) target_ancestors: &'a [Key],
    pub(super) tree: &'a ProcessTree,
}

impl Hashed {
    /// Adds what a field with sums is about, such as `process.parent.interpreter.file.hashes`.
    fn add(&mut self, field: &str) {
        let record = field.strip_suffix(".hashes").unwrap_or(field);
        if record.ends_with(".file.destination") {
            self.destination = true;
            return;
        }
        let (owner, programs) = match record.strip_suffix(".interpreter.file") {
            Some(owner) => (owner, &mut self.interpreters),
            None => (
                record.strip_suffix(".file").unwrap_or(record),
                &mut self.programs,
            ),
        };
        match owner.rsplit_once('.') {
            None if matches!(owner, "process" | "exec" | "exit") => programs.process = true,
            Some(("process", "parent" | "ancestors")) => programs.above = true,
            Some((_, "parent" | "ancestors")) => programs.above_target = true,
            Some((_, "target" | "tracee")) => programs.target = true,
            _ => self.event = true,
        }
    }

    /// The files of an event whose sums are compared.
    pub(super) fn files<'a>(self, event: &'a Event, of: Processes<'a>) -> Vec<&'a File> {
        let mut files = Vec::new();
        if self == Self::default() {
            return files;
        }
        files.extend(event.kind.file().filter(|_| self.event));
        files.extend(event.kind.destination().filter(|_| self.destination));
        let above = |keys: &'a [Key]| keys.iter().take(ABOVE).filter_map(|key| of.tree.get(*key));
        let (programs, interpreters) = (self.programs, self.interpreters);
        let mut add = |process: &'a ProcessNode, program: bool, interpreter: bool| {
            let image = &process.program.image;
            files.extend(program.then_some(&image.file));
            files.extend(image.interpreter.as_ref().filter(|_| interpreter));
        };
        if let Some(process) = of.process {
            add(process, programs.process, interpreters.process);
        }
        for process in above(of.ancestors) {
            add(process, programs.above, interpreters.above);
        }
        if let Some(process) = of.target {
            add(process, programs.target, interpreters.target);
        }
        for process in above(of.target_ancestors) {
            add(process, programs.above_target, interpreters.above_target);
        }
        files
    }
}

/// Sums of the files that rules on an event compare. True when a tracer was asked for some.
pub(super) fn compare(
    summing: &mut Summing<'_>,
    event: &Event,
    files: &[&File],
    derived: &mut Derived,
    outputs: &mut dyn Outputs,
) -> bool {
    let mut asked = false;
    for file in files {
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
    let is_sum = |field: &FieldId| catalogue.info(*field).name.ends_with(SUMS);
    let rules = rules.rules().iter();
    rules.map(|rule| rule.fields.iter().any(is_sum)).collect()
}

/// How names of fields with sums end.
const SUMS: &str = ".hashes";

/// Which files of which events the rules compare by their sums.
pub(super) fn hashed(rules: &RuleSet) -> Vec<Hashed> {
    let catalogue = rules.catalogue();
    let mut hashed = vec![Hashed::default(); catalogue.events().count()];
    for rule in rules.rules().iter().filter(|rule| !rule.never_matches()) {
        for field in &rule.fields {
            let name = &catalogue.info(*field).name;
            if name.ends_with(SUMS) {
                hashed[usize::from(rule.event.0)].add(name);
            }
        }
    }
    hashed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_names_whose_file_is_summed() {
        let programs = |programs: Programs| Hashed {
            programs,
            ..Hashed::default()
        };
        let none = Programs::default();
        let cases = [
            (
                "open.file",
                Hashed {
                    event: true,
                    ..Hashed::default()
                },
            ),
            (
                "rename.file.destination",
                Hashed {
                    destination: true,
                    ..Hashed::default()
                },
            ),
            (
                "process.file",
                programs(Programs {
                    process: true,
                    ..none
                }),
            ),
            (
                "exec.file",
                programs(Programs {
                    process: true,
                    ..none
                }),
            ),
            (
                "process.ancestors.file",
                programs(Programs {
                    above: true,
                    ..none
                }),
            ),
            (
                "signal.target.file",
                programs(Programs {
                    target: true,
                    ..none
                }),
            ),
            (
                "ptrace.tracee.parent.file",
                programs(Programs {
                    above_target: true,
                    ..none
                }),
            ),
            (
                "process.parent.interpreter.file",
                Hashed {
                    interpreters: Programs {
                        above: true,
                        ..none
                    },
                    ..Hashed::default()
                },
            ),
        ];
        for (field, expected) in cases {
            let mut hashed = Hashed::default();
            hashed.add(&format!("{field}{SUMS}"));
            assert_eq!(hashed, expected, "{field}");
        }
    }
}
