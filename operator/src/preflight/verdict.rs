//! What the trials of a policy say of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use picket_crds::{Mode, ProtectionPolicySpec, conditions};
use picket_webhook::Reason;

use super::pull::Pull;
use super::schedule::Tried;
use super::trial::Finding;
use crate::status::{Statement, named};
use crate::suspensions::Record;

/// What is known of a policy.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// Whether anything is tried at all.
    pub(super) tries: bool,
    /// Whether injection is switched off for the whole cluster.
    pub(super) switched_off: bool,
    /// The namespaces of the policy about which the webhook is asked, and what was tried there.
    pub(super) namespaces: Vec<(&'a str, Option<&'a Tried>)>,
    /// The workloads of the policy that are left alone because their pods did not start.
    pub(super) suspended: Vec<&'a Record>,
    /// The webhook's port, for the advice.
    pub(super) port: u16,
}

/// The conditions `WebhookReachable`, `Ready` and `InjectionSuspended`, in this order. `before` are
/// those that the policy has: whether its rule sets are in use is among them.
pub(super) fn judge(
    spec: &ProtectionPolicySpec,
    before: &[Condition],
    evidence: &Evidence<'_>,
) -> [Statement; 3] {
    let reachable = reachable(evidence);
    let ready = ready(spec, before, evidence, &reachable);
    [reachable, ready, suspended(evidence)]
}

fn said(
    type_: &'static str,
    (status, reason): (&'static str, &str),
    message: impl Into<String>,
) -> Statement {
    Statement {
        type_,
        status,
        reason: reason.to_owned(),
        message: message.into(),
    }
}

/// Why nothing is tried for a policy, if that is so.
fn untried(evidence: &Evidence<'_>) -> Option<((&'static str, &'static str), &'static str)> {
    if evidence.switched_off {
        return Some((
            ("False", conditions::REASON_INJECTION_SWITCHED_OFF),
            "injection is switched off (injection.enabled): new pods stay as they are",
        ));
    }
    if evidence.namespaces.is_empty() {
        return Some((
            ("Unknown", conditions::REASON_NO_NAMESPACE),
            "it is for no namespace whose pods are ever injected",
        ));
    }
    (!evidence.tries).then_some((
        ("Unknown", conditions::REASON_PREFLIGHT_OFF),
        "nothing is tried beforehand (preflight.enabled)",
    ))
}

/// The namespaces in which something was found, and what, as the first of them has it.
fn found<'a, T>(
    evidence: &Evidence<'a>,
    look: impl Fn(&'a Tried) -> Option<T>,
) -> Option<(String, T)> {
    let mut names = Vec::new();
    let mut first = None;
    for (namespace, tried) in &evidence.namespaces {
        if let Some(one) = tried.and_then(&look) {
            names.push(*namespace);
            first.get_or_insert(one);
        }
    }
    first.map(|first| (named(&names), first))
}

fn reachable(evidence: &Evidence<'_>) -> Statement {
    let say = |verdict, message: String| said(conditions::WEBHOOK_REACHABLE, verdict, message);
    if let Some((verdict, message)) = untried(evidence) {
        return say(verdict, message.to_owned());
    }
    let unreachable = |tried: &'_ Tried| match &tried.finding {
        Finding::Unreachable(words) => Some(words.clone()),
        _ => None,
    };
    if let Some((names, words)) = found(evidence, unreachable) {
        let message = format!(
            "in {names}: {words}; see that pods of picket-operator are ready and that API servers \
             reach their port {}: on EKS by an inbound rule from the cluster security group in \
             every security group of these pods (`picket doctor --cluster` tells more)",
            evidence.port
        );
        return say(("False", conditions::REASON_WEBHOOK_UNREACHABLE), message);
    }
    let answered = |tried: &'_ Tried| {
        let asked = matches!(
            tried.finding,
            Finding::Admitted | Finding::LeftAlone { .. } | Finding::InjectionRefused(_)
        );
        asked.then_some(())
    };
    if found(evidence, answered).is_some() {
        let message = "API servers ask it about new pods";
        return say(("True", conditions::REASON_ANSWERED), message.to_owned());
    }
    let (verdict, message) = cannot_be_told(evidence);
    say(verdict, message)
}

/// Why it is not known how a pod would fare, where nothing that was found says so.
fn cannot_be_told(evidence: &Evidence<'_>) -> ((&'static str, &'static str), String) {
    let refused = |tried: &'_ Tried| match &tried.finding {
        Finding::RefusedAnyway(words) => Some(words.clone()),
        _ => None,
    };
    if let Some((names, words)) = found(evidence, refused) {
        let message = format!("{names} refuses pods that are tried, injected or not: {words}");
        return (("Unknown", conditions::REASON_TRIAL_REFUSED), message);
    }
    let untold = |tried: &'_ Tried| match &tried.finding {
        Finding::Untold(words) => Some(words.clone()),
        _ => None,
    };
    if let Some((names, words)) = found(evidence, untold) {
        let message = format!("in {names} it cannot be told: {words}");
        return (("Unknown", conditions::REASON_UNTOLD), message);
    }
    let message = "not every namespace has been tried yet".to_owned();
    (("Unknown", conditions::REASON_TRYING), message)
}

fn ready(
    spec: &ProtectionPolicySpec,
    before: &[Condition],
    evidence: &Evidence<'_>,
    reachable: &Statement,
) -> Statement {
    let say = |verdict, message: String| said(conditions::READY, verdict, message);
    if spec.mode == Mode::Disabled {
        let message = "pods that this policy wins are left alone".to_owned();
        return say(("False", conditions::REASON_DISABLED), message);
    }
    let unresolved = before.iter().find(|condition| {
        condition.type_ == conditions::RULE_SETS_RESOLVED && condition.status == "False"
    });
    if let Some(rule_sets) = unresolved {
        return say(("False", &rule_sets.reason), rule_sets.message.clone());
    }
    if let Some((verdict, message)) = untried(evidence) {
        return say(verdict, message.to_owned());
    }
    if reachable.status == "False" {
        return say(("False", &reachable.reason), reachable.message.clone());
    }
    let unpullable = |tried: &'_ Tried| match &tried.pull {
        Pull::Refused(words) => Some(words.clone()),
        Pull::Works(_) | Pull::Unknown(_) => None,
    };
    if let Some((names, words)) = found(evidence, unpullable) {
        let message = format!("pods of {names} could not pull the sidecar image: {words}");
        return say(
            ("False", conditions::REASON_SIDECAR_IMAGE_UNPULLABLE),
            message,
        );
    }
    let refused = |tried: &'_ Tried| match &tried.finding {
        Finding::InjectionRefused(words) => Some(words.clone()),
        Finding::LeftAlone { reason, message } if would_be_refused(reason) => Some(message.clone()),
        _ => None,
    };
    if let Some((names, words)) = found(evidence, refused) {
        let message = format!("{names} would refuse injected pods: {words}");
        return say(
            ("False", conditions::REASON_INJECTION_WOULD_BE_REFUSED),
            message,
        );
    }
    let left = |tried: &'_ Tried| match &tried.finding {
        Finding::LeftAlone { message, .. } => Some(message.clone()),
        _ => None,
    };
    if let Some((names, words)) = found(evidence, left) {
        let message = format!("in {names} pods would be left alone: {words}");
        return say(("False", conditions::REASON_WOULD_BE_LEFT_ALONE), message);
    }
    let all_good = evidence
        .namespaces
        .iter()
        .all(|(_, tried)| tried.is_some_and(|tried| tried.finding.is_good()));
    if !all_good {
        let (verdict, message) = cannot_be_told(evidence);
        return say(verdict, message);
    }
    let mut message = match evidence.namespaces.len() {
        1 => "a pod that was tried is injected and let in".to_owned(),
        many => format!("pods that were tried in {many} namespaces are injected and let in"),
    };
    let unknown = |tried: &'_ Tried| match &tried.pull {
        Pull::Unknown(words) => Some(words.clone()),
        Pull::Works(_) | Pull::Refused(_) => None,
    };
    if let Some((_, words)) = found(evidence, unknown) {
        message.push_str("; whether the sidecar image can be pulled is not known: ");
        message.push_str(&words);
    }
    say(("True", conditions::REASON_READY), message)
}

/// Whether the webhook leaves a pod alone because the namespace would refuse it injected.
fn would_be_refused(reason: &str) -> bool {
    [Reason::QuotaWouldRefuse, Reason::PodSecurityConflict]
        .iter()
        .any(|known| known.word() == reason)
}

fn suspended(evidence: &Evidence<'_>) -> Statement {
    let say = |verdict, message: String| said(conditions::INJECTION_SUSPENDED, verdict, message);
    let Some(first) = evidence.suspended.first() else {
        let message = "injected pods start, as far as there were any".to_owned();
        return say(("False", conditions::REASON_NONE_SUSPENDED), message);
    };
    let more = match evidence.suspended.len() {
        1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    };
    let message = format!(
        "{}{more}: {}: {}",
        first.workload, first.cause, first.message
    );
    say(("True", conditions::REASON_INJECTION_SUSPENDED), message)
}
