//! What keeps an injected pod from working, as far as its status tells. Pure.

use picket_crds::{AGENT_CONTAINER, SETUP_CONTAINER};

use crate::pods::{ContainerFacts, ContainerState, Ending, Phase, PodFacts, fargate};
use crate::suspensions::Cause;

/// Kubelet's words for an image that it cannot get. `ErrImagePull` and `ImagePullBackOff` take
/// turns.
const PULL: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
];
/// Kubelet's words for a container that it cannot start, or that ends again and again.
const FAILS: [&str; 5] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "StartError",
    "CrashLoopBackOff",
];

/// What is wrong with an injected pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ailment {
    /// What it looks like.
    pub(super) cause: Cause,
    /// The container and kubelet's words about it.
    pub(super) words: String,
    /// True when none of the user's containers can have run yet: nothing is lost when the pod is
    /// replaced.
    pub(super) never_started: bool,
}

/// What is wrong with a pod that has a controller and was injected; `None` when nothing is, or
/// nothing that may be Picket's fault.
pub(super) fn ailment(pod: &PodFacts) -> Option<Ailment> {
    pod.status.as_ref()?;
    pod.owner.as_ref()?;
    if pod.deleting || pod.ready || pod.phase == Phase::Succeeded {
        return None;
    }
    of_setup(pod)
        .or_else(|| of_agent(pod))
        .or_else(|| of_application(pod))
        .or_else(|| of_scheduler(pod))
}

/// The first init container: nothing of the user's runs before it has ended well.
fn of_setup(pod: &PodFacts) -> Option<Ailment> {
    let setup = pod.container(SETUP_CONTAINER)?;
    let (cause, ending) = match &setup.state {
        ContainerState::Waiting(ending) if PULL.contains(&&*ending.reason) => {
            (Cause::SidecarImagePull, ending)
        }
        ContainerState::Waiting(ending) if FAILS.contains(&&*ending.reason) => {
            (Cause::SetupFailed, ending)
        }
        ContainerState::Terminated(ending) if ending.exit_code != 0 => (Cause::SetupFailed, ending),
        _ => return None,
    };
    Some(Ailment {
        cause,
        words: words(setup, ending),
        never_started: true,
    })
}

/// As an init container it comes second, and what cannot be started holds everything back; one
/// that is started and ends keeps the pod from being ready.
fn of_agent(pod: &PodFacts) -> Option<Ailment> {
    let agent = pod.container(AGENT_CONTAINER)?;
    let (cause, ending) = match &agent.state {
        ContainerState::Waiting(ending) if PULL.contains(&&*ending.reason) => {
            (Cause::SidecarImagePull, ending)
        }
        ContainerState::Waiting(ending) if FAILS.contains(&&*ending.reason) => {
            (Cause::AgentFailed, ending)
        }
        _ => return None,
    };
    let mut others = pod.containers.iter().filter(|other| !other.is_ours());
    let never_started = others.all(|other| {
        other.ended_before.is_none()
            && match &other.state {
                ContainerState::Unknown => true,
                ContainerState::Waiting(ending) => {
                    ["PodInitializing", "ContainerCreating"].contains(&&*ending.reason)
                }
                ContainerState::Running | ContainerState::Terminated(_) => false,
            }
    });
    Some(Ailment {
        cause,
        words: words(agent, ending),
        never_started,
    })
}

/// A traced container that ends again and again. That is the application's own fault unless the
/// same ran otherwise before, which is for the caller to find out.
fn of_application(pod: &PodFacts) -> Option<Ailment> {
    pod.containers.iter().find_map(|container| {
        let ending = match &container.state {
            ContainerState::Waiting(ending) if &*ending.reason == "CrashLoopBackOff" => ending,
            _ => return None,
        };
        (container.traced && !container.is_ours()).then(|| Ailment {
            cause: Cause::ApplicationCrashLoop,
            words: words(container, container.ended_before.as_ref().unwrap_or(ending)),
            never_started: false,
        })
    })
}

/// A pod that fargate-scheduler refuses says so itself; an event may be the only place where it
/// does ([`waits_for_fargate`]).
fn of_scheduler(pod: &PodFacts) -> Option<Ailment> {
    fargate::refusal_in_status(pod).map(refused_by_fargate)
}

/// A pod that no node has taken.
pub(super) fn waits_for_fargate(pod: &PodFacts) -> bool {
    pod.status.is_some()
        && pod.owner.is_some()
        && pod.is_on_fargate()
        && pod.node.is_none()
        && !pod.deleting
        && pod.phase == Phase::Pending
}

/// The ailment of a pod that fargate-scheduler refuses with these words.
pub(super) fn refused_by_fargate(words: &str) -> Ailment {
    Ailment {
        cause: Cause::NotSupportedOnFargate,
        words: words.to_owned(),
        never_started: true,
    }
}

fn words(container: &ContainerFacts, ending: &Ending) -> String {
    let mut words = format!("{}: {}", container.name, ending.reason);
    if ending.exit_code != 0 {
        words.push_str(&format!(", exit code {}", ending.exit_code));
    }
    if let Some(message) = &ending.message {
        words.push_str(&format!(": {message}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::WatchedPod;

    fn waiting(reason: &str) -> Value {
        json!({"waiting": {"reason": reason}})
    }

    fn ended(code: i32) -> Value {
        json!({"terminated": {"exitCode": code, "reason": if code == 0 {"Completed"} else {"Error"}}})
    }

    fn pod(setup: &Value, agent: &Value, web: &Value, change: impl FnOnce(&mut Value)) -> PodFacts {
        let status = json!({
            "revision": "1", "fingerprint": "f", "policy": "shop/all", "mode": "Monitor",
            "agent": "NativeSidecar", "containers": [],
            "qos": {"before": "BestEffort", "after": "Burstable"},
        });
        let mut pod = json!({
            "metadata": {
                "name": "web-1", "namespace": "shop", "uid": "1",
                "annotations": {"picket.dev/status": status.to_string()},
                "labels": {"eks.amazonaws.com/fargate-profile": "default"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "7", "controller": true}],
            },
            "spec": {
                "initContainers": [
                    {"name": "picket-setup"},
                    {"name": "picket-agent", "restartPolicy": "Always"},
                ],
                "containers": [{
                    "name": "web",
                    "command": ["/picket/picket-tracer", "trace", "--"],
                    "volumeMounts": [{"name": "picket", "mountPath": "/picket"}],
                }],
            },
            "status": {
                "phase": "Pending",
                "initContainerStatuses": [
                    {"name": "picket-setup", "state": setup, "ready": false, "restartCount": 0, "image": "", "imageID": ""},
                    {"name": "picket-agent", "state": agent, "ready": false, "restartCount": 0, "image": "", "imageID": ""},
                ],
                "containerStatuses": [
                    {"name": "web", "state": web, "ready": false, "restartCount": 0, "image": "", "imageID": ""},
                ],
            },
        });
        change(&mut pod);
        PodFacts::of(&serde_json::from_value::<WatchedPod>(pod).expect("pod"))
    }

    #[test]
    fn what_is_wrong_by_table() {
        let (held, runs) = (waiting("PodInitializing"), json!({"running": {}}));
        let cases = [
            (
                waiting("ImagePullBackOff"),
                held.clone(),
                held.clone(),
                Some((Cause::SidecarImagePull, true)),
            ),
            (
                waiting("ErrImagePull"),
                held.clone(),
                held.clone(),
                Some((Cause::SidecarImagePull, true)),
            ),
            (
                waiting("CreateContainerConfigError"),
                held.clone(),
                held.clone(),
                Some((Cause::SetupFailed, true)),
            ),
            (
                ended(1),
                held.clone(),
                held.clone(),
                Some((Cause::SetupFailed, true)),
            ),
            (
                ended(0),
                waiting("CrashLoopBackOff"),
                runs.clone(),
                Some((Cause::AgentFailed, false)),
            ),
            (
                ended(0),
                waiting("CrashLoopBackOff"),
                held.clone(),
                Some((Cause::AgentFailed, true)),
            ),
            (
                ended(0),
                waiting("CreateContainerError"),
                held.clone(),
                Some((Cause::AgentFailed, true)),
            ),
            (
                ended(0),
                runs.clone(),
                waiting("CrashLoopBackOff"),
                Some((Cause::ApplicationCrashLoop, false)),
            ),
            // Not ours.
            (
                waiting("ContainerCreating"),
                held.clone(),
                held.clone(),
                None,
            ),
            (ended(0), runs.clone(), waiting("ImagePullBackOff"), None),
            (
                ended(0),
                runs.clone(),
                waiting("CreateContainerConfigError"),
                None,
            ),
            (ended(0), runs.clone(), runs.clone(), None),
        ];
        for (setup, agent, web, expected) in cases {
            let found = ailment(&pod(&setup, &agent, &web, |_| ()));
            let found = found.map(|found| (found.cause, found.never_started));
            assert_eq!(found, expected, "{setup} {agent} {web}");
        }
    }

    #[test]
    fn pods_that_are_none_of_our_business() {
        let broken = waiting("ImagePullBackOff");
        let held = waiting("PodInitializing");
        let of = |change: fn(&mut Value)| ailment(&pod(&broken, &held, &held, change));
        assert!(of(|_| ()).is_some());
        assert_eq!(of(|pod| pod["metadata"]["annotations"] = json!({})), None);
        assert_eq!(
            of(|pod| pod["metadata"]["ownerReferences"] = json!([])),
            None
        );
        assert_eq!(
            of(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")),
            None
        );
    }

    #[test]
    fn a_refusal_of_fargate_is_read_from_the_condition() {
        let none = json!({});
        let unscheduled = |words: &str| {
            let condition = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}]);
            pod(&none, &none, &none, |pod| {
                pod["status"] = json!({"phase": "Pending", "conditions": condition})
            })
        };
        let refused = unscheduled("Pod not supported on Fargate: fields not supported: X");
        assert!(waits_for_fargate(&refused));
        let found = ailment(&refused).expect("ailing");
        assert_eq!(
            (found.cause, found.never_started),
            (Cause::NotSupportedOnFargate, true)
        );
        assert!(
            found.words.ends_with("fields not supported: X"),
            "{}",
            found.words
        );
        assert_eq!(ailment(&unscheduled("0/3 nodes are available")), None);
    }
}
