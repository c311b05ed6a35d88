//! AdmissionReview over HTTP.
//!
//! * [`review`]: the messages, read with the path of what is wrong in them.
//! * [`service`]: a review in, an answer out; no HTTP, no clock.
//! * [`http`]: the routes, limits on size, time and concurrency.
//! * `trial`: pods that the control plane creates to see what would become of real ones.
//! * [`metrics`], [`health`]: what operators of the webhook see.
//!
//! Two routes, one for each entry of the webhook configuration: [`http::MUTATE`] answers
//! `allowed: true` whatever happens; [`http::MUTATE_ENFORCE`] refuses pods that were meant to
//! be protected and cannot be, where their policy says so.

pub mod health;
pub mod http;
pub mod metrics;
pub mod review;
pub mod service;
mod slim;
mod trial;

pub use health::{Readiness, health_router};
pub use http::{AdmissionState, router};
pub use metrics::Metrics;
pub use service::{CommandRun, Decided, Entry, Recorder};
