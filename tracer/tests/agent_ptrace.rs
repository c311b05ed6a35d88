//! What the agent is told, and what it can ask for, by the ptrace engine: the same suite.
#![allow(missing_docs)]

#[path = "agent.rs"]
mod agent;
