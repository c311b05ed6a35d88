//! The handlers, as the API server talks to them.

mod common;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_crds::OnInjectFailure;
use picket_webhook::admission::{
    AdmissionState, Decided, Metrics, Readiness, Recorder, health_router, router,
};
use picket_webhook::{PolicyStore, Reason};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::ServiceExt;

#[derive(Default)]
struct Seen(Mutex<Vec<Decided>>);

impl Recorder for Seen {
    fn record(&self, decided: &Decided) {
        self.0.lock().unwrap().push(decided.clone());
    }
}

struct Webhook {
    router: Router,
    health: Router,
    store: PolicyStore,
    seen: Arc<Seen>,
}

fn webhook() -> Webhook {
    let store = PolicyStore::new();
    store.replace([common::everything("shop")]);
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let seen = Arc::new(Seen::default());
    let state = AdmissionState::new(store.clone(), Arc::new(common::settings()), metrics)
        .with_recorder(seen.clone());
    let synced = store.clone();
    let ready: Readiness = Arc::new(move || {
        if synced.is_synced() {
            Ok(())
        } else {
            Err("policies are not loaded yet".into())
        }
    });
    Webhook {
        router: router(state),
        health: health_router(Arc::new(registry), ready),
        store,
        seen,
    }
}

fn pod(command: Option<&str>) -> Value {
    let mut container = json!({"name": "web", "image": "registry.example/web:1", "securityContext": {"allowPrivilegeEscalation": false}});
    if let Some(command) = command {
        container["command"] = json!([command]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-"}, "spec": {"containers": [container]}})
}

fn review(object: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "admin"},
            "object": object,
            "dryRun": false,
        },
    })
}

async fn call(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn post(webhook: &Webhook, path: &str, body: impl Into<Body>) -> (StatusCode, String) {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap();
    call(&webhook.router, request).await
}

async fn get(router: &Router, path: &str) -> (StatusCode, String) {
    call(router, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn ask(webhook: &Webhook, path: &str, review: &Value) -> Value {
    let (status, body) = post(webhook, path, review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    answer["response"].clone()
}

#[tokio::test]
async fn a_pod_comes_back_with_a_patch() {
    let webhook = webhook();
    let object = pod(Some("/bin/web"));
    let response = ask(&webhook, "/mutate", &review(object.clone())).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD
        .decode(response["patch"].as_str().unwrap())
        .unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut injected = object;
    json_patch::patch(&mut injected, &patch).unwrap();
    assert_eq!(
        injected["spec"]["initContainers"][0]["name"],
        "picket-setup"
    );
    assert_eq!(
        injected["spec"]["containers"][0]["args"],
        json!(["/bin/web"])
    );
    assert_eq!(
        response["auditAnnotations"],
        json!({"outcome": "Injected", "reason": "Injected", "policy": "shop/protect"})
    );
    assert_eq!(response["warnings"], Value::Null);

    let again = ask(&webhook, "/mutate", &review(injected)).await;
    assert_eq!(again["patch"], Value::Null);
    assert_eq!(again["auditAnnotations"]["reason"], "Current");
}

/// The pod after the answer's patch, and what the webhook wrote of the trial, if anything.
async fn tried(webhook: &Webhook, trial: &str, dry_run: bool, object: &Value) -> (Value, Value) {
    let mut object = object.clone();
    object["metadata"]["annotations"]["picket.dev/trial"] = json!(trial);
    let mut review = review(object.clone());
    review["request"]["dryRun"] = json!(dry_run);
    let response = ask(webhook, "/mutate/enforce", &review).await;
    assert_eq!(response["allowed"], true, "{response}");
    if let Some(patch) = response["patch"].as_str() {
        let patch: json_patch::Patch =
            serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    let outcome = object["metadata"]["annotations"]["picket.dev/trial-outcome"].as_str();
    let outcome = outcome.map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    (object, outcome)
}

#[tokio::test]
async fn a_trial_shows_what_one_policy_would_do_and_only_on_a_dry_run() {
    let webhook = webhook();
    let mut chosen = common::everything("shop");
    chosen.name = "chosen".into();
    chosen.spec.compute_type = picket_crds::ComputeType::Fargate;
    chosen.spec.containers.include = vec!["other".into()];
    chosen.spec.on_inject_failure = OnInjectFailure::Deny;
    chosen.spec.pod_selector.match_labels = [("app".into(), "web".into())].into();
    webhook.store.replace([common::everything("shop"), chosen]);
    let plain = pod(Some("/bin/web"));

    // Neither the selector nor the choice of containers nor another policy keeps it out.
    let (injected, outcome) = tried(&webhook, "shop/chosen", true, &plain).await;
    assert_eq!(outcome["reason"], "Injected", "{outcome}");
    let status = injected["metadata"]["annotations"]["picket.dev/status"].as_str();
    assert!(status.is_some_and(|status| status.contains("shop/chosen")));
    // The API server asks again; nothing more is done.
    let (again, outcome) = tried(&webhook, "shop/chosen", true, &injected).await;
    assert_eq!(outcome["reason"], "Current", "{outcome}");
    assert_eq!(again["spec"], injected["spec"]);

    let (bare, outcome) = tried(&webhook, "none", true, &plain).await;
    assert_eq!(outcome["reason"], "TrialLeftBare");
    assert_eq!(bare["spec"], plain["spec"]);
    let (_, outcome) = tried(&webhook, "shop/unknown", true, &plain).await;
    assert_eq!(outcome["reason"], "NotSelected");
    // What would be refused is told instead.
    let (_, outcome) = tried(&webhook, "shop/chosen", true, &pod(None)).await;
    assert_eq!(outcome["reason"], "EntrypointUnresolved");

    // A pod that is stored is injected like any other, whatever it says of itself.
    let (stored, outcome) = tried(&webhook, "none", false, &plain).await;
    assert_eq!(outcome, Value::Null);
    assert_eq!(stored["spec"]["initContainers"][0]["name"], "picket-setup");
}

#[tokio::test]
async fn a_pod_that_cannot_be_planned_is_let_in_with_the_reason() {
    let webhook = webhook();
    for object in [pod(None), json!({"spec": 7}), Value::Null] {
        for path in ["/mutate", "/mutate/enforce"] {
            let response = ask(&webhook, path, &review(object.clone())).await;
            assert_eq!(response["allowed"], true);
            assert_eq!(response["patch"], Value::Null);
            let warning = response["warnings"][0].as_str().unwrap();
            assert!(
                warning.starts_with("picket: EntrypointUnresolved")
                    || warning.starts_with("picket: Malformed"),
                "{warning}"
            );
        }
    }
}

#[tokio::test]
async fn warnings_go_to_people_only() {
    let webhook = webhook();
    let mut object = pod(None);
    object["metadata"]["ownerReferences"] =
        json!([{"kind": "ReplicaSet", "name": "web-1", "controller": true}]);
    let response = ask(&webhook, "/mutate", &review(object)).await;
    assert_eq!(response["warnings"], Value::Null);
    let seen = webhook.seen.0.lock().unwrap();
    assert_eq!(seen[0].report.reason, Reason::EntrypointUnresolved);
    assert_eq!(seen[0].controller.as_ref().unwrap()["name"], "web-1");
    assert_eq!(
        (seen[0].namespace.as_str(), seen[0].name.as_str()),
        ("shop", "web-")
    );
}

#[tokio::test]
async fn only_the_enforce_entry_refuses() {
    let webhook = webhook();
    let mut strict = common::everything("shop");
    strict.spec.on_inject_failure = OnInjectFailure::Deny;
    webhook.store.replace([strict]);
    let allowed = ask(&webhook, "/mutate", &review(pod(None))).await;
    assert_eq!(allowed["allowed"], true);
    let refused = ask(&webhook, "/mutate/enforce", &review(pod(None))).await;
    assert_eq!(refused["allowed"], false);
    assert_eq!(refused["status"]["code"], 403);
    assert!(
        refused["status"]["message"]
            .as_str()
            .unwrap()
            .contains("EntrypointUnresolved")
    );
    assert_eq!(refused["patch"], Value::Null);
    let injected = ask(&webhook, "/mutate/enforce", &review(pod(Some("/bin/web")))).await;
    assert_eq!(injected["allowed"], true);
}

#[tokio::test]
async fn other_requests_pass() {
    let webhook = webhook();
    for (field, value) in [
        ("operation", json!("UPDATE")),
        ("subResource", json!("ephemeralcontainers")),
        (
            "kind",
            json!({"group": "apps", "version": "v1", "kind": "Deployment"}),
        ),
        ("namespace", json!("blog")),
        ("namespace", json!("kube-system")),
    ] {
        let mut review = review(pod(Some("/bin/web")));
        review["request"][field] = value.clone();
        let response = ask(&webhook, "/mutate", &review).await;
        assert_eq!(
            (&response["allowed"], &response["patch"]),
            (&json!(true), &Value::Null),
            "{field} {value}"
        );
        assert_eq!(response["auditAnnotations"]["outcome"], "Skipped");
    }
}

#[tokio::test]
async fn a_dry_run_is_answered_and_not_recorded() {
    let webhook = webhook();
    let mut review = review(pod(Some("/bin/web")));
    review["request"]["dryRun"] = true.into();
    let response = ask(&webhook, "/mutate", &review).await;
    assert!(response["patch"].is_string());
    assert!(webhook.seen.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_malformed_review_gets_400_with_the_path() {
    let webhook = webhook();
    let mut broken = review(pod(None));
    broken["request"]["kind"]["kind"] = json!(["Pod"]);
    let (status, body) = post(&webhook, "/mutate", broken.to_string()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["path"], "request.kind.kind");
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("expected a string")
    );

    for body in ["", "{", "null", "{\"apiVersion\":1}"] {
        let (status, _) = post(&webhook, "/mutate", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(
        post(&webhook, "/mutate", deep).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_huge_request_is_refused() {
    let webhook = webhook();
    let (status, _) = post(&webhook, "/mutate", vec![b' '; 8 << 20]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn nothing_is_answered_before_the_policies_are_loaded() {
    let store = PolicyStore::new();
    let metrics = Metrics::new(&mut Registry::default());
    let state = AdmissionState::new(store.clone(), Arc::new(common::settings()), metrics);
    let webhook = Webhook {
        router: router(state),
        health: Router::new(),
        store,
        seen: Arc::default(),
    };
    let (status, _) = post(&webhook, "/mutate", review(pod(None)).to_string()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    webhook.store.replace([]);
    let (status, _) = post(&webhook, "/mutate", review(pod(None)).to_string()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn health_and_metrics() {
    let webhook = webhook();
    assert_eq!(
        get(&webhook.health, "/healthz").await,
        (StatusCode::OK, "ok".into())
    );
    assert_eq!(
        get(&webhook.health, "/readyz").await,
        (StatusCode::OK, "ok".into())
    );
    ask(&webhook, "/mutate", &review(pod(Some("/bin/web")))).await;
    ask(&webhook, "/mutate", &review(pod(None))).await;
    post(&webhook, "/mutate", "{").await;
    let (status, text) = get(&webhook.health, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "picket_admission_decisions_total{entry=\"ignore\",outcome=\"Injected\",reason=\"Injected\",allowed=\"true\"} 1",
        "picket_admission_decisions_total{entry=\"ignore\",outcome=\"Failed\",reason=\"EntrypointUnresolved\",allowed=\"true\"} 1",
        "picket_admission_rejections_total{cause=\"Malformed\"} 1",
        "picket_admission_duration_seconds_count 2",
        "picket_admission_in_flight 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn not_ready_says_why() {
    let ready: Readiness = Arc::new(|| Err("policies are not loaded yet".into()));
    let health = health_router(Arc::new(Registry::default()), ready);
    assert_eq!(
        get(&health, "/readyz").await,
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "policies are not loaded yet".into()
        )
    );
}
