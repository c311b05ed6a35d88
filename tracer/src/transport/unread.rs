//! What was written to the agent, and may not have been read.
//!
//! An agent that is killed takes with it what stands in its socket. The kernel says whether there was
//! something (ECONNRESET), but not how much: so what may be unread is kept, and counted when its
//! connection ends so.

use std::collections::VecDeque;

use picket_events::EventType;
use picket_events::wire::{FrameReader, LossReason, Lost, ToAgent};

/// Frames in the order in which they were written, of one connection.
#[derive(Debug, Default)]
pub(super) struct Unread {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Unread {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// A frame was written.
    pub(super) fn push(&mut self, frame: Vec<u8>) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// The kernel holds so much for the agent, its own bookkeeping included: at most that is unread.
    pub(super) fn are_at_most(&mut self, bytes: usize) {
        while let Some(first) = self.frames.front()
            && self.bytes - first.len() >= bytes
        {
            self.bytes -= first.len();
            self.frames.pop_front();
        }
    }

    /// What is lost with them: their events, and what they said to be lost already.
    pub(super) fn lost(&self) -> Vec<Lost> {
        let mut reader = FrameReader::new();
        let mut all = Vec::new();
        let mut unread = Lost {
            reason: LossReason::AgentGone,
            ..Lost::default()
        };
        for frame in &self.frames {
            reader.feed(frame);
            // We have made them: there is nothing wrong with them.
            while let Ok(Some(frame)) = reader.next_frame() {
                for message in frame.messages::<ToAgent>() {
                    match message {
                        Ok(ToAgent::Event(event)) => count(&mut unread, event.event_type()),
                        Ok(ToAgent::Lost(lost)) => all.push(lost),
                        _ => {}
                    }
                }
            }
        }
        if unread.count > 0 {
            all.push(unread);
        }
        all
    }
}

fn count(lost: &mut Lost, kind: EventType) {
    lost.count += 1;
    match lost.by_type.iter_mut().find(|(other, _)| *other == kind) {
        Some((_, count)) => *count += 1,
        None => lost.by_type.push((kind, 1)),
    }
}
