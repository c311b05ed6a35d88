//! Reviews of pods whose images have to be asked for.

use super::*;

/// A webhook that asks this resolver, with a policy for every pod of `shop`.
fn webhook(resolver: Resolver) -> axum::Router {
    let store = PolicyStore::new();
    store.replace([common::everything("shop")]);
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let settings = Arc::new(common::settings());
    router(AdmissionState::new(store, settings, metrics).with_resolver(resolver))
}

async fn post(webhook: axum::Router, container: serde_json::Value) -> serde_json::Value {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "shop",
            "operation": "CREATE",
            "object": {"metadata": {"name": "web"}, "spec": {"containers": [container]}},
        },
    });
    let request = axum::http::Request::post("/mutate")
        .body(axum::body::Body::from(review.to_string()))
        .unwrap();
    let response = webhook.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn pods_that_wait_for_registries_do_not_keep_others_waiting() {
    let server = Server::start(ALLOWED, |_| {
        Reply::status(404).after(Duration::from_secs(60))
    })
    .await;
    let options = Options {
        patience: Duration::from_secs(30),
        ..Options::default()
    };
    let webhook = webhook(Resolver::new(http(&[&server], all_names()), options));
    let image = image(&server);
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(post(
                webhook.clone(),
                json!({"name": "web", "image": &image}),
            ))
        })
        .collect();
    while server.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let other = post(
        webhook,
        json!({"name": "web", "image": "x", "command": ["/web"]}),
    )
    .await;
    assert!(other["response"]["patch"].is_string(), "{other}");
    assert!(
        waiting.iter().all(|task| !task.is_finished()),
        "the others still wait"
    );
}

#[tokio::test]
async fn a_review_is_answered_with_what_the_registry_says() {
    let content = web();
    let server = Server::start(ALLOWED, move |seen| content.reply(seen)).await;
    let webhook = webhook(resolver(&[&server], Options::default()));
    let answer = post(
        webhook,
        json!({"name": "web", "image": image(&server), "args": ["-v"]}),
    )
    .await;
    let patch = STANDARD
        .decode(answer["response"]["patch"].as_str().unwrap())
        .unwrap();
    let patch: serde_json::Value = serde_json::from_slice(&patch).unwrap();
    let args = patch
        .as_array()
        .unwrap()
        .iter()
        .find(|operation| operation["path"] == "/spec/containers/0/args");
    assert_eq!(args.unwrap()["value"], json!(["/entry", "-v"]));
}
