//! Coverage for Prometheus. Served by the replica that leads; the others say nothing.

use picket_crds::{CoverageState, Gap, PodCounts};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGap {
    gap: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResult {
    result: &'static str,
}

/// What is counted. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    gaps: Family<OfGap, Gauge>,
    workloads: Family<OfState, Gauge>,
    pods: Family<OfState, Gauge>,
    writes: Family<OfResult, Counter>,
}

impl Gauges {
    /// Registers all of them.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        registry.register(
            "picket_coverage_gap_pods",
            "Pods of which something is not seen, by gap",
            gauges.gaps.clone(),
        );
        registry.register(
            "picket_coverage_workloads",
            "Workloads with pods, by state",
            gauges.workloads.clone(),
        );
        registry.register(
            "picket_coverage_pods",
            "Pods that a policy selects: Selected, and of those Injected, Current, Reporting",
            gauges.pods.clone(),
        );
        registry.register(
            "picket_coverage_report_writes",
            "CoverageReports written or deleted, by result",
            gauges.writes.clone(),
        );
        gauges
    }

    /// Sets all gauges.
    pub fn set(
        &self,
        pods: PodCounts,
        workloads: impl Fn(CoverageState) -> u32,
        gaps: impl Fn(Gap) -> u32,
    ) {
        for (state, count) in [
            ("Selected", pods.total),
            ("Injected", pods.injected),
            ("Current", pods.current),
            ("Reporting", pods.reporting),
        ] {
            let gauge = self.pods.get_or_create(&OfState { state });
            gauge.set(count.into());
        }
        for state in [
            CoverageState::Healthy,
            CoverageState::Progressing,
            CoverageState::Unhealthy,
            CoverageState::Unselected,
        ] {
            let labels = OfState {
                state: state.word(),
            };
            let gauge = self.workloads.get_or_create(&labels);
            gauge.set(workloads(state).into());
        }
        for gap in Gap::ALL {
            let gauge = self.gaps.get_or_create(&OfGap { gap: gap.word() });
            gauge.set(gaps(*gap).into());
        }
    }

    /// Forgets everything: another replica leads.
    pub fn clear(&self) {
        self.pods.clear();
        self.workloads.clear();
        self.gaps.clear();
    }

    /// Counts reports that were written, or one that could not be.
    pub fn wrote(&self, result: Result<usize, ()>) {
        let (result, count) = match result {
            Ok(count) => ("written", count as u64),
            Err(()) => ("failed", 1),
        };
        if count > 0 {
            let labels = OfResult { result };
            self.writes.get_or_create(&labels).inc_by(count);
        }
    }
}
