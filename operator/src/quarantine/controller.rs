//! Does what the plan says while this replica leads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::plan::{Step, order_of, plan};
use crate::pods::{PodFacts, Pods};
use crate::relay::orders::Board;

/// Who the events come from, and who owns what is written.
const CONTROLLER: &str = "picket.dev/quarantine";
/// Field manager of NetworkPolicies.
const FIELD_MANAGER: &str = "picket-quarantine";
/// Time in which changes are gathered.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Time before what failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The quarantine controller.
pub struct Quarantine {
    /// The API server.
    pub client: Client,
    /// Name of this replica.
    pub identity: String,
    /// All pods.
    pub pods: Pods,
    /// What agents are told.
    pub board: Board,
    /// Whether labels and NetworkPolicies may be changed; agents are told in any case.
    pub changes_pods: bool,
}

impl Quarantine {
    /// Runs for as long as the views live.
    pub async fn run(self, mut leading: watch::Receiver<bool>) {
        let mut changes = self.pods.changes();
        let mut until = 0;
        let mut ordered: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut led = false;
        loop {
            let leads = *leading.borrow_and_update();
            changes.mark_unchanged();
            let mut complete = true;
            if leads && self.pods.is_synced() {
                if !led {
                    // Whoever led before may have left something half done.
                    until = 0;
                    ordered.clear();
                }
                let changed = self.pods.changed_since(until);
                until = changed.until;
                for namespace in changed.namespaces {
                    for pod in self.pods.in_namespace(&namespace) {
                        self.order(&pod, &mut ordered);
                        if self.changes_pods {
                            complete &= self.act(&pod).await;
                        }
                    }
                }
                if !complete {
                    until = 0;
                }
            }
            led = leads;
            let watching = tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                changed = leading.changed() => changed.is_ok(),
                () = sleep(RETRY), if !complete => true,
            };
            if !watching {
                return;
            }
            sleep(DEBOUNCE).await;
        }
    }

    /// Tells the pod's agent. Orders of pods that are gone are forgotten by the relay.
    fn order(&self, pod: &PodFacts, ordered: &mut BTreeSet<Arc<str>>) {
        let order = order_of(pod);
        let is_news = match &order {
            Some(_) => ordered.insert(Arc::clone(&pod.uid)),
            None => ordered.remove(&pod.uid),
        };
        if is_news {
            self.board.quarantine(&pod.uid, order);
        }
    }

    /// True when nothing is left to do.
    async fn act(&self, pod: &PodFacts) -> bool {
        let done = match plan(pod) {
            Step::None => return true,
            Step::Enter {
                network_policy,
                patch,
            } => self.enter(pod, network_policy, &patch).await,
            Step::Leave {
                network_policy,
                patch,
            } => self.leave(pod, &network_policy, &patch).await,
        };
        match done {
            Ok(()) => true,
            // It is gone, or another one has its name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
            Err(error) => {
                let (namespace, name) = (&pod.namespace, &pod.name);
                warn!(%namespace, %name, %error, "cannot change a pod's quarantine, trying again");
                false
            }
        }
    }

    async fn enter(
        &self,
        pod: &PodFacts,
        policy: Option<Value>,
        patch: &Value,
    ) -> kube::Result<()> {
        let policies: Api<NetworkPolicy> = Api::namespaced(self.client.clone(), &pod.namespace);
        if let Some(policy) = &policy {
            let name = policy["metadata"]["name"].as_str().unwrap_or_default();
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            policies
                .patch(name, &parameters, &Patch::Apply(policy))
                .await?;
        }
        self.patch(pod, patch).await?;
        info!(namespace = %pod.namespace, pod = %pod.name, "quarantined");
        let by = match (pod.is_injected(), policy.is_some()) {
            (true, true) => {
                "its tracer refuses new connections, and a NetworkPolicy denies all traffic"
            }
            (true, false) => "its tracer refuses new connections",
            (false, true) => "a NetworkPolicy denies all traffic; there is no tracer in it",
            (false, false) => {
                "NOT cut off: there is no tracer in it, and NetworkPolicies do nothing on Fargate"
            }
        };
        let note = format!(
            "taken out of its Services and away from its controller; {by}. Connections that are open stay open; another event lists them"
        );
        let cut_off = pod.is_injected() || policy.is_some();
        self.tell(
            pod,
            if cut_off {
                "Quarantined"
            } else {
                "QuarantineNotEnforced"
            },
            note,
        )
        .await;
        Ok(())
    }

    async fn leave(&self, pod: &PodFacts, policy: &str, patch: &Value) -> kube::Result<()> {
        let policies: Api<NetworkPolicy> = Api::namespaced(self.client.clone(), &pod.namespace);
        if !pod.is_on_fargate() {
            match policies.delete(policy, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => drop(other?),
            }
        }
        self.patch(pod, patch).await?;
        info!(namespace = %pod.namespace, pod = %pod.name, "released from quarantine");
        let note =
            "it has its labels again; a ReplicaSet takes it back and may end one of its pods";
        self.tell(pod, "QuarantineEnded", note.to_owned()).await;
        Ok(())
    }

    async fn patch(&self, pod: &PodFacts, patch: &Value) -> kube::Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        pods.patch_metadata(&pod.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    async fn tell(&self, pod: &PodFacts, reason: &str, note: String) {
        let reporter = Reporter {
            controller: CONTROLLER.to_owned(),
            instance: Some(self.identity.clone()),
        };
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name.to_string()),
            namespace: Some(pod.namespace.to_string()),
            uid: Some(pod.uid.to_string()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Quarantine".to_owned(),
            secondary: None,
        };
        let recorder = Recorder::new(self.client.clone(), reporter);
        if let Err(error) = recorder.publish(&event, &object).await {
            warn!(%error, reason, "an event cannot be written");
        }
    }
}
