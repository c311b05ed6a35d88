//! Interleaving: every round runs each workload in each variant once, so that whatever else
//! the machine does meets all of them alike. A ratio is always within one round.

use std::path::Path;

use serde::Serialize;

use crate::variant::{Setup, Variant};
use crate::workload::{Sample, Workload};

/// Median and extremes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one number.
    pub(crate) fn of(numbers: &[f64]) -> Option<Self> {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, min, max })
    }
}

/// One variant of one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) variant: Variant,
    /// What was measured, a number a round.
    pub(crate) samples: Vec<f64>,
    /// To the untraced run of the same round.
    pub(crate) ratio: Option<Spread>,
    /// The same of processor time, the agent's left out.
    pub(crate) processor: Option<Spread>,
}

/// All of one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) about: &'static str,
    pub(crate) unit: &'static str,
    /// Why it was not run.
    pub(crate) skipped: Option<String>,
    pub(crate) variants: Vec<Measured>,
}

impl Row {
    pub(crate) fn of(&self, variant: Variant) -> Option<&Measured> {
        self.variants
            .iter()
            .find(|measured| measured.variant == variant)
    }
}

/// Runs the workloads.
///
/// # Errors
/// A run that fails ends everything: half a table would look like a whole one.
pub(crate) fn run(
    workloads: &[&'static Workload],
    variants: &[Variant],
    rounds: usize,
    setup: &Setup,
    scratch: &Path,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for workload in workloads {
        let mut row = Row {
            workload: workload.name,
            about: workload.about,
            unit: workload.unit,
            skipped: None,
            variants: Vec::new(),
        };
        if let Err(missing) = workload.check() {
            eprintln!("{}: left out: {missing}", workload.name);
            row.skipped = Some(missing.to_string());
            rows.push(row);
            continue;
        }
        let prepared = workload.prepare(scratch)?;
        // Once for nothing: caches.
        workload.run(Variant::Untraced, setup, &prepared)?;
        let mut samples = vec![Vec::new(); variants.len()];
        for round in 0..rounds {
            for turn in 0..variants.len() {
                // Another order each round: nobody always comes after the same.
                let at = (turn + round) % variants.len();
                samples[at].push(workload.run(variants[at], setup, &prepared)?);
            }
            eprintln!("{}: round {} of {rounds}", workload.name, round + 1);
        }
        let untraced: Vec<Sample> = samples[0].clone();
        for (variant, samples) in variants.iter().zip(samples) {
            let both = || samples.iter().zip(&untraced);
            let ratios: Vec<f64> = both().map(|(s, u)| s.time / u.time).collect();
            let processor: Vec<f64> = both().map(|(s, u)| s.processor / u.processor).collect();
            row.variants.push(Measured {
                variant: *variant,
                samples: samples.iter().map(|sample| sample.time).collect(),
                ratio: Spread::of(&ratios),
                processor: Spread::of(&processor),
            });
        }
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
        assert_eq!(Spread::of(&[7.0]).unwrap().median, 7.0);
        assert!(Spread::of(&[]).is_none());
    }
}
