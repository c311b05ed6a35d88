//! The page for people.

use std::fmt::Write as _;

use picket_crds::{CoverageState, PodCounts};
use picket_events::text::counted;

use super::{Page, WorkloadLine};
use crate::columns::{columns, or_dash};

const POLICIES: [&str; 8] = [
    "POLICY",
    "MODE",
    "MATCHED",
    "INJECTED",
    "CURRENT",
    "REPORTING",
    "COVERED",
    "WHY",
];
const WORKLOADS: [&str; 9] = [
    "NAMESPACE",
    "WORKLOAD",
    "STATE",
    "PODS",
    "INJECTED",
    "CURRENT",
    "REPORTING",
    "POLICY",
    "GAPS",
];

/// The whole page.
pub(super) fn page(page: &Page) -> String {
    let mut text = String::new();
    if page.policies.is_empty() {
        text.push_str(
            "No policy: nothing is protected. `picket explain` shows what one would do.\n",
        );
        return text;
    }
    let policies = page.policies.iter().map(|policy| {
        let [total, injected, current, reporting] = counts(policy.pods);
        [
            policy.policy.clone(),
            format!("{:?}", policy.mode),
            total,
            injected,
            current,
            reporting,
            or_dash(&policy.covered),
            or_dash(&policy.message),
        ]
    });
    text.push_str(&columns(POLICIES, policies));
    text.push('\n');
    if page.workloads.is_empty() {
        text.push_str("No workload to show.\n");
        return text;
    }
    text.push_str(&columns(WORKLOADS, page.workloads.iter().map(cells)));
    for line in &page.workloads {
        if line.row.state != CoverageState::Unhealthy {
            continue;
        }
        let _ = writeln!(
            text,
            "\n{}/{}/{}:",
            line.namespace, line.row.kind, line.row.name
        );
        for gap in &line.row.gaps {
            let container = gap.container.as_ref();
            let container =
                container.map_or_else(String::new, |name| format!(", container {name}"));
            let _ = writeln!(
                text,
                "  {} in {}, one is {}{container}: {}",
                gap.gap,
                counted(gap.pods, "pod", "pods"),
                gap.pod,
                gap.message
            );
        }
    }
    if page.omitted > 0 {
        let _ = writeln!(
            text,
            "\n{} in the reports.",
            counted(
                page.omitted,
                "more workload is not",
                "more workloads are not"
            )
        );
    }
    text
}

/// Rows without heading.
pub(super) fn lines<'a>(lines: impl Iterator<Item = &'a WorkloadLine>) -> String {
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{}", cells(line).join("  "));
    }
    text
}

fn cells(line: &WorkloadLine) -> [String; 9] {
    let row = &line.row;
    let [total, injected, current, reporting] = counts(row.pods);
    let mut gaps: Vec<String> = row
        .gaps
        .iter()
        .map(|gap| match &gap.container {
            Some(container) => format!("{}({container}): {}", gap.gap, gap.pods),
            None => format!("{}: {}", gap.gap, gap.pods),
        })
        .collect();
    gaps.extend(row.reason.clone());
    gaps.extend(row.rollout.clone());
    if !row.quarantined.is_empty() {
        gaps.push(format!("quarantined: {}", row.quarantined.join(" ")));
    }
    [
        line.namespace.clone(),
        format!("{}/{}", row.kind, row.name),
        row.state.word().to_owned(),
        total,
        injected,
        current,
        reporting,
        or_dash(row.policy.as_deref().unwrap_or_default()),
        or_dash(&gaps.join(", ")),
    ]
}

fn counts(pods: PodCounts) -> [String; 4] {
    [pods.total, pods.injected, pods.current, pods.reporting].map(|count| count.to_string())
}
