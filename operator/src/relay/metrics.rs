//! What Prometheus is told of the relay.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    what: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fate {
    result: &'static str,
}

/// Counts of the relay. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct RelayMetrics {
    requests: Family<Request, Counter>,
    strangers: Family<Reason, Counter>,
    findings: Family<Fate, Counter>,
    pub(super) connections: Gauge,
    pub(super) refused_connections: Counter,
}

impl RelayMetrics {
    /// Registers everything under `picket_relay_`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "picket_relay_requests",
            "Requests to the relay, by what was asked and what became of it",
            metrics.requests.clone(),
        );
        registry.register(
            "picket_relay_strangers",
            "Requests to the relay that nobody is behind, by reason",
            metrics.strangers.clone(),
        );
        registry.register(
            "picket_relay_findings",
            "Findings that agents sent, by what became of them",
            metrics.findings.clone(),
        );
        registry.register(
            "picket_relay_connections",
            "Connections to the relay",
            metrics.connections.clone(),
        );
        registry.register(
            "picket_relay_refused_connections",
            "Connections that were closed because there were too many, or no TLS came about",
            metrics.refused_connections.clone(),
        );
        metrics
    }

    pub(super) fn request(&self, what: &'static str, result: &'static str) {
        let labels = Request { what, result };
        self.requests.get_or_create(&labels).inc();
    }

    pub(super) fn stranger(&self, reason: &'static str) {
        self.strangers.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn findings(&self, result: &'static str, count: usize) {
        let counter = self.findings.get_or_create(&Fate { result });
        counter.inc_by(count as u64);
    }
}
