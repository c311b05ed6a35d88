//! Writing the status of policies against an API server that only notes what
//! is written, by a clock that the tests move.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use picket_crds::ProtectionPolicy;
use picket_operator::policies::{Namespaces, Policies};
use picket_operator::status::{FIELD_MANAGER, StatusWriter};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

/// Long enough for anything that is due at once, short of a retry.
const SOON: Duration = Duration::from_secs(1);
/// Longer than the time before a retry.
const LATER: Duration = Duration::from_secs(10);

/// What was asked of the API server, and how it answers.
#[derive(Default)]
struct Server {
    /// Applied bodies by path and query.
    written: Vec<(String, Value)>,
    /// Status codes for policies whose writing fails.
    failing: BTreeMap<&'static str, StatusCode>,
}

struct World {
    server: Arc<Mutex<Server>>,
    policies: watch::Sender<Option<Arc<Policies>>>,
    namespaces: watch::Sender<Option<Arc<Namespaces>>>,
    leading: watch::Sender<bool>,
}

impl World {
    fn start() -> Self {
        let server = Arc::new(Mutex::new(Server::default()));
        let (policies, policies_seen) = watch::channel(None);
        let (namespaces, namespaces_seen) = watch::channel(None);
        let (leading, leads) = watch::channel(false);
        let writer = StatusWriter::new(client(&server), vec!["picket-system".to_owned()]);
        tokio::spawn(writer.run(policies_seen, namespaces_seen, leads));
        Self {
            server,
            policies,
            namespaces,
            leading,
        }
    }

    fn see(&self, policies: &[ProtectionPolicy]) {
        let policies = Policies {
            valid: policies.to_vec(),
            cluster: Vec::new(),
            invalid: Vec::new(),
        };
        self.policies.send_replace(Some(Arc::new(policies)));
        self.namespaces.send_replace(Some(Arc::default()));
    }

    /// Names of the policies that were written since the last call.
    fn written(&self) -> Vec<String> {
        let mut server = self.server.lock().expect("server");
        let written = std::mem::take(&mut server.written);
        written
            .iter()
            .map(|(_, body)| body["metadata"]["name"].to_string().replace('"', ""))
            .collect()
    }

    fn fail(&self, policy: &'static str, code: StatusCode) {
        let mut server = self.server.lock().expect("server");
        server.failing.insert(policy, code);
    }

    fn mend(&self) {
        self.server.lock().expect("server").failing.clear();
    }
}

fn client(server: &Arc<Mutex<Server>>) -> Client {
    let server = Arc::clone(server);
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            let (parts, body) = request.into_parts();
            assert_eq!(parts.method, Method::PATCH, "{}", parts.uri);
            let body: Value = serde_json::from_slice(&body.collect_bytes().await?)?;
            let mut server = server.lock().expect("server");
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            let code = server.failing.get(name).copied().unwrap_or(StatusCode::OK);
            let answer = if code == StatusCode::OK {
                server.written.push((parts.uri.to_string(), body.clone()));
                body
            } else {
                json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": "", "message": ""})
            };
            let mut response = Response::new(Body::from(serde_json::to_vec(&answer)?));
            *response.status_mut() = code;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(response)
        }
    });
    Client::new(service, "default")
}

fn policy(name: &str) -> ProtectionPolicy {
    let mut policy = ProtectionPolicy::new(name, Default::default());
    policy.metadata.namespace = Some(format!("{name}-namespace"));
    policy.metadata.generation = Some(1);
    policy
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes() {
    let world = World::start();
    world.see(&[policy("a")]);
    sleep(LATER).await;
    assert_eq!(world.written(), [""; 0]);
    world.leading.send_replace(true);
    sleep(SOON).await;
    assert_eq!(world.written(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_applied_to_the_subresource_as_our_own() {
    let world = World::start();
    world.leading.send_replace(true);
    world.see(&[policy("a")]);
    sleep(SOON).await;
    let server = world.server.lock().expect("server");
    let [(uri, body)] = server.written.as_slice() else {
        panic!("{:?}", server.written);
    };
    assert!(
        uri.contains("/namespaces/a-namespace/protectionpolicies/a/status?"),
        "{uri}"
    );
    assert!(
        uri.contains(&format!("fieldManager={FIELD_MANAGER}")),
        "{uri}"
    );
    let keys: Vec<&String> = body.as_object().expect("object").keys().collect();
    assert_eq!(
        keys,
        ["apiVersion", "kind", "metadata", "status"],
        "{body:#}"
    );
    assert_eq!(body["status"]["conditions"][0]["type"], "Accepted");
    assert_eq!(body["status"]["observedGeneration"], 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_written_does_not_stop_the_others_and_is_tried_again() {
    let world = World::start();
    world.fail("a", StatusCode::FORBIDDEN);
    world.leading.send_replace(true);
    world.see(&[policy("a"), policy("b")]);
    sleep(SOON).await;
    assert_eq!(world.written(), ["b"]);
    world.mend();
    sleep(LATER).await;
    assert!(world.written().contains(&"a".to_owned()), "not tried again");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_gone_is_not_tried_again() {
    let world = World::start();
    world.fail("a", StatusCode::NOT_FOUND);
    world.leading.send_replace(true);
    world.see(&[policy("a")]);
    sleep(SOON).await;
    world.mend();
    sleep(10 * LATER).await;
    assert_eq!(world.written(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_right_already_is_left_alone() {
    let world = World::start();
    world.leading.send_replace(true);
    world.see(&[policy("a")]);
    sleep(SOON).await;
    let status = world.server.lock().expect("server").written[0].1["status"].clone();
    let mut seen = policy("a");
    seen.status = serde_json::from_value(status).expect("status");
    assert_eq!(world.written(), ["a"]);
    world.see(&[seen]);
    sleep(LATER).await;
    assert_eq!(world.written(), [""; 0]);
}
