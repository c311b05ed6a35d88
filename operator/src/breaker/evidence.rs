//! What has to be asked of the API server to judge a pod: why Fargate's scheduler does not take
//! it, and whether its application ran before without, or with another injection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use picket_webhook::plan::uninjected;
use serde_json::Value;
use tracing::debug;

use super::Breaker;
use super::ailment::{Ailment, ailment, refused_by_fargate, waits_for_fargate};
use super::memory::Memory;
use crate::pods::{PodFacts, fargate};
use crate::suspensions::Workload;

/// What lies at most between a pod's start and the first word on whether it is ready.
const TAKEN_ON: SignedDuration = SignedDuration::from_secs(2);
/// How often the events of one pod are read. On Fargate a pod may wait for minutes.
const EVERY: Duration = Duration::from_secs(20);
/// How many pods have their events read in one look.
const AT_ONCE: usize = 20;

impl Breaker {
    /// All ailing pods, with what is wrong and for how long it has been so.
    pub(super) async fn ailing(
        &self,
        memory: &mut Memory,
    ) -> Vec<(Arc<PodFacts>, Ailment, Duration)> {
        let now = Instant::now();
        let mut found = Vec::new();
        let mut asked = 0;
        let settled = self.patience.pod / 6;
        for (uid, since) in memory.ailing(now) {
            let Some(pod) = self.pods.by_uid(&uid) else {
                continue;
            };
            if let Some(ailment) = ailment(&pod) {
                found.push((pod, ailment, since));
            } else if waits_for_fargate(&pod)
                && since >= settled
                && asked < AT_ONCE
                && memory.may_ask(&uid, EVERY.min(settled), now)
            {
                asked += 1;
                if let Some(words) = self.refusal(&pod).await {
                    found.push((pod, refused_by_fargate(&words), since));
                }
            }
        }
        found
    }

    /// What fargate-scheduler says of a pod that it will never run.
    async fn refusal(&self, pod: &PodFacts) -> Option<String> {
        fargate::refusal_in_events(&self.client, pod)
            .await
            .inspect_err(|error| debug!(%error, "events cannot be read"))
            .ok()
            .flatten()
    }

    /// Whether a pod has never been ready, as far as its status tells.
    pub(super) async fn was_never_ready(&self, pod: &PodFacts) -> bool {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        match pods.get_opt(&pod.name).await {
            Ok(Some(found)) if found.metadata.uid.as_deref() == Some(&*pod.uid) => {
                was_never_ready(&serde_json::to_value(found).unwrap_or_default())
            }
            _ => false,
        }
    }

    /// Whether the same application is ready in another pod of the workload that was injected
    /// otherwise, or not at all.
    pub(super) async fn ran_before(
        &self,
        pod: &Arc<PodFacts>,
        workload: &Workload,
        memory: &mut Memory,
    ) -> bool {
        if let Some(known) = memory.known_to_have_run(&pod.uid) {
            return known;
        }
        let fingerprint = |pod: &PodFacts| pod.status.as_ref().map(|s| s.fingerprint.clone());
        let own = fingerprint(pod);
        let siblings = self.pods.in_namespace(&pod.namespace);
        let otherwise = siblings
            .into_iter()
            .filter(|sibling| sibling.ready && fingerprint(sibling) != own);
        for sibling in otherwise {
            let Some(owner) = &sibling.owner else {
                continue;
            };
            let found = self.suspensions.workload(&sibling.namespace, owner);
            let of_same = found.await.as_ref() == Some(workload);
            if !of_same {
                continue;
            }
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
            let (one, other) = tokio::join!(pods.get(&pod.name), pods.get(&sibling.name));
            let (Ok(one), Ok(other)) = (one, other) else {
                return false;
            };
            let raw = |pod: &Pod| serde_json::to_value(pod).unwrap_or_default();
            if runs_the_same(&raw(&one), &raw(&other)) {
                memory.remember_to_have_run(&pod.uid, true);
                return true;
            }
        }
        false
    }
}

/// Whether a pod has never been ready: its condition still is as kubelet wrote it when it took the
/// pod on.
fn was_never_ready(pod: &Value) -> bool {
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let Some(ready) = conditions.find(|condition| condition["type"] == "Ready") else {
        return true;
    };
    let started = time(&pod["status"]["startTime"]);
    let since = time(&ready["lastTransitionTime"]);
    match (ready["status"].as_str(), started, since) {
        (Some("False"), Some(started), Some(since)) => since.duration_since(started) <= TAKEN_ON,
        _ => false,
    }
}

/// Whether two pods run the same programs, apart from what was injected.
fn runs_the_same(one: &Value, other: &Value) -> bool {
    let programs = |pod: &Value| {
        let pod = uninjected(pod).unwrap_or_else(|| pod.clone());
        ["initContainers", "containers"].map(|list| {
            let containers = pod["spec"][list].as_array();
            let containers = containers.into_iter().flatten();
            let fields = ["name", "image", "command", "args", "env", "envFrom"];
            containers
                .map(|container| fields.map(|field| container[field].clone()))
                .collect::<Vec<_>>()
        })
    };
    programs(one) == programs(other)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use picket_webhook::entrypoint::Images;
    use picket_webhook::plan::desired;
    use picket_webhook::{Context, Namespace, Policy, Scope, Settings};
    use serde_json::json;

    use super::*;

    #[test]
    fn whether_a_pod_was_ready_by_its_condition() {
        let pod = |status: &str, since: &str| {
            json!({"status": {
                "startTime": "2026-01-01T00:00:00Z",
                "conditions": [
                    {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"},
                    {"type": "Ready", "status": status, "lastTransitionTime": since},
                ],
            }})
        };
        for (pod, never) in [
            (pod("False", "2026-01-01T00:00:01Z"), true),
            (pod("False", "2026-01-01T00:00:30Z"), false),
            (pod("True", "2026-01-01T00:00:01Z"), false),
            (json!({"status": {"phase": "Pending"}}), true),
            (
                json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
                false,
            ),
        ] {
            assert_eq!(was_never_ready(&pod), never, "{pod}");
        }
    }

    #[test]
    fn a_pod_runs_the_same_before_and_after_injection() {
        let pod = |image: &str| {
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"containers": [{
                    "name": "web", "image": image, "command": ["/bin/web"], "args": ["--port", "80"],
                }]},
            })
        };
        let policies = [Arc::new(Policy {
            scope: Scope::Namespace("shop".into()),
            name: "all".into(),
            created: None,
            spec: serde_json::from_value(json!({"computeType": "Any"})).expect("spec"),
        })];
        let settings = Settings::new("sidecar:1", "1");
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
        let (injected, _) = desired(&pod("web:1"), &context);
        let injected = injected.expect("injected");
        assert!(runs_the_same(&injected, &pod("web:1")));
        assert!(runs_the_same(&injected, &injected));
        assert!(!runs_the_same(&injected, &pod("web:2")));
    }
}
