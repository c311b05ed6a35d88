//! What agents and the operator's relay say to each other: JSON over HTTP, all of it here.
//!
//! An agent posts a [`Heartbeat`], asks for its [`Orders`] and waits until they change, fetches
//! a [`RuleBundle`] by its hash, and posts a [`FindingBatch`]. Who speaks is told by the bearer
//! token, never by a body.
//!
//! Operator and agents are upgraded at different times: fields that a side does not know are
//! left alone, fields that are missing have a default, and words that it does not know become
//! `Unknown`. A body is bounded three times: in bytes before it is read ([`MAX_HEARTBEAT`] …),
//! in entries, and in the length of each text ([`Heartbeat::check`]).

mod bounds;
mod heartbeat;

pub use bounds::Excess;
pub use heartbeat::{
    ContainerReport, ContainerState, EngineName, Gap, Heartbeat, Losses, RejectedBundle, RulesInUse,
};
use serde::{Deserialize, Serialize};

/// Version of these types: raised when a reader of the version before would misunderstand.
pub const VERSION: u32 = 1;

/// Audience of the tokens with which agents come.
pub const AUDIENCE: &str = "picket";
/// Audience of the tokens with which people read findings.
pub const READER_AUDIENCE: &str = "picket-cli";

/// `POST`: a [`Heartbeat`]; answered with 204.
pub const HEARTBEAT_PATH: &str = "/v1/heartbeat";
/// `GET`: the [`Orders`] of the pod; with `?seen=TAG` the answer waits until they differ from
/// those, or is 204 after about half a minute.
pub const ORDERS_PATH: &str = "/v1/orders";
/// `GET`, followed by a hash: the [`RuleBundle`] whose bytes have this SHA-256.
pub const RULES_PATH: &str = "/v1/rules/";
/// `POST`: a [`FindingBatch`]; answered with 204.
pub const FINDINGS_PATH: &str = "/v1/findings";
/// `GET`: the last findings of all pods, a line of JSON each; with `?follow=true` those that come
/// too. For tokens with [`READER_AUDIENCE`].
pub const READER_PATH: &str = "/v1/recent-findings";

/// Largest heartbeat, in bytes: 64 KiB.
pub const MAX_HEARTBEAT: usize = 64 * 1024;
/// Largest batch of findings, in bytes: 1 MiB.
pub const MAX_FINDINGS: usize = 1024 * 1024;
/// Largest finding that is worth sending, in bytes: 64 KiB.
pub const MAX_FINDING: usize = 64 * 1024;
/// Most findings of a batch.
pub const MAX_BATCH: usize = 256;
/// Largest rule bundle, in bytes: 32 MiB.
pub const MAX_BUNDLE: usize = 32 * 1024 * 1024;
/// Largest orders, in bytes: 256 KiB.
pub const MAX_ORDERS: usize = 256 * 1024;
/// Most containers that a heartbeat tells of.
pub const MAX_CONTAINERS: usize = 64;
/// Longest name or word, in bytes.
pub const MAX_NAME: usize = 253;
/// Longest sentence, in bytes.
pub const MAX_TEXT: usize = 1024;

/// Seconds between heartbeats.
pub const HEARTBEAT_SECONDS: u64 = 30;

/// What the operator wants of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Orders {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// Names this content: other orders have another tag.
    pub tag: String,
    /// SHA-256 of the bundle to evaluate; empty for the rules built into the agent.
    pub bundle: String,
    /// Cut the pod off from the network; `None` lets it go again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// Certificates (PEM) of the authorities that the relay's certificate may be signed by from
    /// now on; empty leaves what the agent has.
    pub trust: String,
}

/// Why a pod is cut off from the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Quarantine {
    /// Who asked for it, for people.
    pub reason: String,
}

/// Policies and lists that an agent loads as one. Its hash is the SHA-256 of the bytes that the
/// relay sends, in lower-case hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleBundle {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// Whether the rules and lists built into the agent are loaded first.
    pub defaults: bool,
    /// Policies, in order.
    pub policies: Vec<NamedText>,
    /// Lists.
    pub lists: Vec<NamedText>,
}

/// A policy or list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamedText {
    /// File name.
    pub name: String,
    /// Content.
    pub text: String,
}

/// Findings of a pod. `F` is a finding in whatever form the side has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingBatch<F> {
    /// [`VERSION`] of the sender.
    #[serde(default)]
    pub version: u32,
    /// How many findings were dropped before these since the last batch.
    #[serde(default)]
    pub dropped: u64,
    /// The findings, oldest first, each as in the agent's output.
    #[serde(default = "Vec::new")]
    pub findings: Vec<F>,
}
