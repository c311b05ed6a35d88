//! What `picket rules …` does: texts in, reports out. Nothing here does I/O.

pub mod eval;
pub mod event;
