//! The sidecar's engine: takes what tracers tell, keeps the process trees, evaluates rules,
//! reports findings.

pub mod accounts;
pub mod context;
pub mod identity;
pub mod scrub;
pub mod tree;
