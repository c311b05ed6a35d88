//! What an image runs, for containers that do not say it themselves.
//!
//! The planner stays pure: it names the images that it has to know ([`Wanted`]), somebody asks
//! for them, and the planner decides again with the answers ([`Images`]).
//!
//! * [`Resolver`]: asks, with a cache, one look-up for all who wait for the same, and a deadline.
//! * [`Keychain`]: which credentials there are, in kubelet's order.
//! * [`Guard`], [`Http`]: where requests may go, and how much may come back.
//! * [`reference`], [`document`], [`docker_config`]: what is read, without I/O.

mod cache;
mod challenge;
mod distribution;
pub mod docker_config;
pub mod document;
mod ecr;
pub mod guard;
mod http;
mod image;
mod keychain;
mod metrics;
mod options;
mod platform;
pub mod reference;
mod resolver;
mod sigv4;
mod unresolved;
mod url;

pub use cache::Lifetimes;
pub use challenge::Challenge;
pub use ecr::{AwsEnvironment, Ecr, EcrError};
pub use guard::Guard;
pub use http::{Http, Names};
pub use image::{ImageConfig, Images, Wanted};
pub use keychain::{BoxFuture, ClusterCredentials, Keychain, ObjectError, PullScope};
pub use options::{Mirror, Options};
pub use platform::Platform;
pub use resolver::Resolver;
pub use sigv4::Keys;
pub use unresolved::{Cause, Unresolved};
