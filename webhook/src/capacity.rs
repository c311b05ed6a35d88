//! What a pod asks for, the Fargate size that follows, and its quality-of-service class.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::quantity;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// What AWS adds to every pod for its own components.
const FARGATE_OVERHEAD: u64 = 256 * MIB;

/// CPU in thousandths of a core and memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// Thousandths of a core.
    pub millicores: u64,
    /// Bytes.
    pub memory: u64,
}

impl Need {
    fn plus(self, other: Self) -> Self {
        Self {
            millicores: self.millicores.saturating_add(other.millicores),
            memory: self.memory.saturating_add(other.memory),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            millicores: self.millicores.max(other.millicores),
            memory: self.memory.max(other.memory),
        }
    }

    /// What a pod requests by Kubernetes' rule: the sum of its containers and native sidecars,
    /// or what one init container and the sidecars before it request, whichever is more.
    /// Requests of the pod as a whole take the place of those.
    pub fn of(pod: &Value) -> Self {
        Self::total(pod, amount)
    }

    /// What a pod is limited to, by the same rule; what has no limit counts nothing.
    pub fn limits_of(pod: &Value) -> Self {
        Self::total(pod, |resources, name, read| {
            read(&resources["limits"][name])
        })
    }

    fn total(pod: &Value, amount: fn(&Value, &str, Reader) -> Option<u64>) -> Self {
        let request = |container: &Value| {
            let resources = &container["resources"];
            Self {
                millicores: amount(resources, "cpu", quantity::millicores).unwrap_or(0),
                memory: amount(resources, "memory", quantity::bytes).unwrap_or(0),
            }
        };
        let mut sidecars = Self::default();
        let mut peak = Self::default();
        for container in list(pod, "initContainers") {
            let request = request(container);
            if is_native_sidecar(container) {
                sidecars = sidecars.plus(request);
                peak = peak.max(sidecars);
            } else {
                peak = peak.max(sidecars.plus(request));
            }
        }
        let mut need = list(pod, "containers")
            .fold(sidecars, |sum, container| sum.plus(request(container)))
            .max(peak);
        let whole = &pod["spec"]["resources"];
        if let Some(millicores) = amount(whole, "cpu", quantity::millicores) {
            need.millicores = millicores;
        }
        if let Some(memory) = amount(whole, "memory", quantity::bytes) {
            need.memory = memory;
        }
        need
    }
}

/// A Fargate size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FargateSize {
    /// Thousandths of a vCPU.
    pub millicores: u64,
    /// Bytes.
    pub memory: u64,
}

impl FargateSize {
    /// The smallest size that holds the pod and the 256 MiB that AWS adds; `None` when there
    /// is none (AWS then refuses to run the pod).
    pub fn holding(need: Need) -> Option<Self> {
        let memory = need.memory.checked_add(FARGATE_OVERHEAD)?;
        sizes().find(|size| size.millicores >= need.millicores && size.memory >= memory)
    }

    /// Memory that a pod of this need leaves free in this size, in bytes.
    pub fn headroom(self, need: Need) -> u64 {
        self.memory
            .saturating_sub(need.memory.saturating_add(FARGATE_OVERHEAD))
    }
}

/// Every size that AWS offers, the cheapest CPU first.
fn sizes() -> impl Iterator<Item = FargateSize> {
    let halves = [1, 2, 4].into_iter().map(|half| (250, half * GIB / 2));
    let steps = |millicores, from: u64, to: u64, step: usize| {
        (from..=to)
            .step_by(step)
            .map(move |gib| (millicores, gib * GIB))
    };
    halves
        .chain(steps(500, 1, 4, 1))
        .chain(steps(1000, 2, 8, 1))
        .chain(steps(2000, 4, 16, 1))
        .chain(steps(4000, 8, 30, 1))
        .chain(steps(8000, 16, 60, 4))
        .chain(steps(16000, 32, 120, 8))
        .map(|(millicores, memory)| FargateSize { millicores, memory })
}

impl fmt::Display for FargateSize {
    /// As AWS writes it in `CapacityProvisioned`: `0.25vCPU 0.5GB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}vCPU {}GB",
            self.millicores as f64 / 1000.0,
            self.memory as f64 / GIB as f64
        )
    }
}

impl From<FargateSize> for String {
    fn from(size: FargateSize) -> Self {
        size.to_string()
    }
}

impl TryFrom<String> for FargateSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        sizes()
            .find(|size| size.to_string() == text)
            .ok_or_else(|| format!("{text:?} is not a Fargate size"))
    }
}

/// Kubernetes' quality-of-service class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Qos {
    /// Every container has equal requests and limits for CPU and memory.
    Guaranteed,
    /// Some container requests something.
    Burstable,
    /// No container requests anything.
    BestEffort,
}

impl Qos {
    /// The class of a pod, by Kubernetes' rule.
    pub fn of(pod: &Value) -> Self {
        let whole = &pod["spec"]["resources"];
        let pod_level = whole.is_object();
        let parts: Vec<&Value> = if pod_level {
            vec![whole]
        } else {
            list(pod, "containers")
                .chain(list(pod, "initContainers"))
                .map(|container| &container["resources"])
                .collect()
        };
        let mut guaranteed = true;
        let mut anything = false;
        for resources in parts {
            for (name, read) in [
                ("cpu", quantity::millicores as Reader),
                ("memory", quantity::bytes),
            ] {
                let limit = read(&resources["limits"][name]).filter(|amount| *amount > 0);
                let request = amount(resources, name, read).filter(|amount| *amount > 0);
                anything |= limit.is_some() || request.is_some();
                guaranteed &= limit.is_some() && limit == request;
            }
        }
        match (anything, guaranteed) {
            (false, _) => Self::BestEffort,
            (true, true) => Self::Guaranteed,
            (true, false) => Self::Burstable,
        }
    }
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        })
    }
}

type Reader = fn(&Value) -> Option<u64>;

/// A request; a limit without a request is one too.
fn amount(resources: &Value, name: &str, read: Reader) -> Option<u64> {
    read(&resources["requests"][name]).or_else(|| read(&resources["limits"][name]))
}

fn is_native_sidecar(init_container: &Value) -> bool {
    init_container["restartPolicy"] == "Always"
}

fn list<'a>(pod: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    pod["spec"][field].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn size(cpu: &str, memory: &str) -> Option<String> {
        let pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}]}});
        FargateSize::holding(Need::of(&pod)).map(|size| size.to_string())
    }

    #[test]
    fn sizes_by_table() {
        for (cpu, memory, expected) in [
            ("0", "0", Some("0.25vCPU 0.5GB")),
            ("200m", "200Mi", Some("0.25vCPU 0.5GB")),
            ("200m", "264Mi", Some("0.25vCPU 1GB")),
            ("260m", "256Mi", Some("0.5vCPU 1GB")),
            ("250m", "1793Mi", Some("0.5vCPU 3GB")),
            ("1", "7936Mi", Some("1vCPU 8GB")),
            ("1", "8000Mi", Some("2vCPU 9GB")),
            ("8", "17Gi", Some("8vCPU 20GB")),
            ("16", "119Gi", Some("16vCPU 120GB")),
            ("17", "1Gi", None),
            ("1", "121Gi", None),
        ] {
            assert_eq!(size(cpu, memory).as_deref(), expected, "{cpu} {memory}");
        }
    }

    #[test]
    fn the_least_size_wins_though_another_has_less_memory() {
        // 2 GB fits 0.25 vCPU, so more CPU is never bought for memory alone before that.
        assert_eq!(size("100m", "1792Mi").as_deref(), Some("0.25vCPU 2GB"));
    }

    #[test]
    fn init_containers_and_sidecars_count_as_kubernetes_counts_them() {
        let request = |memory: &str| json!({"requests": {"memory": memory}});
        let pod = json!({"spec": {
            "initContainers": [
                {"resources": request("10Mi")},
                {"restartPolicy": "Always", "resources": request("20Mi")},
                {"resources": request("300Mi")},
                {"restartPolicy": "Always", "resources": request("5Mi")},
            ],
            "containers": [{"resources": request("100Mi")}, {"resources": {"limits": {"memory": "50Mi"}}}],
        }});
        assert_eq!(Need::of(&pod).memory, 320 * MIB);
        let mut running = pod;
        running["spec"]["containers"][0]["resources"] = request("400Mi");
        assert_eq!(Need::of(&running).memory, 475 * MIB);
    }

    #[test]
    fn requests_of_the_whole_pod_count() {
        let pod = json!({"spec": {
            "resources": {"requests": {"memory": "1Gi"}},
            "containers": [{"resources": {"requests": {"memory": "10Mi", "cpu": "1"}}}],
        }});
        assert_eq!(
            Need::of(&pod),
            Need {
                millicores: 1000,
                memory: GIB
            }
        );
    }

    #[test]
    fn quality_of_service_by_table() {
        let both = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        for (containers, expected) in [
            (json!([{}]), Qos::BestEffort),
            (
                json!([{"resources": {"requests": {"cpu": "0"}}}]),
                Qos::BestEffort,
            ),
            (json!([{"resources": both}]), Qos::Guaranteed),
            (json!([{"resources": both}, {}]), Qos::Burstable),
            (
                json!([{"resources": {"requests": {"cpu": "1m"}}}]),
                Qos::Burstable,
            ),
            (
                json!([{"resources": {"requests": {"cpu": "1", "memory": "1024Mi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}}}]),
                Qos::Guaranteed,
            ),
        ] {
            assert_eq!(
                Qos::of(&json!({"spec": {"containers": containers}})),
                expected,
                "{containers}"
            );
        }
    }

    #[test]
    fn a_size_is_read_back() {
        let size = FargateSize::holding(Need::default()).unwrap();
        let text = serde_json::to_string(&size).unwrap();
        assert_eq!(serde_json::from_str::<FargateSize>(&text).unwrap(), size);
        assert!(serde_json::from_str::<FargateSize>("\"3vCPU 1GB\"").is_err());
    }
}
