//! All pods of the cluster, each as a few facts, in every replica.
//!
//! * [`Pods`]: the facts, found by uid, by name and by owner, and what changed since when.
//! * [`PodFacts`]: what is kept of a pod; everything else is dropped while it is read.
//! * [`Owners`]: the workloads that they belong to.
//! * [`follow_pods`]: keeps them current.

mod cache;
mod facts;
pub mod fargate;
mod owners;
#[cfg(test)]
mod tests;
mod wire;

use std::pin::pin;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tracing::{info, warn};

pub use cache::{Changed, Pods};
pub use facts::{ContainerFacts, ContainerKind, ContainerState, Ending, Owner, Phase, PodFacts};
pub use owners::Owners;
pub use wire::WatchedPod;

/// Pods that are read at once while all of them are listed: one of 4 KiB each is common.
const PAGE: u32 = 250;

/// Follows all pods for ever. Errors are logged and retried with growing delays; what was seen
/// last stays.
pub async fn follow_pods(client: Client, pods: Pods) {
    let api: Api<WatchedPod> = Api::all(client);
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = pin!(watcher::watcher(api, config).default_backoff());
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = Vec::new(),
            Ok(Event::InitApply(pod)) => listed.push(PodFacts::of(&pod)),
            Ok(Event::InitDone) => {
                info!(pods = listed.len(), "pods listed");
                pods.replace(std::mem::take(&mut listed));
            }
            Ok(Event::Apply(pod)) => pods.put(PodFacts::of(&pod)),
            Ok(Event::Delete(pod)) => pods.remove(pod.metadata.uid.as_deref().unwrap_or_default()),
            Err(error) => warn!(what = "pods", %error, "watch failed, trying again"),
        }
    }
}
