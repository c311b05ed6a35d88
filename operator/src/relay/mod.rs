//! The relay: through it agents fetch rules and orders, and send heartbeats and findings.
//!
//! Only the replica that leads answers; the others say 503.
//!
//! * [`heartbeats`]: what each pod said last.
//! * [`orders`]: what the operator wants of each pod.
//! * [`authentication`]: whose word a request is; [`limits`]: how much it may be.
//! * [`handlers`], [`listener`]: what is answered, over TLS; [`endpoint`]: where agents find it.
//! * [`findings`]: where findings go.
//! * [`start`](mod@start): the whole put together.

pub mod authentication;
pub mod endpoint;
pub mod findings;
pub mod handlers;
pub mod heartbeats;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod orders;
pub mod start;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::pods::{PodFacts, Pods};
use authentication::Authenticator;
use findings::{Intake, Ring};
use heartbeats::Heartbeats;
use limits::Limits;
use metrics::RelayMetrics;
use orders::Board;

/// Most batches of findings that are read at a time: bounds memory to some dozen MiB.
const BATCHES: usize = 16;
/// Most people who read findings at a time.
const READERS: usize = 64;
/// How often pods that are gone are forgotten.
const SWEEP: Duration = Duration::from_secs(30);

/// The rules of pods.
pub trait Bundles: Send + Sync + 'static {
    /// The hash of the bundle that this pod is to evaluate; empty for the built-in rules, `None`
    /// while that is not known.
    fn assign(&self, pod: &PodFacts) -> Option<String>;

    /// The bytes of a bundle.
    fn bytes(&self, hash: &str) -> Option<Bytes>;
}

/// Built-in rules for everybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltIn;

impl Bundles for BuiltIn {
    fn assign(&self, _: &PodFacts) -> Option<String> {
        Some(String::new())
    }

    fn bytes(&self, _: &str) -> Option<Bytes> {
        None
    }
}

/// What the handlers share.
pub struct Relay {
    authenticator: Authenticator,
    heartbeats: Heartbeats,
    board: Board,
    bundles: Arc<dyn Bundles>,
    intake: Intake,
    ring: Ring,
    requests: Limits,
    findings: Limits,
    batches: Semaphore,
    readers: Arc<Semaphore>,
    metrics: RelayMetrics,
    leading: watch::Receiver<bool>,
}

/// What a relay is made of.
pub struct RelayParts {
    /// Who may speak.
    pub authenticator: Authenticator,
    /// Where heartbeats go.
    pub heartbeats: Heartbeats,
    /// Where orders come from.
    pub board: Board,
    /// Where rules come from.
    pub bundles: Arc<dyn Bundles>,
    /// Where findings go.
    pub intake: Intake,
    /// What people read.
    pub ring: Ring,
    /// Counts.
    pub metrics: RelayMetrics,
    /// Whether this replica leads.
    pub leading: watch::Receiver<bool>,
}

impl Relay {
    /// A relay of these parts.
    #[must_use]
    pub fn new(parts: RelayParts) -> Self {
        Self {
            authenticator: parts.authenticator,
            heartbeats: parts.heartbeats,
            board: parts.board,
            bundles: parts.bundles,
            intake: parts.intake,
            ring: parts.ring,
            requests: Limits::new(limits::REQUESTS),
            findings: Limits::new(limits::FINDINGS),
            batches: Semaphore::new(BATCHES),
            readers: Arc::new(Semaphore::new(READERS)),
            metrics: parts.metrics,
            leading: parts.leading,
        }
    }

    fn leads(&self) -> bool {
        *self.leading.borrow()
    }

    /// Forgets pods that are gone, for ever.
    pub async fn sweep(self: Arc<Self>, pods: Pods) {
        let mut turns = interval(SWEEP);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if !pods.is_synced() {
                continue;
            }
            let live: HashSet<Arc<str>> =
                pods.all().iter().map(|pod| Arc::clone(&pod.uid)).collect();
            let lives = |uid: &str| live.contains(uid);
            self.heartbeats.retain(lives);
            self.board.retain(lives);
            self.requests.retain(lives);
            self.findings.retain(lives);
            self.intake.forget(lives);
        }
    }
}
