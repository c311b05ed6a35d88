//! Whatever arrives at the webhook: an answer or a named fault, never a crash; and what is
//! answered can be applied and is then settled.
//!
//! `cargo +nightly fuzz run admission_review fuzz/corpus/admission_review fuzz/seeds/admission_review`

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use picket_webhook::admission::Entry;
use picket_webhook::admission::review::Request;
use picket_webhook::admission::service::{Known, answer};
use picket_webhook::entrypoint::Images;
use picket_webhook::inject::catch_all;
use picket_webhook::{Context, Namespace, Outcome, Policy, Settings, plan};
use serde_json::json;

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| Settings::new("picket:1", "1"));
static POLICIES: LazyLock<[Arc<Policy>; 1]> = LazyLock::new(|| {
    let mut policy = catch_all("shop");
    policy.spec.coverage.exec_probes = true;
    policy.spec.coverage.lifecycle_hooks = true;
    policy.spec.coverage.ephemeral_containers = true;
    [Arc::new(policy)]
});

/// A namespace that bounds what pods may ask for.
static FACTS: LazyLock<Namespace> = LazyLock::new(|| Namespace {
    limit_ranges: vec![json!({"spec": {"limits": [
        {"type": "Container", "min": {"memory": "80Mi"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "10"}},
        {"type": "Pod", "max": {"memory": "8Gi"}},
    ]}})],
    quotas: vec![json!({"spec": {"hard": {"limits.cpu": "9", "requests.memory": "9Gi"}, "scopes": ["NotTerminating"]}})],
    ..Namespace::named("shop")
});

fn known() -> Known<'static> {
    Known {
        policies: &*POLICIES,
        facts: &FACTS,
        settings: &SETTINGS,
        images: Images::NONE,
    }
}

fuzz_target!(|body: &[u8]| {
    for entry in [Entry::Ignore, Entry::Enforce] {
        let Ok(request) = Request::parse(body) else { return };
        if let Ok((response, _)) = answer(&request, entry, &known()) {
            assert!(entry == Entry::Enforce || response.allowed);
        }
    }
    let Ok(request) = Request::parse(body) else { return };
    let context = Context {
        namespace: "shop",
        facts: &FACTS,
        policies: &*POLICIES,
        settings: &SETTINGS,
        workload: None,
        fargate: None,
        images: Images::NONE,
    };
    let mut pod = request.object;
    let first = plan(&pod, &context);
    json_patch::patch(&mut pod, &first.operations).expect("the patch applies");
    let again = plan(&pod, &context);
    assert!(again.operations.is_empty(), "twice is not once");
    assert!(first.operations.is_empty() || first.report.outcome() == Outcome::Injected);
});
