//! Programs that hold the tracer up, or try to wear it out.
#![allow(missing_docs)]

mod support;

use std::process::{Child, Command, Stdio};

use picket_events::wire::Notice;
use picket_events::{Event, EventKind, EventType, Outcome};
use support::*;

#[path = "hostile/crowds.rs"]
mod crowds;
#[path = "hostile/hanging.rs"]
mod hanging;
#[path = "hostile/spaces.rs"]
mod spaces;

/// The worker below a tracer.
fn worker_of(keeper: u32) -> Option<u32> {
    let path = format!("/proc/{keeper}/task/{keeper}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let mut children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    children.find(|pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name == "picket-tracer\n"
    })
}
