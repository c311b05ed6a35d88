//! Ephemeral containers (`kubectl debug`), which are added to running pods.

use std::collections::BTreeSet;

use picket_crds::{SETUP_CONTAINER, VOLUME, labels};
use serde_json::Value;

use super::argv::{self, Baked, ImageSource};
use super::container::{self, traced};
use super::gate;
use super::kit::Kit;
use super::shape;
use super::strip::entries;
use super::wrapper;
use super::{Context, Plan, patch};
use crate::entrypoint::Platform;
use crate::reason::Reason;
use crate::report::{Decision, Report};

/// The list that holds them.
const LIST: &str = "ephemeralContainers";

/// Plans the ephemeral containers that a request adds to a pod; those that are there already
/// cannot be changed. Only pods that carry our volume can hold a tracer.
pub fn plan_ephemeral(pod: &Value, before: &Value, context: &Context<'_>) -> Plan {
    match desired(pod, before, context) {
        Ok((desired, report)) => Plan {
            operations: patch::difference(pod, desired),
            report,
        },
        Err(report) => Plan {
            operations: Vec::new(),
            report: *report,
        },
    }
}

fn desired(
    pod: &Value,
    before: &Value,
    context: &Context<'_>,
) -> Result<(Value, Report), Box<Report>> {
    gate::enter(context)?;
    if let Err(fault) = shape::check(pod).and_then(|()| shape::check_ephemeral(pod)) {
        return Err(Box::new(Report {
            detail: Some(fault.to_string()),
            ..Report::of(Reason::Malformed)
        }));
    }
    let label = |key: &str| pod["metadata"]["labels"][key].as_str();
    let fargate = label(labels::FARGATE_PROFILE).is_some();
    let (selection, mut report) =
        gate::selection(context, label, fargate, Report::of(Reason::Injected))?;
    let spec = &selection.winner.spec;
    let skip = |report: Report, reason| Err(Box::new(Report { reason, ..report }));
    if !holds_the_tracer(pod) {
        return skip(report, Reason::PodNotInjected);
    }
    if !spec.coverage.ephemeral_containers {
        return skip(report, Reason::EphemeralContainersExcluded);
    }
    let there: BTreeSet<&str> = entries(&before["spec"], LIST)
        .filter_map(|container| container["name"].as_str())
        .collect();
    let source = ImageSource {
        images: context.images,
        platform: Platform::of_pod(pod),
        baked: &Baked::new(),
        entrypoint: &spec.entrypoint,
    };
    let kit = Kit::of(spec, &selection.rule_sets, context.settings);
    let mut desired = pod.clone();
    for container in desired["spec"][LIST].as_array_mut().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        if there.contains(name.as_str()) {
            continue;
        }
        // It comes by again after another webhook: what we put there is put there anew.
        let wrapped = unwrap(container);
        let chosen = match traced(container, false, &spec.containers) {
            Err(Reason::MountConflict) if wrapped => Ok(()),
            checked => checked,
        };
        let resolved = chosen
            .map_err(argv::Unknown::because)
            .and_then(|()| argv::resolve(container, &source));
        let entry = container::report(container, false, resolved, spec, &mut report.wanted);
        if let Decision::Traced { argv, .. } = &entry.decision {
            container::trace(container, kit.traced_command(&name), argv);
            if !wrapped {
                container::mount(container);
            }
        }
        report.containers.push(entry);
    }
    let mut report = container::sum_up(report)?;
    if report.reason == Reason::Injected && desired == *pod {
        report.reason = Reason::Current;
    }
    Ok((desired, report))
}

fn holds_the_tracer(pod: &Value) -> bool {
    let volume = entries(&pod["spec"], "volumes")
        .any(|volume| volume["name"] == VOLUME && volume["emptyDir"].is_object());
    let setup = entries(&pod["spec"], "initContainers")
        .any(|container| container["name"] == SETUP_CONTAINER);
    volume && setup
}

/// Takes our tracer out; true when it was there. The mount stays.
fn unwrap(container: &mut Value) -> bool {
    let Some(own) = wrapper::unwrap(container, None) else {
        return false;
    };
    for (field, words) in [("command", own.command), ("args", own.args)] {
        container[field] = words.map_or(Value::Null, Value::from);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::entrypoint::Images;
    use crate::inject::catch_all;
    use crate::namespace::Namespace;
    use crate::policy::Policy;
    use crate::settings::Settings;

    fn policy(covered: bool) -> Policy {
        let mut policy = catch_all("shop");
        policy.spec.coverage.ephemeral_containers = covered;
        policy
    }

    fn planned(pod: &Value, before: &Value, policy: Policy) -> Plan {
        let settings = Settings::new("picket:1", "1");
        let policies = [Arc::new(policy)];
        let context = Context {
            namespace: "shop",
            facts: Namespace::UNKNOWN,
            policies: &policies,
            settings: &settings,
            workload: None,
            fargate: None,
            suspension: None,
            images: Images::NONE,
        };
        plan_ephemeral(pod, before, &context)
    }

    /// A pod as it was injected, and the same with these ephemeral containers.
    fn pods(ephemeral: Value) -> (Value, Value) {
        let before = json!({
            "metadata": {"name": "web"},
            "spec": {
                "initContainers": [{"name": "picket-setup"}],
                "containers": [{"name": "web", "command": ["/web"]}],
                "ephemeralContainers": [{"name": "first", "command": ["sh"]}],
                "volumes": [{"name": "picket", "emptyDir": {}}],
            },
        });
        let mut pod = before.clone();
        let list = pod["spec"][LIST].as_array_mut().expect("list");
        list.extend(ephemeral.as_array().expect("list").clone());
        (before, pod)
    }

    #[test]
    fn only_new_ones_are_wrapped_and_twice_equals_once() {
        let (before, mut pod) =
            pods(json!([{"name": "debugger", "command": ["sh", "-c"], "args": ["id"]}]));
        let plan = planned(&pod, &before, policy(true));
        assert_eq!(plan.report.reason, Reason::Injected);
        json_patch::patch(&mut pod, &plan.operations).expect("applies");
        let list = &pod["spec"][LIST];
        assert_eq!(list[0], before["spec"][LIST][0], "cannot be changed");
        assert_eq!(list[1]["command"][0], "/picket/picket-tracer");
        assert_eq!(list[1]["args"], json!(["sh", "-c", "id"]));
        assert_eq!(list[1]["volumeMounts"][0]["mountPath"], "/picket");
        let again = planned(&pod, &before, policy(true));
        assert_eq!(again.operations, []);
        assert_eq!(again.report.reason, Reason::Current);
    }

    #[test]
    fn reasons_by_table() {
        let command = json!([{"name": "debugger", "command": ["sh"]}]);
        let image = json!([{"name": "debugger", "image": "busybox"}]);
        let (before, pod) = pods(command);
        let reason = |pod: &Value, policy| planned(pod, &before, policy).report.reason;
        assert_eq!(
            reason(&pod, policy(false)),
            Reason::EphemeralContainersExcluded
        );
        let mut bare = pod.clone();
        bare["spec"]["volumes"] = json!([]);
        assert_eq!(reason(&bare, policy(true)), Reason::PodNotInjected);
        let mut broken = pod.clone();
        broken["spec"][LIST][1]["command"] = json!("sh");
        assert_eq!(reason(&broken, policy(true)), Reason::Malformed);
        let (_, unknown) = pods(image);
        assert_eq!(reason(&unknown, policy(true)), Reason::EntrypointUnresolved);
        assert_eq!(reason(&before, policy(true)), Reason::NoContainerSelected);
    }
}
