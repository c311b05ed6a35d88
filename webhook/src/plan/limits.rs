//! Makes what our containers ask for fit the LimitRanges and ResourceQuotas of the namespace:
//! these are checked after us, and would refuse the pod.

use serde_json::{Value, json};

use super::build::insert;
use super::quota;
use super::resources::{LEAST_CPU_LIMIT, Sizes, requests_as_a_whole};
use super::strip::entries;
use crate::capacity::Need;
use crate::namespace::Namespace;
use crate::quantity;
use crate::status::AgentKind;

const MIB: u64 = 1 << 20;

/// What one of our containers requests and is limited to, of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount {
    request: u64,
    limit: Option<u64>,
    /// The limit that is set where one has to be, and the least that the agent works with.
    least_limit: u64,
}

/// A resource: its name, and how its amounts are read.
struct Resource {
    name: &'static str,
    read: fn(&Value) -> Option<u64>,
}

const RESOURCES: [Resource; 2] = [
    Resource {
        name: "cpu",
        read: quantity::millicores,
    },
    Resource {
        name: "memory",
        read: quantity::bytes,
    },
];

/// A bound on what the pod requests or is limited to in all.
pub(super) struct Ceiling {
    /// `requests` or `limits`.
    pub(super) section: &'static str,
    /// Index in [`RESOURCES`]: 0 is CPU, 1 memory.
    pub(super) resource: usize,
    /// What the pod may have: thousandths of a core, or bytes.
    pub(super) allowed: u64,
}

/// The requirements as the namespace admits them: raised where a LimitRange demands more,
/// lowered where a quota leaves less, down to what the agent works with. `None` when the
/// namespace would refuse the injected pod and would not refuse the pod as it is.
pub(super) fn fit(
    requirements: Value,
    sizes: &Sizes,
    pod: &Value,
    kind: AgentKind,
    namespace: &Namespace,
) -> Option<Value> {
    let unlimited = namespace.limit_ranges.is_empty() && namespace.quotas.is_empty();
    if unlimited || requests_as_a_whole(pod) {
        return Some(requirements);
    }
    let least = [LEAST_CPU_LIMIT, sizes.floor * MIB];
    let mut amounts = [0, 1].map(|index| {
        let resource = &RESOURCES[index];
        Amount {
            request: (resource.read)(&requirements["requests"][resource.name]).unwrap_or(0),
            limit: (resource.read)(&requirements["limits"][resource.name]),
            least_limit: least[index],
        }
    });
    let items: Vec<&Value> = namespace
        .limit_ranges
        .iter()
        .flat_map(|range| entries(&range["spec"], "limits"))
        .collect();
    let of_containers = || items.iter().filter(|item| item["type"] == "Container");
    for (amount, resource) in amounts.iter_mut().zip(&RESOURCES) {
        for item in of_containers() {
            obey(amount, resource, item);
        }
    }
    if amounts[0].limit.is_none() && quota::wants_cpu_limits(pod, namespace) {
        amounts[0].limit = Some(LEAST_CPU_LIMIT.max(amounts[0].request));
    }
    let ceilings = items
        .iter()
        .filter(|item| item["type"] == "Pod")
        .flat_map(|item| ceilings_of(item))
        .chain(quota::ceilings(
            &with_ours(pod, kind, &amounts, &requirements),
            namespace,
        ));
    for ceiling in ceilings {
        let after = with_ours(pod, kind, &amounts, &requirements);
        lower(&mut amounts, &ceiling, pod, &after)?;
    }
    let admitted = amounts
        .iter()
        .zip(&RESOURCES)
        .all(|(amount, resource)| of_containers().all(|item| is_admitted(amount, resource, item)));
    admitted.then(|| written(&amounts, requirements))
}

/// Raises and lowers an amount to what a LimitRange's item for containers demands.
fn obey(amount: &mut Amount, resource: &Resource, item: &Value) {
    let bound = |kind: &str| (resource.read)(&item[kind][resource.name]);
    let (min, max) = (bound("min"), bound("max"));
    let ratio = quantity::millicores(&item["maxLimitRequestRatio"][resource.name]);
    let default = bound("default");
    if let Some(min) = min {
        amount.request = amount.request.max(min);
        amount.limit = amount.limit.map(|limit| limit.max(min));
    }
    if amount.limit.is_none() && (max.is_some() || ratio.is_some()) {
        amount.limit = Some(default.or(max).unwrap_or(0).max(amount.least_limit));
    }
    if let Some(max) = max {
        amount.request = amount.request.min(max);
        amount.limit = amount.limit.map(|limit| limit.min(max));
    }
    if let (Some(ratio), Some(limit)) = (ratio.filter(|ratio| *ratio > 0), amount.limit) {
        let least = limit.saturating_mul(1000).div_ceil(ratio);
        amount.request = amount.request.max(least).max(1);
    }
    amount.limit = amount.limit.map(|limit| limit.max(amount.request));
}

/// Whether the API server would admit a container with this amount, and the agent would work
/// with it.
fn is_admitted(amount: &Amount, resource: &Resource, item: &Value) -> bool {
    let bound = |kind: &str| (resource.read)(&item[kind][resource.name]);
    let ratio = quantity::millicores(&item["maxLimitRequestRatio"][resource.name]);
    let limit = amount.limit;
    let above_min = bound("min")
        .is_none_or(|min| amount.request >= min && limit.is_none_or(|limit| limit >= min));
    let below_max = bound("max")
        .is_none_or(|max| limit.is_some_and(|limit| limit <= max) && amount.request <= max);
    let in_ratio = ratio.is_none_or(|ratio| {
        limit
            .is_some_and(|limit| limit.saturating_mul(1000) <= amount.request.saturating_mul(ratio))
    });
    // Too little CPU makes the agent slow; too little memory kills it.
    let works = resource.name == "cpu" || limit.is_none_or(|limit| limit >= amount.least_limit);
    above_min && below_max && in_ratio && works
}

/// The bounds of a LimitRange's item for pods.
fn ceilings_of(item: &Value) -> Vec<Ceiling> {
    let mut ceilings = Vec::new();
    for (index, resource) in RESOURCES.iter().enumerate() {
        if let Some(allowed) = (resource.read)(&item["max"][resource.name]) {
            ceilings.extend(["requests", "limits"].map(|section| Ceiling {
                section,
                resource: index,
                allowed,
            }));
        }
    }
    ceilings
}

/// Lowers an amount until the pod stays below a ceiling. `None` when that cannot be. A pod that
/// is above it by itself is not our matter.
fn lower(amounts: &mut [Amount; 2], ceiling: &Ceiling, pod: &Value, after: &Value) -> Option<()> {
    let total = |pod: &Value| {
        let need = match ceiling.section {
            "requests" => Need::of(pod),
            _ => Need::limits_of(pod),
        };
        [need.millicores, need.memory][ceiling.resource]
    };
    let before = total(pod);
    if before > ceiling.allowed || total(after) <= ceiling.allowed {
        return Some(());
    }
    let room = ceiling.allowed - before;
    let amount = &mut amounts[ceiling.resource];
    if ceiling.section == "limits" {
        if room < amount.least_limit {
            return None;
        }
        amount.limit = amount.limit.map(|limit| limit.min(room));
        amount.request = amount.request.min(room);
        return Some(());
    }
    // Only memory has a request that may shrink: CPU is 0 unless somebody demands more.
    if ceiling.resource == 0 || room < amount.least_limit {
        return None;
    }
    amount.request = amount.request.min(room);
    Some(())
}

/// The pod with our containers, as far as amounts go.
fn with_ours(pod: &Value, kind: AgentKind, amounts: &[Amount; 2], requirements: &Value) -> Value {
    let mut pod = pod.clone();
    let resources = written(amounts, requirements.clone());
    match kind {
        AgentKind::NativeSidecar => {
            let sidecar = json!({"restartPolicy": "Always", "resources": resources});
            insert(&mut pod["spec"], "initContainers", Some(0), sidecar);
        }
        AgentKind::Container => {
            insert(
                &mut pod["spec"],
                "containers",
                None,
                json!({"resources": resources}),
            );
        }
    }
    pod
}

fn written(amounts: &[Amount; 2], mut requirements: Value) -> Value {
    let [cpu, memory] = amounts;
    requirements["requests"]["cpu"] = quantity::format_millicores(cpu.request).into();
    if let Some(limit) = cpu.limit {
        requirements["limits"]["cpu"] = quantity::format_millicores(limit).into();
    }
    requirements["requests"]["memory"] = quantity::format_bytes(memory.request).into();
    if let Some(limit) = memory.limit {
        requirements["limits"]["memory"] = quantity::format_bytes(limit).into();
    }
    requirements
}
