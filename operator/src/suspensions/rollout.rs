//! Suspensions that a rollout wants.

use std::sync::Arc;

use picket_webhook::suspension::fingerprint;
use picket_webhook::{Namespaces, PolicyStore, Settings};
use tracing::warn;

use super::{Cause, Record, Suspensions, Workload};
use crate::facts::Facts;
use crate::rollout::{Suspend, Suspension};

impl Suspensions {
    /// What the rollout controller calls.
    #[must_use]
    pub fn by_rollout(
        &self,
        settings: Settings,
        policies: PolicyStore,
        namespaces: Facts,
    ) -> Suspend {
        let (suspensions, settings) = (self.clone(), Arc::new(settings));
        Arc::new(move |wanted: Suspension| {
            let (suspensions, settings) = (suspensions.clone(), Arc::clone(&settings));
            let (policies, namespaces) = (policies.snapshot(), namespaces.clone());
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
                let written = suspensions.suspend(record).await;
                if let Err(error) = &written {
                    warn!(%error, "injection cannot be suspended for a rollout, trying again");
                }
                written.is_ok()
            })
        })
    }
}
