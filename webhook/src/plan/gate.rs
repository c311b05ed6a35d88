//! What is decided first, and for pods, ephemeral containers and commands alike: whether anything
//! is done in the namespace at all, and which policy wins.

use picket_crds::Mode;

use super::Context;
use crate::policy::{Selection, select};
use crate::reason::Reason;
use crate::report::{PolicyReport, Report};
use crate::settings::Settings;

/// A report that says nothing but why nothing is done.
pub(super) fn skip<T>(reason: Reason) -> Result<T, Box<Report>> {
    Err(Box::new(Report::of(reason)))
}

/// Whether injection is on, in this namespace too.
///
/// # Errors
/// The report that says why it is not.
pub(super) fn enter(context: &Context<'_>) -> Result<(), Box<Report>> {
    if !context.settings.enabled {
        return skip(Reason::InjectionDisabled);
    }
    if [Settings::SYSTEM_NAMESPACE, &context.settings.own_namespace].contains(&context.namespace) {
        return skip(Reason::NamespaceExcluded);
    }
    Ok(())
}

/// The policies that select a pod with these labels; `report` is told of them.
///
/// # Errors
/// The report that says why none does, or that the winner leaves pods alone.
pub(super) fn selection<'a, 'l>(
    context: &Context<'a>,
    label: impl Fn(&str) -> Option<&'l str>,
    fargate: bool,
    mut report: Report,
) -> Result<(Selection<'a>, Report), Box<Report>> {
    let policies = context.policies.iter().map(AsRef::as_ref);
    let selection = match select(policies, (context.namespace, context.facts), label, fargate) {
        Ok(selection) => selection,
        Err(reason) => return skip(reason),
    };
    report.policy = Some(policy_report(&selection));
    if selection.winner.spec.mode == Mode::Disabled {
        report.reason = Reason::PolicyDisabled;
        return Err(Box::new(report));
    }
    Ok((selection, report))
}

fn policy_report(selection: &Selection<'_>) -> PolicyReport {
    PolicyReport {
        winner: selection.winner.key(),
        losers: selection.losers.iter().map(|policy| policy.key()).collect(),
        mode: selection.winner.spec.mode,
        provider: selection.winner.spec.provider,
        rule_sets: selection.rule_sets.clone(),
        on_inject_failure: selection.winner.spec.on_inject_failure,
        on_entrypoint_failure: selection.winner.spec.entrypoint.on_failure,
    }
}
