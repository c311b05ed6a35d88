//! Whether this replica can answer admissions, and if not, why not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use picket_webhook::PolicyStore;
use tokio::sync::watch;

use crate::ca_bundle;
use crate::certificates::ServingCertificate;
use crate::suspensions::Records;
use crate::watched::Seen;

/// What readiness depends on.
#[derive(Clone)]
pub struct Readiness {
    /// The certificate that is served.
    pub certificate: Arc<ServingCertificate>,
    /// The webhook configuration.
    pub configuration: watch::Receiver<Seen<MutatingWebhookConfiguration>>,
    /// The policies from which admissions are answered.
    pub policies: PolicyStore,
    /// The workloads that are left alone.
    pub suspensions: watch::Receiver<Option<Arc<Records>>>,
    /// Whether the webhook's server listens.
    pub serving: Arc<AtomicBool>,
    /// Whether the process is about to stop.
    pub stopping: watch::Receiver<bool>,
}

impl Readiness {
    /// Why this replica is not ready, in one sentence; `None` if it is.
    ///
    /// It is ready when it listens, its certificate is valid, API servers are told to trust
    /// the authority that signed it, and policies and suspensions are known.
    #[must_use]
    pub fn obstacle(&self, now: SystemTime) -> Option<&'static str> {
        if *self.stopping.borrow() {
            return Some("the process is stopping");
        }
        if !self.serving.load(Ordering::Relaxed) {
            return Some("the webhook does not listen yet: the cluster's version is not known");
        }
        let Some(served) = self.certificate.current() else {
            return Some("there is no serving certificate yet");
        };
        if now >= served.expires {
            return Some("the serving certificate has expired");
        }
        match self.configuration.borrow().present() {
            None => return Some("the webhook configuration does not exist, or is not known yet"),
            Some(configuration) if !ca_bundle::trusts(configuration, &served.signed_by) => {
                return Some("the webhook configuration's caBundle does not hold our authority");
            }
            Some(_) => {}
        }
        if !self.policies.is_synced() {
            return Some("the policies are not known yet");
        }
        if self.suspensions.borrow().is_none() {
            return Some("it is not known yet for which workloads injection is suspended");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;
    use crate::certificates::{Bundle, LEAF_VALIDITY, ServerNames};

    fn configuration(trust: &str) -> Seen<MutatingWebhookConfiguration> {
        let object = json!({
            "metadata": {"name": "zz-picket"},
            "webhooks": [{
                "name": "ignore.picket.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {
                    "url": "https://localhost",
                    "caBundle": ByteString(trust.as_bytes().to_vec()),
                },
            }],
        });
        Seen::Present(Arc::new(
            serde_json::from_value(object).expect("configuration"),
        ))
    }

    #[test]
    fn one_obstacle_after_the_other() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let names = ServerNames::new(["localhost".to_owned()]);
        let bundle = Bundle::generate(&names, now).expect("bundle");
        let (configurations, receiver) = watch::channel(Seen::NotYet);
        let (stop, stopping) = watch::channel(false);
        let (suspended, suspensions) = watch::channel(None);
        let readiness = Readiness {
            certificate: ServingCertificate::empty(),
            configuration: receiver,
            policies: PolicyStore::new(),
            suspensions,
            serving: Arc::default(),
            stopping,
        };
        let obstacle = |now| readiness.obstacle(now).unwrap_or_default();

        assert!(obstacle(now).contains("does not listen"));
        readiness.serving.store(true, Ordering::Relaxed);
        assert!(obstacle(now).contains("no serving certificate"));
        readiness.certificate.replace(&bundle).expect("serve");
        assert!(obstacle(now).contains("does not exist"));
        configurations.send_replace(configuration("another authority"));
        assert!(obstacle(now).contains("caBundle"));
        configurations.send_replace(configuration(&bundle.trust()));
        assert!(obstacle(now).contains("policies"));
        readiness.policies.replace([]);
        assert!(obstacle(now).contains("suspended"));
        suspended.send_replace(Some(Arc::default()));
        assert_eq!(readiness.obstacle(now), None);

        // While the authority changes, the old certificate is still trusted.
        let next = bundle.with_new_authority(now).expect("rotate");
        readiness.certificate.replace(&next).expect("serve");
        assert_eq!(readiness.obstacle(now), None, "before it is published");
        configurations.send_replace(configuration(&next.trust()));
        assert_eq!(readiness.obstacle(now), None, "after it was published");

        assert!(obstacle(now + LEAF_VALIDITY).contains("expired"));
        stop.send_replace(true);
        assert!(obstacle(now).contains("stopping"));
    }
}
