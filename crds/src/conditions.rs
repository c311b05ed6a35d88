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
