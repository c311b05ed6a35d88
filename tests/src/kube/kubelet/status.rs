//! What kubelet would report of a pod, as a pure function.

use serde_json::{Value, json};

/// Containers that fail, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub patient: Patient,
    /// How.
    pub ailment: Ailment,
}

/// Which containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patient {
    /// Those with this image.
    Image(String),
    /// Those with this name.
    Container(String),
    /// Those that run under the tracer.
    Traced,
}

/// How a container fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// Its image cannot be pulled: `ImagePullBackOff`.
    ImagePull,
    /// It ends with this code again and again: `CrashLoopBackOff`.
    Crash(i32),
    /// Its pod is refused by fargate-scheduler with these words, and stays pending.
    NotSupportedOnFargate(String),
}

impl Fault {
    /// Containers with this image wait for it in vain.
    #[must_use]
    pub fn image_pull(image: &str) -> Self {
        Self {
            patient: Patient::Image(image.to_owned()),
            ailment: Ailment::ImagePull,
        }
    }

    fn hits(&self, container: &Value) -> bool {
        match &self.patient {
            Patient::Image(image) => container["image"] == image.as_str(),
            Patient::Container(name) => container["name"] == name.as_str(),
            Patient::Traced => container["command"][0] == "/picket/picket-tracer",
        }
    }
}

/// fargate-scheduler's words about a pod, if it refuses it.
pub(super) fn refused<'f>(pod: &Value, faults: &'f [Fault]) -> Option<&'f str> {
    let mut containers = list(pod, "initContainers").chain(list(pod, "containers"));
    containers.find_map(|container| {
        faults.iter().find_map(|fault| match &fault.ailment {
            Ailment::NotSupportedOnFargate(words) if fault.hits(container) => Some(words.as_str()),
            _ => None,
        })
    })
}

/// The status of a pod: init containers one after the other, then all others at once. What
/// changes, changes `now`; the pod's first status is as old as the pod.
pub(super) fn of(pod: &Value, faults: &[Fault], now: &str) -> Value {
    let ailment = |container: &Value| {
        let fault = faults.iter().find(|fault| fault.hits(container));
        fault.map(|fault| &fault.ailment)
    };
    let mut held_back = false;
    let mut init = Vec::new();
    for container in list(pod, "initContainers") {
        let sidecar = container["restartPolicy"] == "Always";
        let ailment = ailment(container);
        init.push(match ailment {
            _ if held_back => waiting(container, "PodInitializing"),
            Some(ailment) => ailing(container, ailment),
            None if sidecar => running(container),
            None => ended(container, 0),
        });
        // A sidecar whose process has been started once holds nothing back, also if it ends.
        let started = sidecar && matches!(ailment, Some(Ailment::Crash(_)));
        held_back |= ailment.is_some() && !started;
    }
    let containers: Vec<Value> = list(pod, "containers")
        .map(|container| match ailment(container) {
            _ if held_back => waiting(container, "PodInitializing"),
            Some(ailment) => ailing(container, ailment),
            None => running(container),
        })
        .collect();
    let all = |statuses: &[Value]| statuses.iter().all(|status| status["ready"] == true);
    let ready = !held_back && all(&init) && all(&containers);
    let condition = |kind: &str, met: bool| {
        let status = if met { "True" } else { "False" };
        let conditions = pod["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        let since = match conditions.find(|before| before["type"] == kind) {
            Some(before) if before["status"] == status => before["lastTransitionTime"].clone(),
            Some(_) => json!(now),
            None => Value::Null,
        };
        let created = || pod["metadata"]["creationTimestamp"].clone();
        let since = if since.is_null() { created() } else { since };
        json!({"type": kind, "status": status, "lastTransitionTime": since})
    };
    json!({
        "startTime": pod["metadata"]["creationTimestamp"],
        "phase": if held_back { "Pending" } else { "Running" },
        "podIP": if held_back { Value::Null } else { json!("10.0.0.1") },
        "conditions": [
            condition("PodScheduled", true),
            condition("Initialized", !held_back),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ],
        "initContainerStatuses": init,
        "containerStatuses": containers,
    })
}

/// Whether a pod's status already says what is wanted.
pub(super) fn is_reported(status: &Value, wanted: &Value) -> bool {
    match (status, wanted) {
        (Value::Object(status), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            let present = status.get(key).unwrap_or(&Value::Null);
            // What the API server leaves out is empty.
            is_reported(present, value) || (present.is_null() && *value == json!([]))
        }),
        (Value::Array(status), Value::Array(wanted)) => {
            let pairs = status.iter().zip(wanted);
            status.len() == wanted.len() && pairs.into_iter().all(|(a, b)| is_reported(a, b))
        }
        _ => status == wanted,
    }
}

fn list<'p>(pod: &'p Value, name: &str) -> impl Iterator<Item = &'p Value> {
    pod["spec"][name].as_array().into_iter().flatten()
}

fn status(container: &Value, ready: bool, state: Value) -> Value {
    json!({
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        "state": state,
    })
}

fn running(container: &Value) -> Value {
    let mut status = status(container, true, json!({"running": {}}));
    status["started"] = json!(true);
    status
}

fn waiting(container: &Value, reason: &str) -> Value {
    status(container, false, json!({"waiting": {"reason": reason}}))
}

fn ended(container: &Value, code: i32) -> Value {
    status(container, true, terminated(code))
}

fn terminated(code: i32) -> Value {
    let reason = if code == 0 { "Completed" } else { "Error" };
    json!({"terminated": {"exitCode": code, "reason": reason}})
}

fn ailing(container: &Value, ailment: &Ailment) -> Value {
    match ailment {
        Ailment::ImagePull => waiting(container, "ImagePullBackOff"),
        Ailment::Crash(code) => {
            let mut status = waiting(container, "CrashLoopBackOff");
            status["restartCount"] = json!(3);
            status["lastState"] = terminated(*code);
            status
        }
        // Told by an event, not by a status.
        Ailment::NotSupportedOnFargate(_) => waiting(container, "ContainerCreating"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:01:00Z";

    fn pod() -> Value {
        json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {
            "initContainers": [
                {"name": "picket-setup", "image": "sidecar"},
                {"name": "picket-agent", "image": "sidecar", "restartPolicy": "Always"},
            ],
            "containers": [{"name": "web", "image": "web", "command": ["/picket/picket-tracer"]}],
        }})
    }

    fn reasons(status: &Value) -> Vec<String> {
        let lists = ["initContainerStatuses", "containerStatuses"];
        let all = lists
            .iter()
            .flat_map(|list| status[*list].as_array().expect("list"));
        all.map(|container| {
            let state = container["state"].as_object().expect("state");
            let (kind, detail) = state.iter().next().expect("one");
            detail["reason"].as_str().unwrap_or(kind).to_owned()
        })
        .collect()
    }

    #[test]
    fn states_by_table() {
        let fault = |patient, ailment| Fault { patient, ailment };
        for (faults, expected, phase) in [
            (vec![], ["Completed", "running", "running"], "Running"),
            (
                vec![Fault::image_pull("sidecar")],
                ["ImagePullBackOff", "PodInitializing", "PodInitializing"],
                "Pending",
            ),
            (
                vec![fault(
                    Patient::Container("picket-agent".into()),
                    Ailment::Crash(1),
                )],
                ["Completed", "CrashLoopBackOff", "running"],
                "Running",
            ),
            (
                vec![fault(Patient::Traced, Ailment::Crash(139))],
                ["Completed", "running", "CrashLoopBackOff"],
                "Running",
            ),
        ] {
            let status = of(&pod(), &faults, NOW);
            assert_eq!(reasons(&status), expected, "{faults:?}");
            assert_eq!(status["phase"], phase, "{faults:?}");
            let ready = &status["conditions"][3];
            let healthy = if faults.is_empty() { "True" } else { "False" };
            assert_eq!(ready["status"], healthy, "{faults:?}");
        }
    }

    #[test]
    fn a_condition_is_as_old_as_the_pod_until_it_changes() {
        let mut pod = pod();
        let since = |status: &Value| status["conditions"][3]["lastTransitionTime"].clone();
        let crash = Fault {
            patient: Patient::Traced,
            ailment: Ailment::Crash(1),
        };
        pod["status"] = of(&pod, &[crash], NOW);
        assert_eq!(since(&pod["status"]), "2026-01-01T00:00:00Z");
        pod["status"] = of(&pod, &[], NOW);
        assert_eq!(since(&pod["status"]), NOW);
        pod["status"] = of(&pod, &[], "2026-01-01T00:02:00Z");
        assert_eq!(since(&pod["status"]), NOW);
    }

    #[test]
    fn what_is_reported_is_not_reported_again() {
        let wanted = of(&pod(), &[], NOW);
        let mut stored = wanted.clone();
        stored["qosClass"] = json!("Burstable");
        assert!(is_reported(&stored, &wanted));
        assert!(!is_reported(
            &stored,
            &of(&pod(), &[Fault::image_pull("web")], NOW)
        ));
        assert!(!is_reported(&Value::Null, &wanted));
    }
}
