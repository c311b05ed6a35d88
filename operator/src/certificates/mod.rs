//! The webhook's own certificates: a self-made authority, a short-lived
//! serving certificate, and their rotation.
//!
//! Instead, cert-manager or the user may keep the Secret ([`Given`]): then it is only read.
//!
//! Everything here but [`keeper`] and [`follower`] is pure: the clock is handed in, nothing
//! reads a file or a socket. One Secret holds the whole [`Bundle`], so that
//! every replica serves the same certificate and any of them can carry on with
//! the rotation.
//!
//! A change of authority takes four steps, so that no API server ever meets a
//! certificate that it does not trust yet:
//!
//! 1. a new authority is stored beside the old one; the serving certificate
//!    stays;
//! 2. both authorities are published in the webhook configuration's
//!    `caBundle`;
//! 3. once that was observed and API servers had time to notice, the serving
//!    certificate is issued by the new authority;
//! 4. a day later the old authority is dropped.

mod bundle;
pub mod follower;
mod generate;
mod given;
pub mod keeper;
pub(crate) mod kept;
mod rotation;
mod serving;

pub use bundle::{Bundle, BundleError, Facts, PrivateKey, SKEW, ServerNames};
pub use given::{Given, Unaccepted, overlap};
pub use rotation::{
    AUTHORITY_RENEW_BEFORE, AUTHORITY_VALIDITY, DROP_PREVIOUS_AFTER, LEAF_RENEW_BEFORE,
    LEAF_VALIDITY, PUBLICATION_GRACE, Step, next_step, take,
};
pub use serving::{Served, ServingCertificate};
