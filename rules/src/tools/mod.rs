//! What `picket rules …` does: texts in, reports out. Nothing here does I/O.

pub mod bench;
pub mod check;
pub mod describe;
pub mod eval;
pub mod event;
pub mod testing;
