//! What goes in and out of a pipeline beside messages.

use std::sync::Arc;

use picket_events::deny::DenyRule;
use picket_events::wire::{Refusal, ToTracer};
use picket_rules::{LoadReport, RuleSet};

use crate::context::Scene;
use crate::finding::Finding;

/// Names a connection in a [`Pipeline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub(super) u64);

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Write this line.
    Finding(Box<Finding>),
    /// Send this to the tracer on this connection.
    Message(ConnectionId, ToTracer),
    /// Tell every tracer that is connected to let nothing reach out over a network anew (true),
    /// or to go back to normal.
    Quarantine(bool),
    /// Tell every tracer that is connected what to refuse from now on.
    Deny(Vec<DenyRule>),
}

/// Takes what is to be done, at once: a pipeline holds nothing back.
pub trait Outputs {
    /// One thing to be done.
    fn push(&mut self, output: Output);
}

impl Outputs for Vec<Output> {
    fn push(&mut self, output: Output) {
        Vec::push(self, output);
    }
}

/// Sees every event with the process that it belongs to, after it was evaluated.
pub trait Observer: Send {
    /// An event, and what it was evaluated against.
    fn event(&mut self, scene: &Scene<'_>);
}

impl Observer for () {
    fn event(&mut self, _: &Scene<'_>) {}
}

/// Rules with what their loading reported.
#[derive(Debug, Clone)]
pub struct LoadedRules {
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// What became of each policy.
    pub report: LoadReport,
}

/// A peer broke the rules of the conversation; its connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Bytes that are no message.
    #[error("malformed message")]
    Malformed,
    /// A frame over the size limit, or an empty one.
    #[error("bad frame length")]
    BadFrame,
    /// Something else before a hello.
    #[error("no hello")]
    NoHello,
    /// No hello in time.
    #[error("no hello in time")]
    HelloTimeout,
    /// A second hello.
    #[error("second hello")]
    SecondHello,
    /// Descriptors that no tracer hands over.
    #[error("descriptors that nobody asked for")]
    Descriptors,
    /// The hello was refused.
    #[error("hello refused: {0:?}")]
    Refused(Refusal),
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events that arrived.
    pub events: u64,
    /// Findings, events about Picket left out.
    pub findings: u64,
    /// Connections closed because of a [`Violation`].
    pub violations: u64,
    /// Findings that could not be written.
    pub lost_findings: u64,
    /// Connections that were cut off at the end of the time to drain: what their tracers had not
    /// sent yet is lost.
    pub cut_off: u64,
}
