//! The figures as a table and as JSON.

use std::fmt;

use serde::Serialize;

use crate::footprint::Footprint;
use crate::rounds::{Row, Spread};
use crate::variant::{Setup, Variant};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    processors: usize,
    kernel: String,
    rounds: usize,
    default_interest: String,
    workloads: Vec<Row>,
    footprint: Option<Footprint>,
}

impl Report {
    pub(crate) fn new(
        rounds: usize,
        setup: &Setup,
        workloads: Vec<Row>,
        footprint: Option<Footprint>,
    ) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: kernel.trim().to_owned(),
            rounds,
            default_interest: setup.defaults.to_string(),
            workloads,
            footprint,
        }
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.2} µs", s * 1e6),
    }
}

fn ratio(ratio: Option<Spread>) -> String {
    match ratio {
        Some(Spread { median, min, max }) => format!("{median:.2} ({min:.2}–{max:.2})"),
        None => "–".to_owned(),
    }
}

/// Added cost of one variant as a share of another's, by the medians.
fn share(row: &Row, of: Variant, to: Variant) -> String {
    let added = |variant| Some(row.of(variant)?.ratio?.median - 1.0);
    match (added(of), added(to)) {
        // Where the other adds next to nothing there is nothing to compare.
        (Some(of), Some(to)) if to > 0.05 => format!("{:.2}", of.max(0.0) / to),
        _ => "–".to_owned(),
    }
}

impl Report {
    /// The table of processor time.
    fn processor_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_any = |row: &&Row| row.variants.iter().any(|m| m.processor.is_some());
        let rows: Vec<&Row> = self.workloads.iter().filter(has_any).collect();
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\nProcessor time of program and tracer together (the agent's left out), ratios as above.\n"
        )?;
        write!(f, "| workload |")?;
        for variant in Variant::OTHERS {
            write!(f, " {} |", variant.title())?;
        }
        writeln!(f, "\n|---|{}", "---|".repeat(Variant::OTHERS.len()))?;
        for row in rows {
            write!(f, "| {} |", row.workload)?;
            for variant in Variant::OTHERS {
                write!(f, " {} |", ratio(row.of(variant).and_then(|m| m.processor)))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            processors,
            kernel,
            rounds,
            ..
        } = self;
        writeln!(
            f,
            "{processors} processors, Linux {kernel}, {rounds} rounds; ratios to the untraced run of the same round: median (least–most).\n"
        )?;
        write!(f, "| workload | untraced |")?;
        for variant in Variant::OTHERS {
            write!(f, " {} |", variant.title())?;
        }
        writeln!(f, " all opens / incumbent's calls, added |")?;
        writeln!(f, "|---|---|{}---|", "---|".repeat(Variant::OTHERS.len()))?;
        for row in &self.workloads {
            write!(f, "| {}: {} |", row.workload, row.about)?;
            if let Some(skipped) = &row.skipped {
                writeln!(f, " not run: {skipped} |")?;
                continue;
            }
            let scale = if row.unit == "ns" { 1e-9 } else { 1.0 };
            let untraced = row
                .of(Variant::Untraced)
                .and_then(|m| Spread::of(&m.samples));
            write!(
                f,
                " {} |",
                untraced.map_or("–".to_owned(), |u| time(u.median * scale))
            )?;
            for variant in Variant::OTHERS {
                write!(f, " {} |", ratio(row.of(variant).and_then(|m| m.ratio)))?;
            }
            writeln!(f, " {} |", share(row, Variant::AllOpens, Variant::TwoStops))?;
        }
        self.processor_time(f)?;
        match &self.footprint {
            Some(footprint) => write!(f, "\n{footprint}"),
            None => Ok(()),
        }
    }
}
