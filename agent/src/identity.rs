//! Where this agent runs and what it was told to do.

use picket_events::finding::PodIdentity;
use serde::{Deserialize, Serialize};

/// Whether actions of rules act.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Findings only; actions are reported as what they would have done.
    #[default]
    Monitor,
    /// Actions act.
    Enforce,
}

impl std::str::FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "Monitor" => Ok(Mode::Monitor),
            "Enforce" => Ok(Mode::Enforce),
            _ => Err(UnknownMode(text.to_owned())),
        }
    }
}

/// A mode that is neither `Monitor` nor `Enforce`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mode {0:?} is neither Monitor nor Enforce")]
pub struct UnknownMode(pub String);

/// Who this agent is, for every finding that it writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Pod.
    pub pod: PodIdentity,
    /// `namespace/name` of the policy that protects the pod; empty outside a cluster.
    pub policy: String,
    /// Revision of the injection; empty outside a cluster.
    pub revision: String,
    /// Whether actions act.
    pub mode: Mode,
    /// When the agent started, nanoseconds since the epoch.
    pub started_at: u64,
}

impl Identity {
    /// Reads what the injected pod's environment says (`PICKET_POD_NAME`, `PICKET_POD_UID`,
    /// `PICKET_POD_NAMESPACE`, `PICKET_NODE_NAME`, `PICKET_WORKLOAD`, `PICKET_POLICY`,
    /// `PICKET_REVISION`) through `variable`; what is not set stays empty.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name| variable(name).unwrap_or_default();
        Self {
            pod: PodIdentity {
                namespace: text("PICKET_POD_NAMESPACE"),
                name: text("PICKET_POD_NAME"),
                uid: text("PICKET_POD_UID"),
                node: text("PICKET_NODE_NAME"),
                workload: text("PICKET_WORKLOAD"),
            },
            policy: text("PICKET_POLICY"),
            revision: text("PICKET_REVISION"),
            mode: Mode::default(),
            started_at: 0,
        }
    }

    /// True when there is no pod: outside a cluster.
    pub fn is_local(&self) -> bool {
        self.pod == PodIdentity::default()
    }

    /// The name that SECL's `event.service` gives: the workload's without its kind.
    pub fn service(&self) -> &str {
        let workload = self.pod.workload.as_str();
        workload.split_once('/').map_or(workload, |(_, name)| name)
    }

    /// The name that SECL's `event.hostname` gives: the node's, or else the pod's.
    pub fn hostname(&self) -> &str {
        if self.pod.node.is_empty() {
            &self.pod.name
        } else {
            &self.pod.node
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_pod_and_workload() {
        let identity = Identity::from_environment(|name| match name {
            "PICKET_POD_NAME" => Some("web-1".to_owned()),
            "PICKET_WORKLOAD" => Some("Deployment/web".to_owned()),
            _ => None,
        });
        assert_eq!((identity.hostname(), identity.service()), ("web-1", "web"));
        assert!(!identity.is_local());
        assert!(Identity::default().is_local());
    }

    #[test]
    fn a_mode_is_spelled_exactly() {
        assert_eq!("Enforce".parse(), Ok(Mode::Enforce));
        assert_eq!(
            "enforce".parse::<Mode>(),
            Err(UnknownMode("enforce".to_owned()))
        );
    }
}
