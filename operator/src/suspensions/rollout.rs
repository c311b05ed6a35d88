//! Suspensions that a rollout wants.

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Resource;
use picket_webhook::suspension::fingerprint;
use picket_webhook::{Namespaces, PolicyStore, Settings};
use tokio::sync::watch;
use tracing::warn;

use super::{Cause, Record, Suspensions, Workload};
use crate::facts::Facts;
use crate::rollout::{Suspend, Suspension};
use crate::watched::Seen;

impl Suspensions {
    /// What the rollout controller calls.
    #[must_use]
    pub fn by_rollout(
        &self,
        settings: Settings,
        policies: PolicyStore,
        namespaces: Facts,
        configuration: watch::Receiver<Seen<MutatingWebhookConfiguration>>,
    ) -> Suspend {
        let (suspensions, settings) = (self.clone(), Arc::new(settings));
        Arc::new(move |wanted: Suspension| {
            let (suspensions, settings) = (suspensions.clone(), Arc::clone(&settings));
            let (policies, namespaces) = (policies.snapshot(), namespaces.clone());
            let seen = configuration.borrow().clone();
            Box::pin(async move {
                let policy = policies.iter().find(|policy| policy.key() == wanted.policy);
                // A policy that is gone injects nothing: there is nothing to suspend.
                let Some(policy) = policy else { return true };
                let facts = namespaces.get(&wanted.namespace).await;
                let settings = settings.for_namespace(&wanted.namespace, &facts);
                let cause = if wanted.refused {
                    Cause::NotSupportedOnFargate
                } else {
                    Cause::RolloutFailed
                };
                let record = Record::new(
                    Workload::new(&wanted.namespace, &wanted.workload),
                    cause,
                    wanted.message,
                    (&wanted.policy, &fingerprint(&settings, policy)),
                );
                let owner = seen.present().and_then(|owner| owner.owner_ref(&()));
                let written = suspensions.suspend(record, owner).await;
                if let Err(error) = &written {
                    warn!(%error, "injection cannot be suspended for a rollout, trying again");
                }
                written.is_ok()
            })
        })
    }
}
