//! What the operator tells Prometheus about itself, beside the webhook's own
//! metrics.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

use crate::certificates::ServingCertificate;
use crate::pods::Pods;
use crate::policies::{Policies, View};
use crate::suspensions::Suspensions;

/// Reads the state of the operator whenever somebody scrapes it.
pub struct StateCollector {
    /// The certificate that is served.
    pub certificate: Arc<ServingCertificate>,
    /// Whether this replica leads.
    pub leading: watch::Receiver<bool>,
    /// The policies.
    pub policies: View<Policies>,
    /// The pods.
    pub pods: Pods,
    /// The workloads that are left alone.
    pub suspensions: Suspensions,
}

impl fmt::Debug for StateCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StateCollector")
    }
}

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let expires = self
            .certificate
            .current()
            .and_then(|served| served.expires.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |expires| expires.as_secs());
        let policies = self.policies.borrow().clone().unwrap_or_default();
        let gauges = [
            (
                "picket_operator_certificate_expiry_timestamp_seconds",
                "When the serving certificate expires, in seconds since 1970; 0 without one",
                i64::try_from(expires).unwrap_or(i64::MAX),
            ),
            (
                "picket_operator_leading",
                "1 in the replica that writes, 0 in the others",
                i64::from(*self.leading.borrow()),
            ),
            (
                "picket_operator_policies",
                "Policies in use",
                count(policies.valid.len() + policies.cluster.len()),
            ),
            (
                "picket_operator_invalid_policies",
                "Policies that this version cannot understand",
                count(policies.invalid.len()),
            ),
            (
                "picket_operator_pods",
                "Pods that are followed",
                count(self.pods.count()),
            ),
            (
                "picket_operator_suspended_workloads",
                "Workloads for which injection is suspended",
                count(self.suspensions.all().len()),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
