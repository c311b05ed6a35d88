//! Types and reasons of status conditions.
//!
//! Reasons are part of the API: people alert on them.

/// Condition: the operator has read this generation and webhooks use it.
pub const ACCEPTED: &str = "Accepted";
/// Reason of [`ACCEPTED`]: in use.
pub const REASON_ACCEPTED: &str = "Accepted";
/// Reason of [`ACCEPTED`]: `mode: Disabled`; pods that it wins are left alone.
pub const REASON_DISABLED: &str = "Disabled";
/// Reason of [`ACCEPTED`]: the object could not be understood; it is not in use.
pub const REASON_INVALID: &str = "Invalid";
/// Reason of [`ACCEPTED`]: `onInjectFailure: Deny` in a namespace that is not labelled
/// `picket.dev/enforce: "true"`: nothing refuses there.
pub const REASON_DENY_NOT_BACKED: &str = "DenyNotBacked";

/// Condition: everything that the policy wants is seen.
pub const COVERED: &str = "Covered";
/// Reason of [`COVERED`]: all pods that it wins are injected, traced and heard.
pub const REASON_COVERED: &str = "Covered";
/// Reason of [`COVERED`]: no pod that runs is selected, so nothing is missing.
pub const REASON_NO_PODS: &str = "NoPods";
/// Reason of [`COVERED`]: pods are starting; nothing is known to be wrong.
pub const REASON_PROGRESSING: &str = "Progressing";
/// Reason of [`COVERED`]: something is not seen; the message says what.
pub const REASON_GAPS: &str = "Gaps";
/// Reason of [`ACCEPTED`] on a RuleSet: in use, but for what its status lists as errors.
pub const REASON_PARTLY_ACCEPTED: &str = "PartlyAccepted";
/// Reason of [`ACCEPTED`] on a RuleSet: the ConfigMap that it names does not exist.
pub const REASON_CONFIG_MAP_MISSING: &str = "ConfigMapMissing";

/// Condition of a policy: every rule set that it names exists and is in use.
pub const RULE_SETS_RESOLVED: &str = "RuleSetsResolved";
/// Reason of [`RULE_SETS_RESOLVED`]: so it is.
pub const REASON_RESOLVED: &str = "Resolved";
/// Reason of [`RULE_SETS_RESOLVED`]: one does not exist.
pub const REASON_RULE_SET_MISSING: &str = "RuleSetMissing";
/// Reason of [`RULE_SETS_RESOLVED`]: one has errors; what is right in it is in use.
pub const REASON_RULE_SET_FAULTY: &str = "RuleSetFaulty";
/// Reason of [`RULE_SETS_RESOLVED`]: agents have no relay to get rule sets from.
pub const REASON_RELAY_OFF: &str = "RelayOff";

/// Condition of a policy: API servers reach the webhook, as a pod that was created for trial shows.
pub const WEBHOOK_REACHABLE: &str = "WebhookReachable";
/// Reason of [`WEBHOOK_REACHABLE`]: the webhook was asked about the pod.
pub const REASON_ANSWERED: &str = "Answered";
/// Reason of [`WEBHOOK_REACHABLE`] and [`READY`]: it was not.
pub const REASON_WEBHOOK_UNREACHABLE: &str = "WebhookUnreachable";
/// Reason of [`WEBHOOK_REACHABLE`] and [`READY`]: injection is switched off for the whole cluster
/// (`injection.enabled: false`).
pub const REASON_INJECTION_SWITCHED_OFF: &str = "InjectionSwitchedOff";
/// Reason of [`WEBHOOK_REACHABLE`] and [`READY`]: the policy has no namespace in which anything is
/// injected.
pub const REASON_NO_NAMESPACE: &str = "NoNamespace";
/// Reason of [`WEBHOOK_REACHABLE`] and [`READY`]: nothing is tried (`preflight.enabled: false`).
pub const REASON_PREFLIGHT_OFF: &str = "PreflightOff";
/// Reason of [`WEBHOOK_REACHABLE`] and [`READY`]: not all of it has been tried yet.
pub const REASON_TRYING: &str = "Trying";
/// Reason of [`WEBHOOK_REACHABLE`] and [`READY`]: it cannot be told, for the API server does not
/// answer, or refuses the question.
pub const REASON_UNTOLD: &str = "Untold";

/// Condition of a policy: a new pod that it selects would be protected and would start, as far as
/// can be told before there is one.
pub const READY: &str = "Ready";
/// Reason of [`READY`]: so it is.
pub const REASON_READY: &str = "Ready";
/// Reason of [`READY`]: the sidecar image cannot be pulled.
pub const REASON_SIDECAR_IMAGE_UNPULLABLE: &str = "SidecarImageUnpullable";
/// Reason of [`READY`]: the namespace would refuse the injected pod, and takes it as it is.
pub const REASON_INJECTION_WOULD_BE_REFUSED: &str = "InjectionWouldBeRefused";
/// Reason of [`READY`]: the webhook would leave the pod alone.
pub const REASON_WOULD_BE_LEFT_ALONE: &str = "WouldBeLeftAlone";
/// Reason of [`READY`]: the namespace refuses the pod of the trial with and without Picket.
pub const REASON_TRIAL_REFUSED: &str = "TrialRefused";

/// Condition of a policy: injection is suspended for a workload that it wins, because injected pods
/// of it did not start.
pub const INJECTION_SUSPENDED: &str = "InjectionSuspended";
/// Reason of [`INJECTION_SUSPENDED`]: so it is; the message names workload and cause.
pub const REASON_INJECTION_SUSPENDED: &str = "InjectionSuspended";
/// Reason of [`INJECTION_SUSPENDED`]: for none.
pub const REASON_NONE_SUSPENDED: &str = "NoneSuspended";
