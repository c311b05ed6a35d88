//! What is denied: the rules that the agent has sent, and what is known of a call when they are
//! held against it.

use std::sync::atomic::Ordering;

use picket_events::deny::{DenyRule, Facts};
use picket_events::wire::{FrameReader, FrameWriter, ToTracer};
use picket_events::{EventType, Image, text};

use crate::processes::Entry;
use crate::resolve::Root;
use crate::sys::shared::Board;

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    rules: Vec<DenyRule>,
}

/// A path in our root, and as the tracee sees it: a root of its own hides nothing.
pub(crate) type Names = [String; 2];

/// Both names of a path of ours.
pub(crate) fn names(root: &Root, path: &[u8]) -> Names {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    [path, root.strip(path)].map(text::from_bytes)
}

/// Both names of a file that is told.
pub(crate) fn both(root: &Root, path: &str) -> Names {
    [path, root.strip_text(path)].map(str::to_owned)
}

/// A call as it is judged.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    pub(crate) path: Names,
    pub(crate) destination: Names,
    pub(crate) called: String,
    pub(crate) flags: u32,
}

impl Denials {
    /// What the worker before was told.
    pub(crate) fn resume(board: &Board) -> Self {
        let mut reader = FrameReader::new();
        reader.feed(&board.denials.get().unwrap_or_default());
        let message = match reader.next_frame() {
            Ok(Some(frame)) => frame.messages().next(),
            _ => None,
        };
        let denials = match message {
            Some(Ok(ToTracer::Deny(rules))) => Self { rules },
            _ => Self::default(),
        };
        denials.come_into_force(board);
        denials
    }

    /// Has calls of these types be judged, or refused while there is nobody to do so.
    fn come_into_force(&self, board: &Board) {
        let types = self.rules.iter().map(|rule| bit(rule.event));
        let types = types.fold(0, |all, one| all | one);
        board.denied.store(types, Ordering::Release);
    }

    /// Puts these in the place of those before, for the workers to come as well.
    pub(crate) fn replace(&mut self, rules: Vec<DenyRule>, board: &Board) {
        let mut writer = FrameWriter::new();
        let message = ToTracer::Deny(rules);
        let is_kept = writer.push(&message).is_ok() && board.denials.put(&writer.take());
        if let ToTracer::Deny(rules) = message {
            self.rules = rules;
        }
        if !is_kept {
            // It came in a frame that is larger than what we can keep, which the agent does not
            // send; better none for the next worker than those of before.
            board.denials.put(&[]);
        }
        self.come_into_force(board);
    }

    /// Whether nothing is denied.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether anything of these types is denied.
    pub(crate) fn concern(board: &Board, types: impl IntoIterator<Item = EventType>) -> bool {
        let denied = board.denied.load(Ordering::Acquire);
        denied != 0 && types.into_iter().any(|event| denied & bit(event) != 0)
    }

    /// Whether a rule on opens may refuse one with these flags.
    pub(crate) fn may_refuse_open(&self, flags: u32) -> bool {
        self.rules
            .iter()
            .filter(|rule| rule.event == EventType::Open)
            .any(|rule| rule.condition.by_flags(flags) != Some(false))
    }

    /// Whether a rule refuses this.
    pub(crate) fn refuse(&self, event: EventType, subject: &Subject, process: &Entry) -> bool {
        let image = &process.image;
        let programs = both(&process.root, &image.file.path);
        self.rules
            .iter()
            .filter(|rule| rule.event == event)
            .any(|rule| {
                (0..subject.path.len()).any(|view| {
                    rule.condition.holds(&Facts {
                        path: &subject.path[view],
                        destination: &subject.destination[view],
                        called: &subject.called,
                        program: &programs[view],
                        program_called: &image.called,
                        flags: subject.flags,
                        uid: process.credentials.uid,
                        gid: process.credentials.gid,
                        effective_uid: process.credentials.euid,
                    })
                })
            })
    }

    /// Whether a rule refuses a program that the kernel has already put in place: the file that
    /// was executed, or what runs it.
    pub(crate) fn refuse_program(&self, image: &Image, root: &Root, process: &Entry) -> bool {
        let files = [Some(&image.file), image.interpreter.as_ref()];
        files.into_iter().flatten().any(|file| {
            let subject = Subject {
                path: both(root, &file.path),
                called: image.called.clone(),
                ..Subject::default()
            };
            self.refuse(EventType::Exec, &subject, process)
        })
    }
}

const fn bit(event: EventType) -> u64 {
    1 << event as u64
}
