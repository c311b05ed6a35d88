//! The control plane of Picket: serves the admission webhook and keeps what it
//! needs up to date.
//!
//! * [`server`]: the webhook over TLS, health and metrics.
//! * [`certificates`]: the webhook's own authority and certificate.
//! * [`ca_bundle`]: what API servers are told to trust.
//! * [`policies`]: what the API server knows of policies and namespaces.
//! * [`pods`]: all pods, as a few facts each.
//! * [`coverage`](mod@coverage): what is protected, what is not, and why.
//! * [`events`]: decisions of the webhook, told on workloads.
//! * [`facts`]: what the webhook is told about namespaces.
//! * [`status`]: what the operator thinks of each policy.
//! * [`suspensions`]: workloads whose pods are left alone for a while; [`breaker`]: decides which.
//! * [`preflight`]: what would become of new pods, tried before there are any.
//! * [`images`]: what images run, asked of registries.
//! * [`lease`]: which replica writes.
//! * [`relay`]: where agents report and fetch rules.
//! * [`rollout`]: workloads that are restarted for their policies.
//! * [`rule_sets`]: rules of the user's, and which pod gets them.
//! * [`settings`](mod@settings): what the planner is told.
//! * [`quarantine`]: pods that are cut off and kept.
//! * [`readiness`], [`metrics`]: what kubelet and Prometheus see.
//! * [`watched`]: following one named object.
//! * [`arguments`], [`run`](mod@run): the command line, and the whole put together.

pub mod arguments;
pub mod breaker;
pub mod ca_bundle;
pub mod certificates;
pub mod coverage;
pub mod events;
pub mod facts;
pub mod images;
pub mod installation;
mod kept_secret;
pub mod lease;
pub mod metrics;
pub mod pods;
pub mod policies;
pub mod preflight;
pub mod quarantine;
pub mod readiness;
pub mod relay;
pub mod rollout;
pub mod rule_sets;
pub mod run;
pub mod server;
pub mod sessions;
pub mod settings;
pub mod status;
pub mod suspensions;
pub mod watched;
