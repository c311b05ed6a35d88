//! Who writes: leader election over a `coordination.k8s.io` Lease.
//!
//! Every replica serves the webhook; only the holder of the Lease writes to
//! the API server. As in client-go, a candidate takes over when the Lease has
//! not changed for its whole duration by the candidate's *own* clock, so
//! replicas whose clocks differ do not steal from each other. All writes carry
//! the resource version that was read: of two candidates only one succeeds.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use crate::installation::{Installation, InstallationError};

/// How long a holder that stopped renewing is still believed.
pub const DURATION: Duration = Duration::from_secs(15);
/// How long a holder that cannot renew goes on leading. Less than
/// [`DURATION`], so that two never lead at once.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two looks at the Lease.
pub const INTERVAL: Duration = Duration::from_secs(3);
/// A request that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// What a candidate does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is no Lease: create it.
    Create,
    /// Nobody holds it, or its holder is gone: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Somebody else holds it.
    Wait,
}

/// Decides a candidate's turn. `unchanged_for` is how long this candidate has
/// seen the Lease as it is.
#[must_use]
pub fn turn(lease: Option<&LeaseSpec>, identity: &str, unchanged_for: Duration) -> Turn {
    let Some(lease) = lease else {
        return Turn::Create;
    };
    let duration = lease
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(DURATION, Duration::from_secs);
    match lease.holder_identity.as_deref() {
        None | Some("") => Turn::Take,
        Some(holder) if holder == identity => Turn::Renew,
        Some(_) if unchanged_for >= duration => Turn::Take,
        Some(_) => Turn::Wait,
    }
}

/// The Lease's content after a turn.
#[must_use]
pub fn after(turn: Turn, before: Option<&LeaseSpec>, identity: &str, now: Timestamp) -> LeaseSpec {
    let before = before.cloned().unwrap_or_default();
    let taken = turn != Turn::Renew;
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        renew_time: Some(MicroTime(now)),
        acquire_time: if taken {
            Some(MicroTime(now))
        } else {
            before.acquire_time.clone()
        },
        lease_transitions: match turn {
            Turn::Create => Some(0),
            Turn::Take => Some(before.lease_transitions.unwrap_or(0).saturating_add(1)),
            Turn::Renew | Turn::Wait => before.lease_transitions,
        },
        ..before
    }
}

/// Why a look at the Lease failed; the candidate tries again.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error(transparent)]
    Request(#[from] kube::Error),
    #[error(transparent)]
    Installation(#[from] InstallationError),
    #[error("no answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

/// A replica that wants to lead.
pub struct Candidate {
    leases: Api<Lease>,
    installation: Option<Installation>,
    name: String,
    identity: String,
    leading: watch::Sender<bool>,
    observed: Option<LeaseSpec>,
    observed_since: Instant,
    renewed_at: Instant,
}

impl Candidate {
    /// A candidate for the Lease `name` under a unique `identity`, and whether
    /// it leads, from now on.
    pub fn new(leases: Api<Lease>, name: &str, identity: &str) -> (Self, watch::Receiver<bool>) {
        let (leading, receiver) = watch::channel(false);
        let now = Instant::now();
        let candidate = Self {
            leases,
            installation: None,
            name: name.to_owned(),
            identity: identity.to_owned(),
            leading,
            observed: None,
            observed_since: now,
            renewed_at: now,
        };
        (candidate, receiver)
    }

    /// The same for a Lease that goes with an installation.
    #[must_use]
    pub fn of(self, installation: Installation) -> Self {
        Self {
            installation: Some(installation),
            ..self
        }
    }

    /// Campaigns until `stop` becomes true, then gives the Lease up so that
    /// another replica need not wait for it.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let deadline = self.renewed_at + RENEW_DEADLINE;
            let leads = *self.leading.borrow();
            let turn = if leads {
                // A request that hangs must not keep us in the lead.
                match timeout_at(deadline, self.take_turn()).await {
                    Ok(turn) => turn,
                    Err(elapsed) => Err(elapsed.into()),
                }
            } else {
                self.take_turn().await
            };
            match turn {
                Ok(leads) => self.set_leading(leads),
                Err(error) => {
                    warn!(lease = %self.name, %error, "cannot reach the lease");
                    if Instant::now() >= deadline {
                        self.set_leading(false);
                    }
                }
            }
            let mut next = Instant::now() + INTERVAL;
            if *self.leading.borrow() {
                next = next.min(self.renewed_at + RENEW_DEADLINE);
            }
            tokio::select! {
                () = sleep_until(next) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        if let Err(error) = self.release().await {
            warn!(lease = %self.name, %error, "cannot release the lease; it will run out");
        }
        self.set_leading(false);
    }

    fn set_leading(&self, leads: bool) {
        let changed = self.leading.send_if_modified(|leading| {
            let changed = *leading != leads;
            *leading = leads;
            changed
        });
        if changed {
            info!(lease = %self.name, identity = %self.identity, leads, "leadership changed");
        }
    }

    /// Looks at the Lease, acts, and says whether this candidate leads.
    async fn take_turn(&mut self) -> Result<bool, LeaseError> {
        // The duration counts from before the request, not after its answer.
        let started = Instant::now();
        let lease = timeout(REQUEST_TIMEOUT, self.leases.get_opt(&self.name)).await??;
        let spec = lease
            .as_ref()
            .map(|lease| lease.spec.clone().unwrap_or_default());
        if spec != self.observed {
            self.observed.clone_from(&spec);
            self.observed_since = started;
        }
        let turn = turn(spec.as_ref(), &self.identity, self.observed_since.elapsed());
        if turn == Turn::Wait {
            return Ok(false);
        }
        let wanted = after(turn, spec.as_ref(), &self.identity, Timestamp::now());
        if !self.write(lease, wanted).await? {
            return Ok(false);
        }
        self.renewed_at = started;
        Ok(true)
    }

    /// Writes the Lease; false if another candidate was faster.
    async fn write(&self, before: Option<Lease>, spec: LeaseSpec) -> Result<bool, LeaseError> {
        let parameters = PostParams::default();
        let written = match before {
            None => {
                let owner = match &self.installation {
                    Some(installation) => installation.of_namespace().await?,
                    None => None,
                };
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        owner_references: owner.map(|owner| vec![owner]),
                        ..ObjectMeta::default()
                    },
                    spec: Some(spec),
                };
                timeout(REQUEST_TIMEOUT, self.leases.create(&parameters, &lease)).await?
            }
            Some(before) => {
                let lease = Lease {
                    spec: Some(spec),
                    ..before
                };
                let replace = self.leases.replace(&self.name, &parameters, &lease);
                timeout(REQUEST_TIMEOUT, replace).await?
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn release(&self) -> Result<(), LeaseError> {
        if !*self.leading.borrow() {
            return Ok(());
        }
        let lease = timeout(REQUEST_TIMEOUT, self.leases.get_opt(&self.name)).await??;
        let Some(lease) = lease else { return Ok(()) };
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() == Some(&self.identity) {
            let released = LeaseSpec {
                holder_identity: None,
                ..spec
            };
            self.write(Some(lease), released).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: Option<&str>, seconds: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(4),
            acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn turns() {
        let seconds = Duration::from_secs;
        let cases = [
            ("no lease", None, 0, Turn::Create),
            ("ours", Some(held_by(Some("a"), 15)), 0, Turn::Renew),
            (
                "ours, long unchanged",
                Some(held_by(Some("a"), 15)),
                99,
                Turn::Renew,
            ),
            ("another's", Some(held_by(Some("b"), 15)), 14, Turn::Wait),
            (
                "another's, run out",
                Some(held_by(Some("b"), 15)),
                15,
                Turn::Take,
            ),
            (
                "another's, longer",
                Some(held_by(Some("b"), 60)),
                59,
                Turn::Wait,
            ),
            ("released", Some(held_by(None, 15)), 0, Turn::Take),
            (
                "released by emptying",
                Some(held_by(Some(""), 15)),
                0,
                Turn::Take,
            ),
            (
                "nonsense duration",
                Some(held_by(Some("b"), -1)),
                14,
                Turn::Wait,
            ),
        ];
        for (name, lease, unchanged, expected) in cases {
            assert_eq!(
                turn(lease.as_ref(), "a", seconds(unchanged)),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_take_over_is_counted_and_a_renewal_is_not() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000);
        let before = held_by(Some("b"), 15);

        let taken = after(Turn::Take, Some(&before), "a", now);
        assert_eq!(taken.holder_identity.as_deref(), Some("a"));
        assert_eq!(taken.lease_transitions, Some(5));
        assert_eq!(taken.acquire_time, Some(MicroTime(now)));

        let renewed = after(Turn::Renew, Some(&taken), "a", now + Duration::from_secs(3));
        assert_eq!(renewed.lease_transitions, Some(5));
        assert_eq!(renewed.acquire_time, Some(MicroTime(now)));
        assert_eq!(
            renewed.renew_time,
            Some(MicroTime(now + Duration::from_secs(3)))
        );

        let created = after(Turn::Create, None, "a", now);
        assert_eq!(created.lease_transitions, Some(0));
        assert_eq!(created.lease_duration_seconds, Some(15));
    }
}
