//! What would become of a new pod, found out before there is one.
//!
//! * [`Preflight`]: whether the sidecar image can be had, asked of its registry.
//! * `trial`: a pod that is created as a dry run in a namespace, as the API server would take it;
//!   [`Finding`] is what that showed.
//! * `asked`: whether API servers ask the webhook about a namespace at all.
//! * `schedule`: what is tried when, so that large clusters are not burdened.
//! * `verdict`: what follows for a policy: the conditions `WebhookReachable`, `Ready` and
//!   `InjectionSuspended`.
//! * [`Trials`]: does it, in the replica that leads.
//!
//! All but the first and the last are pure, but for the trial's own questions to the API server.

mod asked;
mod controller;
mod pull;
mod schedule;
#[cfg(test)]
mod tests;
mod trial;
mod verdict;

pub use controller::{FIELD_MANAGER, Trials};
pub use pull::{Preflight, Pull};
pub use trial::Finding;
