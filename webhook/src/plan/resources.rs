//! What our containers request, and as whom they run.

use picket_crds::{Agent, Amounts, Sizing};
use serde_json::{Value, json};

use super::shape::CONTAINER_LISTS;
use super::strip::entries;
use crate::capacity::{FargateSize, Need};
use crate::quantity;

/// What an agent needs, in MiB.
pub(super) struct Sizes {
    /// What it requests where the policy says nothing.
    memory: u64,
    /// What it is limited to where the policy says nothing.
    memory_limit: u64,
    /// The least that it works with.
    pub(super) floor: u64,
}

impl Sizes {
    /// Picket's agent.
    pub(super) const PICKET: Self = Self {
        memory: 64,
        memory_limit: 128,
        floor: 32,
    };
    /// Datadog's agent: what they give their own sidecar, and room for the rules.
    pub(super) const DATADOG: Self = Self {
        memory: 256,
        memory_limit: 512,
        floor: 256,
    };
}

/// The least CPU limit that is left to the agent, in thousandths of a core.
pub(super) const LEAST_CPU_LIMIT: u64 = 100;
/// The uid and gid of what we add, if the pod does not use it.
const UID: u32 = 64738;
const MIB: u64 = 1 << 20;

/// The agent's memory request, in MiB: as the policy says, or less when that keeps the pod in
/// the Fargate size that it has without us. `on_fargate` is what such a pod needs without us.
pub(super) fn agent_memory(
    agent: &Agent,
    sizes: &Sizes,
    pod: &Value,
    on_fargate: Option<Need>,
) -> u64 {
    if requests_as_a_whole(pod) {
        return 0;
    }
    let limit = mebibytes(&agent.resources.limits);
    let wanted = mebibytes(&agent.resources.requests)
        .unwrap_or(limit.map_or(sizes.memory, |limit| limit.min(sizes.memory)));
    let Some(need) = on_fargate.filter(|_| agent.sizing != Sizing::Fixed) else {
        return wanted;
    };
    let headroom = FargateSize::holding(need).map_or(0, |size| size.headroom(need)) / MIB;
    if headroom >= sizes.floor {
        wanted.min(headroom)
    } else {
        wanted
    }
}

/// Resources of the agent, given its memory request, and of the setup container, which costs
/// nothing then: it has ended before the agent and the application start, and their sum is more.
///
/// An explicit CPU request of "0" is not the same as none: without one, autoscalers on CPU stop
/// working and some quotas refuse the pod.
pub(super) fn requirements(agent: &Agent, sizes: &Sizes, pod: &Value, memory: u64) -> Value {
    let of_pod = |name: &str| &pod["spec"]["resources"]["limits"][name];
    let request = if requests_as_a_whole(pod) {
        0
    } else {
        millicores(&agent.resources.requests).unwrap_or(0)
    };
    let mut memory_limit = mebibytes(&agent.resources.limits)
        .unwrap_or(sizes.memory_limit)
        .max(memory);
    if let Some(limit) = quantity::bytes(of_pod("memory")) {
        memory_limit = memory_limit.min(limit / MIB);
    }
    let mut resources = json!({
        "requests": {
            "cpu": quantity::format_millicores(request),
            "memory": quantity::format_mebibytes(memory),
        },
        "limits": { "memory": quantity::format_mebibytes(memory_limit) },
    });
    if let Some(limit) = millicores(&agent.resources.limits) {
        let limit = quantity::millicores(of_pod("cpu")).map_or(limit, |of_pod| limit.min(of_pod));
        resources["limits"]["cpu"] = quantity::format_millicores(limit.max(request)).into();
    }
    resources
}

/// A pod with requests of its own shares them among its containers, and is refused when theirs
/// add up to more: then ours ask for nothing.
pub(super) fn requests_as_a_whole(pod: &Value) -> bool {
    pod["spec"]["resources"].is_object()
}

/// Our requirements and, for what they leave open, the amounts that a container of ours already
/// has: a LimitRange fills them in between two calls of the webhook and refuses the pod if they
/// go again. A CPU limit under which the agent would not get on is not kept.
pub(super) fn with_defaults_of(mut requirements: Value, container: Option<&Value>) -> Value {
    for section in ["requests", "limits"] {
        let there = container.and_then(|container| container["resources"][section].as_object());
        for (name, amount) in there.into_iter().flatten() {
            let too_little = name == "cpu"
                && section == "limits"
                && quantity::millicores(amount).is_none_or(|limit| limit < LEAST_CPU_LIMIT);
            if requirements[section].get(name).is_none() && !too_little {
                requirements[section][name] = amount.clone();
            }
        }
    }
    requirements
}

fn mebibytes(amounts: &Amounts) -> Option<u64> {
    let bytes = quantity::bytes(&Value::String(amounts.memory.clone()?))?;
    Some(bytes.div_ceil(MIB))
}

fn millicores(amounts: &Amounts) -> Option<u64> {
    quantity::millicores(&Value::String(amounts.cpu.clone()?))
}

/// A uid and gid that nothing in the pod runs as.
pub(super) fn unused_uid(pod: &Value, of_images: &[u32]) -> u32 {
    let contexts = CONTAINER_LISTS
        .into_iter()
        .flat_map(|list| entries(&pod["spec"], list));
    let contexts: Vec<&Value> = contexts
        .map(|container| &container["securityContext"])
        .chain([&pod["spec"]["securityContext"]])
        .collect();
    let used = |uid: u32| {
        of_images.contains(&uid)
            || contexts.iter().any(|context| {
                ["runAsUser", "runAsGroup", "fsGroup"]
                    .iter()
                    .any(|field| context[*field] == uid)
                    || entries(context, "supplementalGroups").any(|group| *group == uid)
            })
    };
    // A pod has too few containers to use all of them up.
    (UID..=u32::from(u16::MAX))
        .find(|uid| !used(*uid))
        .unwrap_or(UID)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(memory: &str) -> Value {
        json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "250m", "memory": memory}}}]}})
    }

    #[test]
    fn memory_fits_the_headroom_by_table() {
        let agent = Agent::default();
        // 0.5 GB hold 256 MiB of the pod's own, 1 GB hold 768.
        for (memory, expected) in [
            ("100Mi", 64),
            ("192Mi", 64),
            ("200Mi", 56),
            ("224Mi", 32),
            ("230Mi", 64),
            ("256Mi", 64),
            ("704Mi", 64),
            ("720Mi", 48),
        ] {
            assert_eq!(
                agent_memory(
                    &agent,
                    &Sizes::PICKET,
                    &pod(memory),
                    Some(Need::of(&pod(memory)))
                ),
                expected,
                "{memory}"
            );
            assert_eq!(
                agent_memory(&agent, &Sizes::PICKET, &pod(memory), None),
                64,
                "{memory}"
            );
        }
    }

    #[test]
    fn fixed_is_fixed() {
        let agent = Agent {
            sizing: Sizing::Fixed,
            ..Agent::default()
        };
        assert_eq!(
            agent_memory(
                &agent,
                &Sizes::PICKET,
                &pod("220Mi"),
                Some(Need::of(&pod("220Mi")))
            ),
            64
        );
    }

    #[test]
    fn a_policy_that_only_limits_requests_no_more_than_that() {
        let mut agent = Agent::default();
        agent.resources.limits.memory = Some("40Mi".into());
        assert_eq!(agent_memory(&agent, &Sizes::PICKET, &pod("1Mi"), None), 40);
        assert_eq!(
            requirements(&agent, &Sizes::PICKET, &json!({}), 40)["limits"]["memory"],
            "40Mi"
        );
    }

    #[test]
    fn a_limit_never_falls_below_its_request() {
        let mut agent = Agent::default();
        assert_eq!(
            requirements(&agent, &Sizes::PICKET, &json!({}), 256)["limits"],
            json!({"memory": "256Mi"})
        );
        agent.resources.limits.cpu = Some("0.1".into());
        assert_eq!(
            requirements(&agent, &Sizes::PICKET, &json!({}), 64)["limits"],
            json!({"memory": "128Mi", "cpu": "100m"})
        );
        agent.resources.requests.cpu = Some("1".into());
        assert_eq!(
            requirements(&agent, &Sizes::PICKET, &json!({}), 64)["limits"]["cpu"],
            "1"
        );
    }

    #[test]
    fn a_pod_that_requests_as_a_whole_is_not_asked_for_more() {
        let mut agent = Agent::default();
        agent.resources.requests.cpu = Some("50m".into());
        agent.resources.limits.cpu = Some("1".into());
        let whole =
            json!({"requests": {"memory": "64Mi"}, "limits": {"memory": "100Mi", "cpu": "500m"}});
        let pod = json!({"spec": {"containers": [{}], "resources": whole}});
        let memory = agent_memory(&agent, &Sizes::PICKET, &pod, Some(Need::of(&pod)));
        assert_eq!(
            requirements(&agent, &Sizes::PICKET, &pod, memory),
            json!({"requests": {"cpu": "0", "memory": "0"}, "limits": {"memory": "100Mi", "cpu": "500m"}})
        );
    }

    #[test]
    fn what_a_limit_range_filled_in_stays() {
        let ours = requirements(&Agent::default(), &Sizes::PICKET, &json!({}), 64);
        let with = |limit: &str| {
            let limits = json!({"cpu": limit, "memory": "1Mi", "ephemeral-storage": "1Gi"});
            with_defaults_of(
                ours.clone(),
                Some(&json!({"resources": {"limits": limits}})),
            )["limits"]
                .clone()
        };
        assert_eq!(
            with("200m"),
            json!({"memory": "128Mi", "cpu": "200m", "ephemeral-storage": "1Gi"})
        );
        assert_eq!(
            with("1m"),
            json!({"memory": "128Mi", "ephemeral-storage": "1Gi"})
        );
        assert_eq!(with_defaults_of(ours.clone(), None), ours);
    }

    #[test]
    fn a_used_uid_is_not_taken() {
        let mut pod = json!({"spec": {"containers": [{"securityContext": {"runAsUser": 64738}}]}});
        assert_eq!(unused_uid(&pod, &[]), 64739);
        pod["spec"]["securityContext"] = json!({"fsGroup": 64739, "supplementalGroups": [64740]});
        assert_eq!(unused_uid(&pod, &[]), 64741);
        assert_eq!(unused_uid(&json!({"spec": {}}), &[]), 64738);
        assert_eq!(unused_uid(&json!({"spec": {}}), &[64738]), 64739);
    }
}
