//! What an image runs, for containers that do not say it themselves.
//!
//! The planner stays pure: it names the images that it has to know ([`Wanted`]), somebody asks
//! for them, and the planner decides again with the answers ([`Images`]).

mod image;
mod platform;
mod unresolved;

pub use image::{ImageConfig, Images, Wanted};
pub use platform::Platform;
pub use unresolved::{Cause, Unresolved};
