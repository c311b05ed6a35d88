//! What is tried, and when: whatever is new at once, the rest again every few minutes, and all of it
//! at a rate that does not grow with the cluster.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::pull::Pull;
use super::trial::Finding;

/// How often what is well is tried again.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// How often what is not well is tried again.
const AGAIN_AFTER_FAULT: Duration = Duration::from_secs(30);
/// How soon a webhook that has not heard of a policy is asked again.
const AGAIN_SOON: Duration = Duration::from_secs(1);
/// How many trials a second there may be on the average when nothing changes, so that the times
/// above grow with what there is to try.
const PER_SECOND: u32 = 2;
/// How many trials are made at once; as many may be made each second after a change.
pub(super) const AT_ONCE: usize = 8;

/// What is tried: a policy in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    /// The policy's key.
    pub(super) policy: String,
    /// The namespace.
    pub(super) namespace: String,
}

/// What the last trial of a pair showed.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    /// Of what it was: policy, image and labels of the namespace. Another one is tried at once.
    pub(super) fingerprint: String,
    /// When.
    pub(super) at: Instant,
    /// What came out.
    pub(super) finding: Finding,
    /// Whether the sidecar image can be had.
    pub(super) pull: Pull,
}

/// All pairs that should be tried, with their fingerprints.
pub(super) type Wanted = BTreeMap<Pair, String>;

/// What was tried.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<Pair, Tried>);

impl Memory {
    /// What is known of a pair as it is now.
    pub(super) fn of(&self, pair: &Pair, fingerprint: &str) -> Option<&Tried> {
        let tried = self.0.get(pair)?;
        let counts = tried.fingerprint == fingerprint && tried.finding != Finding::NotKnownYet;
        counts.then_some(tried)
    }

    /// Remembers a trial.
    pub(super) fn keep(&mut self, pair: Pair, tried: Tried) {
        self.0.insert(pair, tried);
    }

    /// Forgets what is no longer wanted.
    pub(super) fn forget_all_but(&mut self, wanted: &Wanted) {
        self.0.retain(|pair, _| wanted.contains_key(pair));
    }

    /// The pairs that are due, those that were never tried as they are first; and how long until
    /// the next one is, when none is.
    pub(super) fn due(&self, wanted: &Wanted, now: Instant) -> Result<Vec<Pair>, Duration> {
        let pairs = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let mut next = AGAIN;
        let mut due: Vec<(bool, Option<Instant>, &Pair)> = Vec::new();
        for (pair, fingerprint) in wanted {
            let tried = self.0.get(pair);
            let Some(tried) = tried.filter(|tried| tried.fingerprint == *fingerprint) else {
                due.push((false, tried.map(|tried| tried.at), pair));
                continue;
            };
            let wait = match (&tried.finding, &tried.pull) {
                (Finding::NotKnownYet, _) => AGAIN_SOON,
                (Finding::Admitted, Pull::Works(_) | Pull::Unknown(_)) => AGAIN,
                _ => AGAIN_AFTER_FAULT,
            };
            let wait = match wait {
                AGAIN_SOON => wait,
                wait => wait.max(Duration::from_secs((pairs / PER_SECOND).into())),
            };
            let left = (tried.at + wait).saturating_duration_since(now);
            if left.is_zero() {
                due.push((true, Some(tried.at), pair));
            } else {
                next = next.min(left);
            }
        }
        if due.is_empty() {
            return Err(next);
        }
        due.sort();
        let first = due.into_iter().take(AT_ONCE);
        Ok(first.map(|(_, _, pair)| pair.clone()).collect())
    }
}
