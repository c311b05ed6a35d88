//! Commands that somebody runs in a running pod (`kubectl exec`).

use picket_crds::{AGENT_CONTAINER, Provider, SETUP_CONTAINER, labels};
use serde_json::{Value, json};

use super::gate;
use super::wrapper::{self, strings};
use super::{Context, Plan, patch};
use crate::reason::Reason;
use crate::report::{ContainerReport, Decision, Report};
use crate::sessions::{Issue, RunningContainer, RunningPod};
use crate::status::ArgvSource;

/// Plans the options (PodExecOptions) of a command in a running pod. Twice is not once here: each
/// time a session gets a name and a token of its own, in the place of those before.
pub fn plan_exec(
    options: &Value,
    pod: Option<&RunningPod>,
    issue: Issue<'_>,
    context: &Context<'_>,
) -> Plan {
    match desired(options, pod, issue, context) {
        Ok((desired, report)) => Plan {
            operations: patch::difference(options, desired),
            report,
        },
        Err(report) => Plan {
            operations: Vec::new(),
            report: *report,
        },
    }
}

fn desired(
    options: &Value,
    pod: Option<&RunningPod>,
    issue: Issue<'_>,
    context: &Context<'_>,
) -> Result<(Value, Report), Box<Report>> {
    gate::enter(context)?;
    let Some(pod) = pod else {
        return gate::skip(Reason::PodUnknown);
    };
    let label = |key: &str| pod.labels.get(key).map(String::as_str);
    let fargate = label(labels::FARGATE_PROFILE).is_some();
    let (selection, mut report) =
        gate::selection(context, label, fargate, Report::of(Reason::ExecTraced))?;
    let spec = &selection.winner.spec;
    let skip = |report: Report, reason| Err(Box::new(Report { reason, ..report }));
    if !pod
        .containers
        .iter()
        .any(|container| container.holds_tracer)
    {
        return skip(report, Reason::PodNotInjected);
    }
    if !spec.coverage.exec {
        return skip(report, Reason::ExecExcluded);
    }
    let Some(container) = container(options, pod) else {
        return skip(report, Reason::NoContainerSelected);
    };
    if !container.holds_tracer || is_ours(&container.name) {
        return skip(report, Reason::ContainerNotTraced);
    }
    let Some(command) = words(&options["command"]) else {
        report.detail = Some("command: must be a list of strings that is not empty".to_owned());
        return skip(report, Reason::Malformed);
    };
    // Whoever puts our tracer there himself, or another webhook that made us be asked again, has
    // the command in it wrapped anew.
    let command = wrapper::without_session(command);
    let issued = (spec.provider == Provider::Picket)
        .then(|| issue(pod, &container.name))
        .flatten();
    let Some(issued) = issued else {
        return skip(report, Reason::ExecUnsupported);
    };
    let mut wrapped =
        wrapper::session_command(&container.name, &context.settings.interest_of(&[]), &issued);
    wrapped.extend(command.iter().cloned());
    let mut desired = options.clone();
    desired["command"] = json!(wrapped);
    report.containers.push(ContainerReport {
        name: container.name.clone(),
        init: false,
        decision: Decision::Traced {
            argv: command,
            source: ArgvSource::Spec,
        },
        detail: None,
        image: None,
    });
    Ok((desired, report))
}

/// The container that is meant: the pod's only one where none is named, as the API server has it.
fn container<'p>(options: &Value, pod: &'p RunningPod) -> Option<&'p RunningContainer> {
    match options["container"].as_str().unwrap_or_default() {
        "" => {
            let mut main = pod.containers.iter().filter(|container| container.main);
            main.next().filter(|_| main.next().is_none())
        }
        name => pod
            .containers
            .iter()
            .find(|container| container.name == name),
    }
}

/// The tracer is no use where the agent's own program runs.
fn is_ours(name: &str) -> bool {
    [AGENT_CONTAINER, SETUP_CONTAINER].contains(&name)
}

/// A list of strings, not empty.
fn words(value: &Value) -> Option<Vec<String>> {
    let list = value.as_array()?;
    let words = strings(value);
    (!words.is_empty() && words.len() == list.len()).then_some(words)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use picket_crds::Mode;

    use super::*;
    use crate::entrypoint::Images;
    use crate::inject::catch_all;
    use crate::namespace::Namespace;
    use crate::policy::Policy;
    use crate::sessions::Issued;
    use crate::settings::Settings;

    fn policy() -> Policy {
        let mut policy = catch_all("shop");
        policy.spec.coverage.exec = true;
        policy
    }

    fn container(name: &str, main: bool, holds_tracer: bool) -> RunningContainer {
        RunningContainer {
            name: name.into(),
            main,
            holds_tracer,
        }
    }

    fn pod() -> RunningPod {
        RunningPod {
            uid: "7".into(),
            containers: vec![
                container("picket-setup", false, true),
                container("picket-agent", false, true),
                container("web", true, true),
            ],
            session_keys: vec!["key".into()],
            ..RunningPod::default()
        }
    }

    fn planned(options: &Value, pod: Option<&RunningPod>, policy: Policy) -> Plan {
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
        let issue = |pod: &RunningPod, container: &str| {
            let trusted = pod.session_keys.iter().any(|key| key == "key");
            trusted.then(|| Issued {
                name: "exec-1".into(),
                token: format!("token-for-{}-{container}", pod.uid),
            })
        };
        plan_exec(options, pod, &issue, &context)
    }

    fn options(container: &str, command: &[&str]) -> Value {
        json!({
            "kind": "PodExecOptions", "apiVersion": "v1",
            "stdin": true, "stdout": true, "tty": true, "future": 1,
            "container": container, "command": command,
        })
    }

    const WRAPPER: [&str; 9] = [
        "/picket/picket-tracer",
        "exec-session",
        "--container",
        "web:exec-1",
        "--interest",
        "all",
        "--session",
        "token-for-7-web",
        "--",
    ];

    /// What the command becomes; the options must stay as they are otherwise.
    fn command(mut options: Value, plan: &Plan) -> Vec<String> {
        let before = options.clone();
        json_patch::patch(&mut options, &plan.operations).expect("applies");
        let command = strings(&options["command"]);
        options["command"] = before["command"].clone();
        assert_eq!(options, before);
        command
    }

    #[test]
    fn the_tracer_is_put_before_the_command() {
        for named in ["web", ""] {
            let options = options(named, &["sh", "-c", "id; echo --"]);
            let plan = planned(&options, Some(&pod()), policy());
            assert_eq!(plan.report.reason, Reason::ExecTraced);
            let expected = [&WRAPPER[..], &["sh", "-c", "id; echo --"]].concat();
            assert_eq!(command(options, &plan), expected);
        }
    }

    #[test]
    fn a_wrapper_that_is_there_is_put_there_anew() {
        let mut forged = WRAPPER.to_vec();
        forged[7] = "forged";
        let twice = [&forged[..], &forged, &["sh"]].concat();
        let options = options("web", &twice);
        let plan = planned(&options, Some(&pod()), policy());
        assert_eq!(command(options, &plan), [&WRAPPER[..], &["sh"]].concat());
    }

    #[test]
    fn reasons_by_table() {
        let sh = options("web", &["sh"]);
        let off = catch_all("shop");
        let mut disabled = policy();
        disabled.spec.mode = Mode::Disabled;
        let mut datadog = policy();
        datadog.spec.provider = Provider::Datadog;
        let mut elsewhere = policy();
        elsewhere.scope = crate::policy::Scope::Namespace("other".into());
        let mut bare = pod();
        bare.containers.retain(|container| container.main);
        bare.containers[0].holds_tracer = false;
        let mut old = pod();
        old.session_keys.clear();
        let mut two = pod();
        two.containers.push(container("proxy", true, false));
        for (options, pod, policy, expected) in [
            (&sh, None, policy(), Reason::PodUnknown),
            (&sh, Some(pod()), elsewhere, Reason::NotSelected),
            (&sh, Some(pod()), disabled, Reason::PolicyDisabled),
            (&sh, Some(bare), policy(), Reason::PodNotInjected),
            (&sh, Some(pod()), off, Reason::ExecExcluded),
            (&sh, Some(old), policy(), Reason::ExecUnsupported),
            (&sh, Some(pod()), datadog, Reason::ExecUnsupported),
            (
                &options("", &["sh"]),
                Some(two.clone()),
                policy(),
                Reason::NoContainerSelected,
            ),
            (
                &options("db", &["sh"]),
                Some(pod()),
                policy(),
                Reason::NoContainerSelected,
            ),
            (
                &options("proxy", &["sh"]),
                Some(two),
                policy(),
                Reason::ContainerNotTraced,
            ),
            (
                &options("picket-agent", &["sh"]),
                Some(pod()),
                policy(),
                Reason::ContainerNotTraced,
            ),
            (
                &options("web", &[]),
                Some(pod()),
                policy(),
                Reason::Malformed,
            ),
            (
                &json!({"command": ["sh", 7]}),
                Some(pod()),
                policy(),
                Reason::Malformed,
            ),
            (&json!(null), Some(pod()), policy(), Reason::Malformed),
        ] {
            let plan = planned(options, pod.as_ref(), policy);
            assert_eq!(plan.report.reason, expected, "{options}");
            assert_eq!(plan.operations, []);
        }
    }
}
