//! When which certificate is replaced: pure decisions by wall clock.

use std::time::{Duration, SystemTime};

use super::bundle::{Bundle, BundleError, Facts, ServerNames};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an authority is valid.
pub const AUTHORITY_VALIDITY: Duration = Duration::from_secs(365 * DAY.as_secs());
/// How long before its end an authority is replaced. Far longer than a serving
/// certificate lives, so that none outlives its authority.
pub const AUTHORITY_RENEW_BEFORE: Duration = Duration::from_secs(60 * DAY.as_secs());
/// How long a serving certificate is valid.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(14 * DAY.as_secs());
/// How long before its end a serving certificate is replaced: a week in which
/// the control plane may be down.
pub const LEAF_RENEW_BEFORE: Duration = Duration::from_secs(7 * DAY.as_secs());
/// How long API servers get, after a new authority was published, before they
/// meet a certificate that it signed: their caches lag.
pub const PUBLICATION_GRACE: Duration = Duration::from_secs(5 * 60);
/// How long the previous authority stays trusted after the last certificate
/// that it signed was replaced.
pub const DROP_PREVIOUS_AFTER: Duration = DAY;

/// The next change to the stored bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is usable: make everything anew.
    Create,
    /// Make a new authority and keep the old one as previous.
    NewAuthority,
    /// Issue a serving certificate.
    NewLeaf,
    /// Drop the previous authority.
    DropPrevious,
    /// Nothing to do before this time.
    Wait(SystemTime),
}

/// Decides what to do with the stored bundle.
///
/// `stored` is `None` if there is none or if it cannot be read. `published`
/// says whether the webhook configuration was seen to hold the bundle's
/// [trust](Bundle::trust); `grace` is [`PUBLICATION_GRACE`], or what takes its place.
#[must_use]
pub fn next_step(
    stored: Option<&Facts>,
    wanted: &ServerNames,
    (published, grace): (bool, Duration),
    now: SystemTime,
) -> Step {
    let Some(facts) = stored else {
        return Step::Create;
    };
    if now >= facts.authority_expires {
        // Nobody can trust anything of it any more.
        return Step::Create;
    }
    let leaf_useless = now >= facts.leaf_expires || !facts.leaf_trusted;
    // While another authority is being published, whoever calls by a name that stays would not trust it yet.
    let renamed = facts.leaf_names != *wanted && facts.leaf_signed_by_authority;
    if leaf_useless || renamed {
        // Callers are refusing us already, or would once they use the new
        // name: nothing is gained by waiting.
        return Step::NewLeaf;
    }
    let renew_authority = facts.authority_expires - AUTHORITY_RENEW_BEFORE;
    if now >= renew_authority {
        return Step::NewAuthority;
    }
    if !facts.leaf_signed_by_authority {
        let trusted_everywhere = facts.authority_made + grace;
        if published && now >= trusted_everywhere {
            return Step::NewLeaf;
        }
        return Step::Wait(trusted_everywhere.max(now + grace));
    }
    let renew_leaf = facts.leaf_expires - LEAF_RENEW_BEFORE;
    if now >= renew_leaf {
        return Step::NewLeaf;
    }
    let mut next = renew_leaf.min(renew_authority);
    if facts.has_previous_authority {
        let drop_previous = facts.leaf_made + DROP_PREVIOUS_AFTER;
        if now >= drop_previous {
            return Step::DropPrevious;
        }
        next = next.min(drop_previous);
    }
    Step::Wait(next)
}

/// Applies a step to the stored bundle; `None` if nothing changes.
///
/// # Errors
/// [`BundleError`] if a certificate cannot be made.
pub fn take(
    step: Step,
    stored: Option<&Bundle>,
    names: &ServerNames,
    now: SystemTime,
) -> Result<Option<Bundle>, BundleError> {
    let changed = match (step, stored) {
        (Step::Wait(_), _) => return Ok(None),
        (Step::Create, _) | (_, None) => Bundle::generate(names, now)?,
        (Step::NewAuthority, Some(bundle)) => bundle.with_new_authority(now)?,
        (Step::NewLeaf, Some(bundle)) => bundle.with_new_leaf(names, now)?,
        (Step::DropPrevious, Some(bundle)) => bundle.without_previous_authority(),
    };
    Ok(Some(changed))
}
