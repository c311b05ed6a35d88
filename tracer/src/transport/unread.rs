//! What was written to the agent, and may not have been read.
//!
//! An agent that is killed takes with it what stands in its socket. The kernel says whether there was
//! something (ECONNRESET), but not how much: so it is kept in mind what may be unread, and counted when
//! its connection ends so.

use std::collections::VecDeque;

use picket_events::EventType;
use picket_events::wire::{LossReason, Lost, ToAgent};

/// What a frame tells of.
#[derive(Debug, Default)]
pub(super) struct Content {
    events: Vec<(EventType, u64)>,
    losses: Vec<Lost>,
}

impl Content {
    /// Takes a message in.
    pub(super) fn add(&mut self, message: &ToAgent) {
        match message {
            ToAgent::Event(event) => count(&mut self.events, event.event_type(), 1),
            ToAgent::Lost(lost) => self.losses.push(lost.clone()),
            _ => {}
        }
    }
}

/// Frames in the order in which they were written, of one connection.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// How long each is, and what it tells of.
    frames: VecDeque<(usize, Content)>,
    bytes: usize,
}

impl Unread {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// A frame was written.
    pub(super) fn push(&mut self, bytes: usize, content: Content) {
        self.bytes += bytes;
        self.frames.push_back((bytes, content));
    }

    /// The kernel holds so much for the agent, its own bookkeeping included: at most that is unread.
    pub(super) fn are_at_most(&mut self, bytes: usize) {
        while let Some((first, _)) = self.frames.front()
            && self.bytes - first >= bytes
        {
            self.bytes -= first;
            self.frames.pop_front();
        }
    }

    /// What is lost with them: their events, and what they said to be lost already.
    pub(super) fn lost(&self) -> Vec<Lost> {
        let mut all = Vec::new();
        let mut by_type = Vec::new();
        for (_, content) in &self.frames {
            all.extend(content.losses.iter().cloned());
            for (kind, more) in &content.events {
                count(&mut by_type, *kind, *more);
            }
        }
        if !by_type.is_empty() {
            all.push(Lost {
                count: by_type.iter().map(|(_, count)| count).sum(),
                by_type,
                reason: LossReason::AgentGone,
            });
        }
        all
    }
}

/// Adds to the number of events of a type.
pub(super) fn count(by_type: &mut Vec<(EventType, u64)>, kind: EventType, more: u64) {
    match by_type.iter_mut().find(|(other, _)| *other == kind) {
        Some((_, count)) => *count += more,
        None => by_type.push((kind, more)),
    }
}
