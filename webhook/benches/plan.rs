//! What planning a pod takes, and the parts of it that every review needs.
//!
//! `cargo bench -p picket-webhook`. The pod is one of a Deployment with two containers; the
//! policies are those of a cluster with some teams, one of which selects it.

use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use picket_crds::{ComputeType, ProtectionPolicySpec};
use picket_webhook::capacity::Need;
use picket_webhook::entrypoint::Images;
use picket_webhook::suspension::fingerprint;
use picket_webhook::{Context, Namespace, Policy, Reason, Scope, Settings, plan};
use serde_json::{Value, json};

/// Counts allocations besides.
#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

fn settings() -> Settings {
    let image = format!("registry.example/picket-sidecar@sha256:{}", "0".repeat(64));
    Settings::new(image, "1")
}

fn policy(namespace: &str) -> Policy {
    Policy {
        scope: Scope::Namespace(namespace.to_owned()),
        name: "protect".to_owned(),
        created: Some(0),
        spec: ProtectionPolicySpec {
            compute_type: ComputeType::Any,
            ..ProtectionPolicySpec::default()
        },
    }
}

fn pod() -> Value {
    let environment: Vec<Value> = (0..24)
        .map(|number| json!({"name": format!("SETTING_{number}"), "value": "https://service.shop.svc:8443/path"}))
        .collect();
    let container = |name: &str| {
        json!({
            "name": name,
            "image": format!("registry.example/shop/{name}:1.27.3"),
            "command": [format!("/usr/local/bin/{name}")],
            "args": ["--config", "/etc/shop/config.yaml", "--listen", ":8080"],
            "env": environment,
            "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/shop", "readOnly": true}],
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "web-7d4b9c6f5-",
            "labels": {"app": "web", "pod-template-hash": "7d4b9c6f5", "eks.amazonaws.com/fargate-profile": "shop"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4b9c6f5", "uid": "f0a1", "controller": true}],
        },
        "spec": {
            "volumes": [{"name": "config", "configMap": {"name": "web"}}],
            "containers": [container("web"), container("proxy")],
            "restartPolicy": "Always",
        },
    })
}

#[divan::bench]
fn a_whole_plan(bencher: Bencher<'_, '_>) {
    let others = (0..50).map(|number| policy(&format!("namespace-{number}")));
    let policies: Vec<Arc<Policy>> = others.chain([policy("shop")]).map(Arc::new).collect();
    let (settings, facts, pod) = (settings(), Namespace::default(), pod());
    let context = Context {
        namespace: "shop",
        facts: &facts,
        policies: &policies,
        settings: &settings,
        workload: None,
        fargate: None,
        suspension: None,
        images: Images::NONE,
    };
    assert_eq!(plan(&pod, &context).report.reason, Reason::Injected);
    bencher.bench_local(|| plan(black_box(&pod), &context));
}

#[divan::bench]
fn the_fingerprint(bencher: Bencher<'_, '_>) {
    let (settings, policy) = (settings(), policy("shop"));
    bencher.bench_local(|| fingerprint(black_box(&settings), black_box(&policy)));
}

#[divan::bench]
fn the_need(bencher: Bencher<'_, '_>) {
    let pod = pod();
    bencher.bench_local(|| Need::of(black_box(&pod)));
}
