//! Pods that are created without pause, to see that none is refused and none comes back bare while
//! something changes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::kubelet::client;
use super::{ControlPlane, eventually, objects};

/// How many faults are kept in words.
const TOLD: usize = 5;

/// Creates pods as dry runs, several at a time, until it is ended.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    admitted: AtomicUsize,
    failed: AtomicUsize,
    faults: Mutex<Vec<String>>,
    image: Mutex<String>,
}

/// What became of the pods.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many were admitted, injected.
    pub admitted: usize,
    /// How many were not.
    pub failed: usize,
    /// What happened to the first of those.
    pub faults: Vec<String>,
}

impl Load {
    /// Starts it in a namespace whose pods are injected.
    #[must_use]
    pub fn start(control_plane: &ControlPlane, namespace: &str, at_once: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let kubeconfig = control_plane.kubeconfig("admin");
        let threads = (0..at_once)
            .map(|_| {
                let (shared, kubeconfig) = (Arc::clone(&shared), kubeconfig.clone());
                let namespace = namespace.to_owned();
                std::thread::spawn(move || {
                    tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("runtime")
                        .block_on(shared.create(&kubeconfig, &namespace));
                })
            })
            .collect();
        Self { shared, threads }
    }

    /// How many pods were admitted so far.
    #[must_use]
    pub fn admitted(&self) -> usize {
        self.shared.admitted.load(Ordering::Relaxed)
    }

    /// Waits until so many more are.
    ///
    /// # Panics
    /// When nothing is admitted any more.
    pub fn go_on(&self, more: usize) {
        let wanted = self.admitted() + more;
        while self.admitted() < wanted {
            let before = self.admitted();
            eventually("another pod is admitted", || {
                (self.admitted() > before).then_some(())
            });
        }
    }

    /// The image of the agent in the pod that was admitted last.
    #[must_use]
    pub fn image(&self) -> String {
        let image = &self.shared.image;
        image.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it.
    ///
    /// # Panics
    /// When one of its threads did.
    #[must_use]
    pub fn end(self) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a thread of the load");
        }
        let faults = &self.shared.faults;
        Outcome {
            admitted: self.shared.admitted.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            faults: faults
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

impl Shared {
    async fn create(&self, kubeconfig: &Path, namespace: &str) {
        let pods: Api<Pod> = Api::namespaced(client(kubeconfig).await, namespace);
        let mut pod = objects::pod(namespace, "load");
        pod["metadata"] = json!({"generateName": "load-", "namespace": namespace});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let parameters = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        while !self.stop.load(Ordering::Relaxed) {
            let fault = match pods.create(&parameters, &pod).await {
                Ok(pod) => match agent(&pod) {
                    Some(image) => {
                        *self.image.lock().unwrap_or_else(PoisonError::into_inner) = image;
                        self.admitted.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    None => "it came back bare".to_owned(),
                },
                Err(error) => error.to_string(),
            };
            self.failed.fetch_add(1, Ordering::Relaxed);
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            if faults.len() < TOLD {
                faults.push(fault);
            }
        }
    }
}

fn agent(pod: &Pod) -> Option<String> {
    let containers = pod.spec.as_ref()?.init_containers.as_ref()?;
    let agent = containers.iter().find(|one| one.name == "picket-agent")?;
    agent.image.clone()
}
