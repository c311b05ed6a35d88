//! What the resolver counts.

use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Unresolved;
use super::resolver::Inner;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabels {
    cache: &'static str,
    outcome: &'static str,
}

/// How the cache took part in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It gave the answer.
    Hit,
    /// The registry was asked.
    Miss,
    /// The registry failed, so an old answer was given.
    Stale,
}

impl Part {
    const fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
        }
    }
}

/// What the resolver counts. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    lookups: Family<LookupLabels, Counter>,
    seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 20.0];
        Self {
            lookups: Family::default(),
            seconds: Histogram::new(buckets),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("picket_entrypoint");
        registry.register(
            "lookups",
            "Images asked for on admission, by what the cache did (hit, miss, stale) and outcome (Resolved, or the cause)",
            self.lookups.clone(),
        );
        registry.register(
            "resolution_seconds",
            "Time that asking registries took, successful or not, without cached answers",
            self.seconds.clone(),
        );
    }

    pub(super) fn looked_up<T>(&self, part: Part, answer: &Result<T, Unresolved>) {
        let outcome = answer
            .as_ref()
            .err()
            .map_or("Resolved", |unresolved| unresolved.cause.word());
        let labels = LookupLabels {
            cache: part.word(),
            outcome,
        };
        self.lookups.get_or_create(&labels).inc();
    }

    pub(super) fn resolved(&self, elapsed: Duration) {
        self.seconds.observe(elapsed.as_secs_f64());
    }
}

/// Numbers that are read when somebody scrapes.
pub(super) struct State(pub(super) Weak<Inner>);

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(inner) = self.0.upgrade() else {
            return Ok(());
        };
        let requests = ConstCounter::new(inner.requests());
        requests.encode(encoder.encode_descriptor(
            "picket_entrypoint_requests",
            "HTTP requests sent to registries and token services",
            None,
            requests.metric_type(),
        )?)?;
        let entries = ConstGauge::new(i64::try_from(inner.cached()).unwrap_or(i64::MAX));
        entries.encode(encoder.encode_descriptor(
            "picket_entrypoint_cache_entries",
            "Answers in the cache, failures included",
            None,
            entries.metric_type(),
        )?)
    }
}
