//! The API of Picket: group `picket.dev`, version `v1alpha1`.
//!
//! * [`policy`]: which pods are protected, and how ([`ProtectionPolicy`]); [`cluster`]: the
//!   same for several namespaces ([`ClusterProtectionPolicy`]).
//! * [`agent`], [`entrypoint`], [`provider`], [`coverage`], [`rollout`]: parts of both.
//! * [`report`]: what is protected ([`CoverageReport`]); [`gap`]: what is not, by name.
//! * [`rule_set`]: rules of the user's ([`RuleSet`]).
//! * [`selector`]: label selectors as a pure function.
//! * [`labels`], [`annotations`]: every key that Picket reads or writes, in one place.
//! * [`manifests`]: the CustomResourceDefinitions as YAML, as they are checked in.
//!
//! This crate does no I/O. Doc comments on API types become `kubectl explain`.

pub mod agent;
pub mod cluster;
pub mod conditions;
pub mod coverage;
pub mod entrypoint;
pub mod gap;
pub mod manifest;
pub mod names;
pub mod policy;
pub mod provider;
pub mod report;
pub mod rollout;
pub mod rule_set;
pub mod selector;

pub use agent::{Agent, AgentResources, Amounts, Engine, NativeSidecar, Sizing, Startup, Tracer};
pub use cluster::{ClusterProtectionPolicy, ClusterProtectionPolicySpec};
pub use coverage::Coverage;
pub use entrypoint::{Entrypoint, EntrypointOverride, OnEntrypointFailure, Resolve};
pub use gap::Gap;
pub use manifest::{manifests, unknown_field};
pub use names::{
    AGENT_CONTAINER, MOUNT_PATH, SESSION_KEYS_VARIABLE, SETUP_CONTAINER, TOKEN_FILE, TOKEN_PATH,
    TOKEN_VOLUME, VOLUME, annotations, labels,
};
pub use policy::{
    ComputeType, Containers, InjectionVersion, Mode, OnInjectFailure, OptOut, ProtectionPolicy,
    ProtectionPolicySpec, ProtectionPolicyStatus,
};
pub use provider::{Datadog, Provider, SecretKey};
pub use report::{
    Capacity, ContainerCoverage, ContainerTrace, CoverageReport, CoverageReportSpec,
    CoverageReportStatus, CoverageState, CoverageSummary, Health, PodCounts, REPORT_NAME,
    RulesInUse, WorkloadCoverage, WorkloadGap,
};
pub use rollout::{Rollout, Strategy};
pub use rule_set::{NamedText, RuleError, RuleSet, RuleSetSpec, RuleSetStatus};
pub use selector::{LabelSelector, Operator, Requirement};

/// The API group.
pub const GROUP: &str = "picket.dev";

/// The API version.
pub const VERSION: &str = "v1alpha1";

/// The rule set that is built into the agent; the operator shows it as a RuleSet of this name.
pub const DEFAULT_RULE_SET: &str = "default";
