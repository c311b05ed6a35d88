//! What Rust's own copies call in the programs that this crate is linked into: tracer and agent.
//!
//! There is nothing to be called here by a path, and on other machines than x86-64, or with another C
//! library than musl, nothing at all. Whoever wants it says `use picket_copy as _;`.

#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", any(test, target_env = "musl")))]
mod copy;
