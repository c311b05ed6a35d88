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
