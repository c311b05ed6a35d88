//! The injection webhook: a pure planner, and the HTTP handlers and the offline command that
//! share it.
//!
//! * [`plan`]: raw pod and context in, JSON Patch operations and a [`report::Report`] out.
//!   Touches no socket, no file and no clock.
//! * [`policy`]: which policy wins; [`store`]: the policies a webhook answers from;
//!   [`namespace`]: what is known about the namespace of a pod.
//! * [`suspension`]: workloads that are left alone because injection kept them from starting.
//! * [`entrypoint`]: what images run, asked of registries.
//! * [`sessions`]: what is known of pods that somebody runs a command in, and by whom.
//! * [`report`]: what was decided, in words that are the same in metrics, logs, events and
//!   the command line.
//! * [`admission`]: AdmissionReview over HTTP, health and metrics.
//! * [`inject`]: the same for manifests in files; [`ecs`]: for task definitions of ECS.

pub mod admission;
pub mod capacity;
pub mod ecs;
pub mod entrypoint;
mod glob;
pub mod inject;
pub mod namespace;
pub mod plan;
pub mod policy;
pub mod quantity;
pub mod reason;
pub mod report;
pub mod sessions;
pub mod settings;
pub mod status;
pub mod store;
pub mod suspension;

pub use namespace::{NamesOnly, Namespace, Namespaces};
pub use plan::{Context, Plan, plan};
pub use policy::{Policy, Scope};
pub use reason::{Outcome, Reason};
pub use report::Report;
pub use sessions::Sessions;
pub use settings::{Canary, RelayAccess, Settings, SharedSettings};
pub use store::PolicyStore;
pub use suspension::{Suspension, Suspensions};
