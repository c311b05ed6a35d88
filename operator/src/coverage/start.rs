//! Puts coverage, rollout and quarantine together: what they share, and what each needs.

use std::sync::Arc;

use futures::future::BoxFuture;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::{Coverage, Gauges};
use crate::arguments::Arguments;
use crate::pods::Pods;
use crate::policies::{Namespaces, Policies, View};
use crate::quarantine::Quarantine;
use crate::relay::heartbeats::Heartbeats;
use crate::relay::orders::Board;
use crate::rollout::{Notes, Rollout, Suspend};
use crate::suspensions::Suspensions;

/// What they look at, and the board on which orders are put.
pub struct Watched {
    /// All pods.
    pub pods: Pods,
    /// All policies.
    pub policies: View<Policies>,
    /// Labels of all namespaces.
    pub namespaces: View<Namespaces>,
    /// What agents said last.
    pub heartbeats: Heartbeats,
    /// What agents are told.
    pub board: Board,
    /// For which workloads injection is suspended.
    pub suspensions: Suspensions,
    /// How rollout suspends it.
    pub suspend: Suspend,
}

/// Parts that run for ever, with their names.
pub type Parts = Vec<(&'static str, BoxFuture<'static, ()>)>;

/// The parts. Rollout is only among them where it is wanted.
pub fn parts(
    client: &Client,
    arguments: &Arguments,
    watched: Watched,
    leading: &watch::Receiver<bool>,
    registry: &mut Registry,
) -> Parts {
    // Looked at when the process started; what cannot be read did not let it start.
    let canaries = arguments.canaries().unwrap_or_default();
    // A change of any of them makes restarts worth trying again.
    let revisions: Vec<&str> = std::iter::once(arguments.revision.as_str())
        .chain(canaries.iter().map(|canary| canary.revision.as_str()))
        .collect();
    let revisions = revisions.join("+");
    let (built, built_seen) = watch::channel(Arc::default());
    let (notes, rollouts) = watch::channel(Notes::default());
    let coverage = Coverage {
        client: client.clone(),
        installation: arguments.installation(client),
        identity: arguments.identity.clone(),
        pods: watched.pods.clone(),
        owners: watched.suspensions.owners().clone(),
        policies: watched.policies.clone(),
        namespaces: watched.namespaces,
        heartbeats: watched.heartbeats,
        suspended: watched.suspensions.why(),
        suspensions: watched.suspensions.changes(),
        revision: arguments.revision.clone(),
        canaries,
        excluded: arguments.excluded_namespaces(),
        rollouts,
        gauges: Gauges::new(registry),
        built,
    };
    let quarantine = Quarantine {
        client: client.clone(),
        identity: arguments.identity.clone(),
        pods: watched.pods.clone(),
        board: watched.board,
        changes_pods: arguments.quarantine,
    };
    let mut parts: Parts = vec![
        ("coverage", Box::pin(coverage.run(leading.clone()))),
        ("quarantine", Box::pin(quarantine.run(leading.clone()))),
    ];
    if arguments.rollout {
        let rollout = Rollout {
            client: client.clone(),
            identity: arguments.identity.clone(),
            policies: watched.policies,
            built: built_seen,
            pods: watched.pods,
            owners: watched.suspensions.owners().clone(),
            revision: revisions,
            suspend: watched.suspend,
            notes,
        };
        parts.push(("rollout", Box::pin(rollout.run(leading.clone()))));
    }
    parts
}
