//! Pods whose containers leave it to their image what runs.

mod common;

use std::sync::Arc;

use picket_crds::{OnEntrypointFailure, Resolve};
use picket_webhook::entrypoint::{Cause, ImageConfig, Images, Platform, Unresolved, Wanted};
use picket_webhook::plan::uninjected;
use picket_webhook::status::{ArgvSource, Status};
use picket_webhook::{Context, Plan, Policy, Reason, plan};
use serde_json::{Value, json};

const DIGEST: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn pod() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {"containers": [
            {"name": "web", "image": "registry.example/web:1", "args": ["--listen", "$(PORT)"]},
            {"name": "same", "image": "registry.example/web:1"},
            {"name": "own", "image": "registry.example/web:1", "command": ["/own"]},
        ]},
    })
}

fn wanted(architecture: &str) -> Wanted {
    Wanted {
        image: "registry.example/web:1".into(),
        platform: Platform::linux(architecture),
    }
}

fn images() -> Images {
    let config = ImageConfig {
        digest: DIGEST.into(),
        entrypoint: vec!["entry".into(), "$HOME".into()],
        cmd: vec!["serve".into()],
        user: Some("64738:0".into()),
        working_dir: Some("/srv".into()),
        stop_signal: Some("SIGQUIT".into()),
        path: Some("/opt/bin:/bin".into()),
    };
    Images::from_iter([(wanted("amd64"), Ok(Arc::new(config)))])
}

fn planned(pod: &Value, policy: Policy, images: &Images) -> Plan {
    let settings = common::settings();
    let policies = [Arc::new(policy)];
    let context = Context {
        namespace: "shop",
        facts: picket_webhook::Namespace::UNKNOWN,
        policies: &policies,
        settings: &settings,
        workload: None,
        fargate: None,
        suspension: None,
        images,
    };
    plan(pod, &context)
}

fn pinning() -> Policy {
    let mut policy = common::everything("shop");
    policy.spec.entrypoint.pin_digest = true;
    policy
}

#[test]
fn the_planner_names_what_it_has_to_know() {
    let first = planned(&pod(), common::everything("shop"), Images::NONE);
    assert_eq!(first.report.wanted, [wanted("amd64")], "once per image");
    assert_eq!(first.report.reason, Reason::PartlyInjected);

    let mut arm = pod();
    arm["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"});
    let first = planned(&arm, common::everything("shop"), Images::NONE);
    assert_eq!(first.report.wanted, [wanted("arm64")]);

    let mut policy = common::everything("shop");
    policy.spec.entrypoint.resolve = Resolve::SpecOnly;
    assert_eq!(planned(&pod(), policy, Images::NONE).report.wanted, []);
}

#[test]
fn with_the_answer_every_container_is_traced() {
    let plan = planned(&pod(), common::everything("shop"), &images());
    assert_eq!(plan.report.reason, Reason::Injected);
    assert_eq!(plan.report.wanted, []);
    let injected = common::apply(&pod(), &plan);
    let args = |index: usize| &injected["spec"]["containers"][index]["args"];
    assert_eq!(*args(0), json!(["entry", "$$HOME", "--listen", "$(PORT)"]));
    assert_eq!(*args(1), json!(["entry", "$$HOME", "serve"]));
    assert_eq!(*args(2), json!(["/own"]));
    let added = plan.report.added.expect("added");
    assert_eq!(
        added.uid, 64739,
        "the image runs as the uid that we would take"
    );
    let explained = planned(&pod(), common::everything("shop"), &images())
        .report
        .to_string();
    assert!(
        explained.contains(
            "user 64738:0, working directory /srv, stop signal SIGQUIT, PATH /opt/bin:/bin"
        ),
        "{explained}"
    );
    // The container keeps its user and working directory: those of the image.
    assert_eq!(injected["spec"]["containers"][0]["workingDir"], Value::Null);
    assert_eq!(
        injected["spec"]["containers"][0]["image"],
        "registry.example/web:1"
    );
}

#[test]
fn a_pinned_image_is_pinned_once_and_given_back() {
    let plan = planned(&pod(), pinning(), &images());
    let injected = common::apply(&pod(), &plan);
    let image = |index: usize| &injected["spec"]["containers"][index]["image"];
    assert_eq!(*image(0), json!(format!("registry.example/web:1@{DIGEST}")));
    assert_eq!(
        *image(2),
        "registry.example/web:1",
        "nothing was looked up for it"
    );
    let status = Status::of(&injected).expect("status");
    assert_eq!(
        status.container("web").unwrap().argv_source,
        Some(ArgvSource::Image)
    );
    assert_eq!(
        status.container("web").unwrap().image.as_deref(),
        Some(DIGEST)
    );

    let again = planned(&injected, pinning(), &images());
    assert_eq!(again.operations, []);
    assert_eq!(again.report.reason, Reason::Current);
    assert_eq!(uninjected(&injected), Some(pod()));
    // A policy that no longer pins takes the digest off again.
    let unpinned = planned(&injected, common::everything("shop"), &images());
    let unpinned = common::apply(&injected, &unpinned);
    assert_eq!(
        unpinned["spec"]["containers"][0]["image"],
        "registry.example/web:1"
    );
}

#[test]
fn a_forged_pin_changes_no_image() {
    let injected = common::apply(&pod(), &planned(&pod(), pinning(), &images()));
    let mut forged = injected.clone();
    forged["spec"]["containers"][0]["image"] = json!("registry.example/other:2");
    let back = uninjected(&forged).expect("ours is in it");
    assert_eq!(
        back["spec"]["containers"][0]["image"],
        "registry.example/other:2"
    );
}

#[test]
fn a_manifest_that_was_injected_before_keeps_what_was_looked_up() {
    let injected = common::apply(
        &pod(),
        &planned(&pod(), common::everything("shop"), &images()),
    );
    let down = Unresolved::new(Cause::Unreachable, "registry.example: no such host");
    let down = Images::from_iter([(wanted("amd64"), Err(down))]);
    let later = planned(&injected, common::everything("shop"), &down);
    let after = common::apply(&injected, &later);
    for index in 0..3 {
        for field in ["command", "args"] {
            assert_eq!(
                after["spec"]["containers"][index][field],
                injected["spec"]["containers"][index][field]
            );
        }
    }
    assert_eq!(uninjected(&after), Some(pod()));
}

#[test]
fn what_cannot_be_found_out_is_said_and_refused_where_the_policy_wants() {
    let failure = Unresolved::new(
        Cause::Unauthorized,
        "tried secret shop/pull, anonymous access",
    );
    let failed = Images::from_iter([(wanted("amd64"), Err(failure))]);
    let mut pod = pod();
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .truncate(1);
    let plan = planned(&pod, common::everything("shop"), &failed);
    assert_eq!(plan.report.reason, Reason::EntrypointUnresolved);
    assert!(!plan.report.wants_refusal());
    let summary = plan.report.summary();
    assert!(
        summary.contains("container web: registry.example/web:1: Unauthorized: "),
        "{summary}"
    );
    assert!(
        summary.contains("tried secret shop/pull, anonymous access"),
        "{summary}"
    );

    let mut policy = common::everything("shop");
    policy.spec.entrypoint.on_failure = OnEntrypointFailure::Deny;
    assert!(planned(&pod, policy, &failed).report.wants_refusal());
}
