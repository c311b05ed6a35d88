//! The rows: one for each system call.

mod files;
mod kernel;
mod network;
mod processes;

use super::{Row, Test};
pub(crate) use network::looks_at_messages;

const EVERY: &[Test] = &[Test::Always];

/// All traced calls.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    [processes::ROWS, files::ROWS, kernel::ROWS, network::ROWS]
        .into_iter()
        .flatten()
}
