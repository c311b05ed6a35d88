//! Writes what changed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{ApiResource, DynamicObject};
use picket_crds::{ClusterProtectionPolicy, ProtectionPolicy, ProtectionPolicyStatus};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Assessment, Kind, Target, assess};
use crate::policies::{Namespaces, Policies, View};

/// The field manager that owns the status of policies.
pub const FIELD_MANAGER: &str = "picket-operator";

/// Time in which changes are gathered before they are written.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Time before another try after an error.
const RETRY: Duration = Duration::from_secs(5);

/// Writes the status of policies while this replica leads.
pub struct StatusWriter {
    client: Client,
    excluded: Vec<String>,
}

impl StatusWriter {
    /// A writer; nothing is ever injected in the `excluded` namespaces.
    #[must_use]
    pub fn new(client: Client, excluded: Vec<String>) -> Self {
        Self { client, excluded }
    }

    /// Writes whatever changes, for as long as the views live.
    pub async fn run(
        self,
        mut policies: View<Policies>,
        mut namespaces: View<Namespaces>,
        mut leading: watch::Receiver<bool>,
    ) {
        loop {
            let seen = policies.borrow_and_update().clone();
            let labels = namespaces.borrow_and_update().clone();
            let leads = *leading.borrow_and_update();
            let mut complete = true;
            if let (true, Some(seen), Some(labels)) = (leads, seen, labels) {
                complete = self.write_all(&seen, &labels).await;
            }
            let watching = tokio::select! {
                changed = policies.changed() => changed.is_ok(),
                changed = namespaces.changed() => changed.is_ok(),
                changed = leading.changed() => changed.is_ok(),
                () = sleep(RETRY), if !complete => true,
            };
            if !watching {
                return;
            }
            sleep(DEBOUNCE).await;
        }
    }

    /// Writes every status that is not as it should be; false if one could not
    /// be written.
    async fn write_all(&self, policies: &Arc<Policies>, namespaces: &Arc<Namespaces>) -> bool {
        let excluded: Vec<&str> = self.excluded.iter().map(String::as_str).collect();
        let mut complete = true;
        for assessment in assess(policies, namespaces, &excluded) {
            let (namespace, name) = (&assessment.namespace, &assessment.name);
            match self.write(&assessment).await {
                Ok(false) => {}
                Ok(true) => {
                    info!(
                        namespace,
                        name,
                        reason = assessment.reason,
                        "policy status written"
                    );
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    warn!(namespace, name, %error, "cannot write a policy's status, trying again");
                    complete = false;
                }
            }
        }
        complete
    }

    async fn write(&self, assessment: &Assessment) -> Result<bool, kube::Error> {
        let (resource, namespace) = match assessment.kind {
            Kind::Namespaced => {
                let resource = ApiResource::erase::<ProtectionPolicy>(&());
                (resource, Some(assessment.namespace.as_str()))
            }
            Kind::Cluster => (ApiResource::erase::<ClusterProtectionPolicy>(&()), None),
        };
        let policy = Target {
            resource: &resource,
            namespace,
            name: &assessment.name,
            uid: None,
        };
        let before = match &assessment.before {
            Some(before) => before.clone(),
            None => status_of(&policy.api(&self.client).get(&assessment.name).await?),
        };
        let Some(status) = assessment.change(&before, Timestamp::now()) else {
            return Ok(false);
        };
        policy
            .apply(&self.client, FIELD_MANAGER, &json!(status))
            .await?;
        Ok(true)
    }
}

fn status_of(policy: &DynamicObject) -> ProtectionPolicyStatus {
    policy
        .data
        .get("status")
        .and_then(|status| serde_json::from_value(status.clone()).ok())
        .unwrap_or_default()
}
