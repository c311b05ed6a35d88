//! A mock of metrics-server: the resource metrics API (`metrics.k8s.io`) behind the real API
//! server's aggregation layer. It measures nothing: tests say what pods use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::objects::metrics_api;
use super::served::{Answer, Served, own_address, serve_at};
use super::{ControlPlane, eventually};

/// CPU that the containers of pods use, in thousandths of a core: namespace, pod, container.
type Usage = BTreeMap<String, BTreeMap<String, BTreeMap<String, u32>>>;

/// The metrics API of a control plane.
pub struct MetricsApi {
    usage: Arc<Mutex<Usage>>,
}

impl MetricsApi {
    /// The metrics API of [`ControlPlane::with_controllers`], which has one for all tests.
    ///
    /// # Panics
    /// When the API server does not take it up.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MetricsApi> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(ControlPlane::with_controllers()))
    }

    /// Starts it and waits until the API server passes requests on to it.
    fn start(control_plane: &ControlPlane) -> Self {
        let usage = Arc::new(Mutex::new(Usage::new()));
        let reported = Arc::clone(&usage);
        let address = own_address();
        let Served { port, certificate } = serve_at(&address, move |request| {
            let path = request.target.split('?').next().unwrap_or_default();
            let usage = reported.lock().unwrap_or_else(PoisonError::into_inner);
            match answer(path, &usage) {
                Some(body) => Answer {
                    status: "200 OK",
                    body: body.to_string(),
                },
                None => Answer {
                    status: "404 Not Found",
                    body: "{}".to_owned(),
                },
            }
        });
        let kubectl = control_plane.kubectl();
        // An API server takes its aggregated servers from Services; this one leads to a port of
        // this machine.
        let metadata = json!({
            "name": "metrics",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "metrics"},
        });
        let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
        for object in [
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"ports": ports},
            }),
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
            }),
        ] {
            kubectl.apply(&object, false);
        }
        let service = json!({"name": "metrics", "namespace": "kube-system", "port": port});
        let trust = json!(ByteString(certificate.into_bytes()));
        kubectl.apply(&metrics_api(&service, ("caBundle", trust)), false);
        eventually("the API server serves metrics", || {
            let list = ["get", "--raw", &path_of("default")];
            kubectl.run(&list, "").success.then_some(())
        });
        Self { usage }
    }

    /// From now on these are the pods of a namespace and what their containers use, in
    /// thousandths of a core.
    pub fn report(&self, namespace: &str, pods: &[(&str, &[(&str, u32)])]) {
        let owned = |(name, containers): &(&str, &[(&str, u32)])| {
            let containers = containers.iter().map(|(c, cpu)| ((*c).to_owned(), *cpu));
            ((*name).to_owned(), containers.collect())
        };
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.insert(namespace.to_owned(), pods.iter().map(owned).collect());
    }
}

const ROOT: &str = "/apis/metrics.k8s.io/v1beta1";

fn path_of(namespace: &str) -> String {
    format!("{ROOT}/namespaces/{namespace}/pods")
}

fn answer(path: &str, usage: &Usage) -> Option<Value> {
    if path == ROOT {
        return Some(json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": "metrics.k8s.io/v1beta1",
            "resources": [{
                "name": "pods",
                "singularName": "",
                "namespaced": true,
                "kind": "PodMetrics",
                "verbs": ["get", "list"],
            }],
        }));
    }
    let namespace = path
        .strip_prefix(&format!("{ROOT}/namespaces/"))?
        .strip_suffix("/pods")?;
    // Whatever labels are asked for: a test reports the pods of one workload.
    let pods = usage.get(namespace).into_iter().flatten();
    let items: Vec<Value> = pods
        .map(|(pod, containers)| {
            let containers: Vec<Value> = containers
                .iter()
                .map(|(name, cpu)| {
                    json!({"name": name, "usage": {"cpu": format!("{cpu}m"), "memory": "10Mi"}})
                })
                .collect();
            json!({
                "metadata": {"name": pod, "namespace": namespace},
                "timestamp": Timestamp::now().to_string(),
                "window": "1s",
                "containers": containers,
            })
        })
        .collect();
    Some(json!({
        "kind": "PodMetricsList",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": items,
    }))
}
