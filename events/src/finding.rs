//! The JSON line that a user reads: what Datadog's agent would report for the event, plus
//! what it means and where it happened.
//!
//! Only the shape is defined here; the agent fills it. Empty parts are left out.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Worth knowing.
    #[default]
    Low,
    /// Look at it today.
    Medium,
    /// Look at it now.
    High,
    /// Somebody is inside.
    Critical,
}

impl Severity {
    /// The word used in rule tags, metrics and output.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The severity with this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Info,
            Self::Low,
            Self::Medium,
            Self::High,
            Self::Critical,
        ]
        .into_iter()
        .find(|severity| severity.name().eq_ignore_ascii_case(name))
    }
}

/// What a finding means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meaning {
    /// Type, such as `Execution:Runtime/ReverseShell`.
    #[serde(rename = "type")]
    pub finding_type: String,
    /// Severity.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// What to do about it.
    pub remediation: String,
    /// MITRE ATT&CK technique, such as `T1059`.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub technique: String,
}

/// The pod a finding comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentity {
    /// Namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Pod uid.
    pub uid: String,
    /// Node name.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub node: String,
    /// `Kind/name` of the workload that made the pod.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub workload: String,
}
