//! What the webhook counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::service::Decided;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    entry: &'static str,
    outcome: &'static str,
    reason: &'static str,
    allowed: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    cause: &'static str,
}

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    Malformed,
    TooLarge,
    Busy,
    TooSlow,
    NotReady,
}

impl Rejection {
    const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "Malformed",
            Self::TooLarge => "TooLarge",
            Self::Busy => "Busy",
            Self::TooSlow => "TooSlow",
            Self::NotReady => "NotReady",
        }
    }
}

/// What the webhook counts. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    decisions: Family<DecisionLabels, Counter>,
    rejections: Family<RejectionLabels, Counter>,
    seconds: Histogram,
    /// Requests that are being answered at this moment.
    pub(super) in_flight: Gauge,
}

impl Metrics {
    /// Registers everything under `picket_admission_…`.
    pub fn new(registry: &mut Registry) -> Self {
        let buckets = [
            0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0,
        ];
        let metrics = Self {
            decisions: Family::default(),
            rejections: Family::default(),
            seconds: Histogram::new(buckets),
            in_flight: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("picket_admission");
        registry.register(
            "decisions",
            "Answered reviews by entry, outcome, reason and whether the pod was let in",
            metrics.decisions.clone(),
        );
        registry.register(
            "rejections",
            "Requests that got no answer, by cause",
            metrics.rejections.clone(),
        );
        registry.register(
            "duration_seconds",
            "Time from the whole request to the answer",
            metrics.seconds.clone(),
        );
        registry.register(
            "in_flight",
            "Requests that are being answered",
            metrics.in_flight.clone(),
        );
        metrics
    }

    pub(super) fn decided(&self, decided: &Decided, elapsed: Duration) {
        let labels = DecisionLabels {
            entry: decided.entry.word(),
            outcome: decided.report.outcome().word(),
            reason: decided.report.reason.word(),
            allowed: if decided.allowed { "true" } else { "false" },
        };
        self.decisions.get_or_create(&labels).inc();
        self.seconds.observe(elapsed.as_secs_f64());
    }

    pub(super) fn rejected(&self, rejection: Rejection) {
        self.rejections
            .get_or_create(&RejectionLabels {
                cause: rejection.word(),
            })
            .inc();
    }
}
