//! A mock of scheduler and kubelet: it binds every pod of a namespace to a node of its own, as
//! Fargate does, and reports that its containers run, or why not. Nothing is run, and no node
//! exists. Tests of real containers are in [`crate::containers`].

mod status;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

pub use status::{Ailment, Fault, Patient};

use super::ControlPlane;

/// Plays kubelet for the pods of a namespace until it is dropped.
pub struct Kubelet {
    faults: watch::Sender<Vec<Fault>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Kubelet {
    /// Starts it for one namespace; every pod becomes Running and Ready.
    ///
    /// # Panics
    /// When it cannot talk to the API server.
    #[must_use]
    pub fn start(control_plane: &ControlPlane, namespace: &str) -> Self {
        Self::of(control_plane, Some(namespace.to_owned()))
    }

    /// Starts it for all pods of the cluster.
    ///
    /// # Panics
    /// When it cannot talk to the API server.
    #[must_use]
    pub fn of_all(control_plane: &ControlPlane) -> Self {
        Self::of(control_plane, None)
    }

    fn of(control_plane: &ControlPlane, namespace: Option<String>) -> Self {
        let kubeconfig = control_plane.kubeconfig("admin");
        let (faults, ailing) = watch::channel(Vec::new());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime");
            runtime.block_on(async move {
                let client = client(&kubeconfig).await;
                run(client, namespace, ailing).await;
            });
        });
        Self {
            faults,
            thread: Some(thread),
        }
    }

    /// From now on these containers fail, and all others run. Pods that are there already are
    /// looked at again, as kubelet tries again.
    pub fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.send_replace(faults.into_iter().collect());
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // The thread ends when nobody can send faults any more.
        self.faults = watch::channel(Vec::new()).0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A client with the rights of a kubeconfig.
///
/// # Panics
/// When the file is not one, or leads nowhere.
pub async fn client(kubeconfig: &std::path::Path) -> Client {
    // Another part of the test process may have installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    let configuration = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .expect("configuration");
    Client::try_from(configuration).expect("client")
}

/// How many pods are attended to at once.
const AT_ONCE: usize = 32;

async fn run(client: Client, namespace: Option<String>, mut faults: watch::Receiver<Vec<Fault>>) {
    let api: Api<Pod> = match &namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    let turn = Arc::new(Semaphore::new(AT_ONCE));
    // A pod's spec and the faults decide what is written, so a late write is put right by the
    // change that it is.
    let attend_soon = |pod: &Pod, faults: Vec<Fault>| {
        let (client, pod, turn) = (client.clone(), pod.clone(), Arc::clone(&turn));
        tokio::spawn(async move {
            let _turn = turn.acquire().await;
            attend(&client, &pod, &faults).await;
        });
    };
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::Apply(pod) | Event::InitApply(pod))) => {
                    attend_soon(&pod, faults.borrow().clone());
                    pods.insert(key(&pod), pod);
                }
                Some(Ok(Event::Delete(pod))) => {
                    pods.remove(&key(&pod));
                }
                // An API server that restarts is what some tests are about.
                Some(Ok(Event::Init | Event::InitDone) | Err(_)) => {}
                None => return,
            },
            changed = faults.changed() => {
                if changed.is_err() {
                    return;
                }
                let ailing = faults.borrow_and_update().clone();
                pods.values().for_each(|pod| attend_soon(pod, ailing.clone()));
            }
        }
    }
}

fn key(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Does for a pod what is next. What fails is done again at the pod's next change.
async fn attend(client: &Client, pod: &Pod, faults: &[Fault]) {
    let namespace = pod.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        let now = DeleteParams::default().grace_period(0);
        let uid = pod.metadata.uid.clone();
        let _ = pods
            .delete(
                &name,
                &now.preconditions(kube::api::Preconditions {
                    uid,
                    resource_version: None,
                }),
            )
            .await;
        return;
    }
    let raw = serde_json::to_value(pod).expect("a pod is JSON");
    if let Some(words) = status::refused(&raw, faults) {
        refuse(client, pod, &namespace, words).await;
        return;
    }
    if raw["spec"]["nodeName"].is_null() {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": format!("fargate-{name}")},
        });
        let _: Result<Value, _> = pods
            .create_subresource("binding", &name, &PostParams::default(), &binding)
            .await;
    }
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    let wanted = status::of(&raw, faults, &now);
    if status::is_reported(&raw["status"], &wanted) {
        return;
    }
    let patch = json!({"status": wanted});
    let _ = pods
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
}

/// Says what fargate-scheduler says of a pod that it will never run.
async fn refuse(client: &Client, pod: &Pod, namespace: &str, words: &str) {
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(client.clone(), namespace);
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        // One for each pod: a second is refused, for it exists already.
        "metadata": {"name": format!("{}.fargate", pod.name_any()), "namespace": namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod.name_any(),
            "namespace": namespace,
            "uid": pod.metadata.uid,
        },
        "type": "Warning",
        "reason": "FailedScheduling",
        "message": format!("Pod not supported on Fargate: {words}"),
        "source": {"component": "fargate-scheduler"},
    });
    let event = serde_json::from_value(event).expect("an event");
    let _ = events.create(&PostParams::default(), &event).await;
}
