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
