//! What stands in the way of Datadog's tracer and agent.

use picket_crds::ProtectionPolicySpec;
use serde_json::Value;

use super::shape::CONTAINER_LISTS;
use super::strip::entries;
use super::wrapper;
use crate::namespace::Namespace;
use crate::reason::Reason;

/// The container that Datadog's own webhook adds.
const THEIR_SIDECAR: &str = "datadog-agent-injected";

/// What would break the pod, or give it two agents. The pod holds nothing of ours.
///
/// # Errors
/// [`Reason::DatadogAlreadyThere`], [`Reason::PodSecurityConflict`] or [`Reason::SecretMissing`].
pub(super) fn obstacle(
    pod: &Value,
    spec: &ProtectionPolicySpec,
    namespace: &Namespace,
) -> Result<(), Reason> {
    let mut containers = CONTAINER_LISTS
        .into_iter()
        .flat_map(|list| entries(&pod["spec"], list));
    if containers.any(is_theirs) {
        return Err(Reason::DatadogAlreadyThere);
    }
    if namespace.enforced_standard() == Some("restricted") {
        return Err(Reason::PodSecurityConflict);
    }
    if namespace
        .missing_secrets
        .contains(&spec.datadog.api_key.name)
    {
        return Err(Reason::SecretMissing);
    }
    Ok(())
}

/// Their agent, or a container that somebody has put under their tracer by hand.
fn is_theirs(container: &Value) -> bool {
    let image = container["image"].as_str().unwrap_or_default();
    let repository = image.split('@').next().unwrap_or_default();
    let (path, name) = repository.rsplit_once('/').unwrap_or(("", repository));
    let is_agent = name.split(':').next() == Some("agent")
        && path
            .rsplit('/')
            .next()
            .is_some_and(|owner| owner == "datadog");
    let words = [
        wrapper::strings(&container["command"]),
        wrapper::strings(&container["args"]),
    ]
    .concat();
    let is_traced = words
        .windows(2)
        .any(|pair| pair[0].ends_with("/cws-instrumentation") && pair[1] == "trace");
    container["name"] == THEIR_SIDECAR || is_agent || is_traced
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_theirs() {
        for (container, expected) in [
            (json!({"name": "datadog-agent-injected"}), true),
            (json!({"image": "public.ecr.aws/datadog/agent:7"}), true),
            (json!({"image": "gcr.io/datadog/agent@sha256:0"}), true),
            (json!({"image": "datadog/agent"}), true),
            (json!({"image": "example/agent:7"}), false),
            (json!({"image": "datadog/agent-tools"}), false),
            (
                json!({"command": ["/v/cws-instrumentation", "trace", "--", "a"]}),
                true,
            ),
            (
                json!({"command": ["/v/cws-instrumentation"], "args": ["trace"]}),
                true,
            ),
            (
                json!({"command": ["/v/cws-instrumentation", "setup"]}),
                false,
            ),
        ] {
            assert_eq!(is_theirs(&container), expected, "{container}");
        }
    }
}
