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
