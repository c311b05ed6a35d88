//! Whatever arrives at the webhook: an answer or a named fault, never a crash; and what is
//! answered can be applied and is then settled.
//!
//! `cargo +nightly fuzz run admission_review fuzz/found/admission_review fuzz/corpus/admission_review`

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use picket_webhook::admission::Entry;
use picket_webhook::admission::review::Request;
use picket_webhook::admission::service::{Known, answer, answer_exec};
use picket_webhook::entrypoint::Images;
use picket_webhook::inject::catch_all;
use picket_webhook::plan::plan_exec;
use picket_webhook::sessions::{RunningContainer, RunningPod, SigningKeys};
use picket_webhook::{Context, Namespace, Outcome, Policy, Reason, Settings, plan};
use serde_json::json;

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| Settings::new("picket:1", "1"));
static POLICIES: LazyLock<[Arc<Policy>; 1]> = LazyLock::new(|| {
    let mut policy = catch_all("shop");
    policy.spec.coverage.exec_probes = true;
    policy.spec.coverage.lifecycle_hooks = true;
    policy.spec.coverage.ephemeral_containers = true;
    policy.spec.coverage.exec = true;
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

/// The pod that every command is for.
static POD: LazyLock<RunningPod> = LazyLock::new(|| RunningPod {
    uid: "7".into(),
    containers: ["web", "picket-agent"]
        .map(|name| RunningContainer {
            name: name.into(),
            main: name == "web",
            holds_tracer: true,
        })
        .to_vec(),
    session_keys: KEYS.public(),
    ..RunningPod::default()
});
static KEYS: LazyLock<SigningKeys> = LazyLock::new(|| {
    let key = SigningKeys::generate().expect("a key");
    SigningKeys::from_pkcs8([key.as_slice()]).expect("a key")
});

/// A command is always let in, and runs behind our tracer and unchanged otherwise, or as it was.
fn check_command(body: &[u8]) {
    let Ok(mut request) = Request::parse(body) else { return };
    let user = request.take_user();
    let issue = |pod: &RunningPod, container: &str| KEYS.issue(pod, container, &user, 1);
    let (response, decided) =
        answer_exec(&request, &user, Some(&POD), &issue, Entry::Ignore, &known()).expect("answered");
    assert!(response.allowed);
    assert_eq!(response.patch.is_some(), decided.report.reason == Reason::ExecTraced);
    let context = Context {
        namespace: "shop",
        facts: &FACTS,
        policies: &*POLICIES,
        settings: &SETTINGS,
        workload: None,
        fargate: None,
        suspension: None,
        images: Images::NONE,
    };
    let plan = plan_exec(&request.object, Some(&POD), &issue, &context);
    let mut options = request.object;
    let before = options.clone();
    json_patch::patch(&mut options, &plan.operations).expect("the patch applies");
    if plan.operations.is_empty() {
        return;
    }
    let command = options["command"].as_array().expect("words").clone();
    assert_eq!(command[1], "exec-session");
    let own = before["command"].as_array().expect("words");
    assert!(own.ends_with(&command[9..]), "other words than the caller's");
    options["command"] = before["command"].clone();
    assert_eq!(options, before);
}

fn known() -> Known<'static> {
    Known {
        policies: &*POLICIES,
        facts: &FACTS,
        settings: &SETTINGS,
        images: Images::NONE,
        suspension: None,
    }
}

fuzz_target!(|body: &[u8]| {
    check_command(body);
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
        suspension: None,
        images: Images::NONE,
    };
    // What nobody looks at may be no text at all: serde passes over it unread.
    let Ok(whole) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    let mut pod = whole["request"]["object"].clone();
    let first = plan(&pod, &context);
    assert_eq!(plan(&request.object, &context), first, "what was left out mattered");
    json_patch::patch(&mut pod, &first.operations).expect("the patch applies");
    let again = plan(&pod, &context);
    assert!(again.operations.is_empty(), "twice is not once");
    assert!(first.operations.is_empty() || first.report.outcome() == Outcome::Injected);
});
