//! The way to the agent, by the ptrace engine: the same suite.
#![allow(missing_docs)]

#[path = "agent.rs"]
mod agent;
