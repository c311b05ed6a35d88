//! The platform that a pod will run on.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// An operating system and an architecture, in Go's words as image indexes have them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Platform {
    /// Always `linux`: there is no tracer for anything else.
    os: &'static str,
    /// For example `amd64`.
    architecture: String,
}

impl Platform {
    /// The platform that every Fargate pod has.
    pub fn amd64() -> Self {
        Self::linux("amd64")
    }

    /// Linux on this architecture.
    pub fn linux(architecture: &str) -> Self {
        Self {
            os: "linux",
            architecture: architecture.to_owned(),
        }
    }

    /// The architecture that the pod's node selector asks for, or `amd64`.
    pub fn of_pod(pod: &Value) -> Self {
        let selector = &pod["spec"]["nodeSelector"];
        let asked = ["kubernetes.io/arch", "beta.kubernetes.io/arch"];
        let asked = asked.iter().find_map(|key| selector[*key].as_str());
        asked.map_or_else(Self::amd64, Self::linux)
    }

    /// The operating system.
    pub fn os(&self) -> &str {
        self.os
    }

    /// The architecture.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_node_selector_decides() {
        for (selector, expected) in [
            (json!(null), "linux/amd64"),
            (json!({"disk": "ssd"}), "linux/amd64"),
            (json!({"kubernetes.io/arch": "arm64"}), "linux/arm64"),
            (json!({"beta.kubernetes.io/arch": "arm64"}), "linux/arm64"),
        ] {
            let pod = json!({"spec": {"nodeSelector": selector}});
            assert_eq!(Platform::of_pod(&pod).to_string(), expected);
        }
    }
}
