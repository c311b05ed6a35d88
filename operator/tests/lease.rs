//! Leader election against an API server that knows nothing but one Lease, by
//! a clock that the tests move: who leads when, and never two at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::coordination::v1::Lease;
use kube::client::Body;
use kube::{Api, Client};
use picket_operator::lease::{Candidate, DURATION, INTERVAL, RENEW_DEADLINE};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The API server: one Lease, with the conflict rules that matter.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    /// Candidates whose requests fail.
    cut_off: BTreeSet<&'static str>,
    /// Candidates whose requests are never answered.
    ignored: BTreeSet<&'static str>,
}

impl Server {
    fn answer(&mut self, identity: &str, method: &Method, body: &[u8]) -> (StatusCode, Value) {
        if self.cut_off.contains(identity) {
            return failure(StatusCode::FORBIDDEN, "cut off");
        }
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        match (method, &self.lease) {
            (&Method::GET, None) => failure(StatusCode::NOT_FOUND, "NotFound"),
            (&Method::GET, Some(lease)) => (StatusCode::OK, lease.clone()),
            (&Method::POST, Some(_)) => failure(StatusCode::CONFLICT, "AlreadyExists"),
            (&Method::PUT, Some(lease))
                if lease["metadata"]["resourceVersion"] != sent["metadata"]["resourceVersion"] =>
            {
                failure(StatusCode::CONFLICT, "Conflict")
            }
            (&Method::POST | &Method::PUT, _) => {
                self.version += 1;
                let mut lease = sent;
                lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.lease = Some(lease.clone());
                (StatusCode::OK, lease)
            }
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn mend(&mut self) {
        self.cut_off.clear();
        self.ignored.clear();
    }

    fn holder(&self) -> Option<String> {
        let lease = self.lease.as_ref()?;
        lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
    }
}

fn failure(code: StatusCode, reason: &str) -> (StatusCode, Value) {
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": reason,
        "code": code.as_u16(),
    });
    (code, status)
}

struct Running {
    leading: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn leads(&self) -> bool {
        *self.leading.borrow()
    }
}

fn campaign(server: &Arc<Mutex<Server>>, identity: &'static str) -> Running {
    let server = Arc::clone(server);
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let ignored = server.lock().expect("server").ignored.contains(identity);
            if ignored {
                std::future::pending::<()>().await;
            }
            let (code, value) =
                server
                    .lock()
                    .expect("server")
                    .answer(identity, &parts.method, &body);
            let mut response = Response::new(Body::from(serde_json::to_vec(&value)?));
            *response.status_mut() = code;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(response)
        }
    });
    let leases: Api<Lease> = Api::namespaced(Client::new(service, "test"), "test");
    let (candidate, leading) = Candidate::new(leases, "picket-operator", identity);
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(candidate.run(stopping));
    Running {
        leading,
        stop,
        task,
    }
}

/// Lets time pass until `done`, and fails if both lead at any moment.
async fn pass(limit: Duration, both: [&Running; 2], mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(!(both[0].leads() && both[1].leads()), "two leaders");
        assert!(start.elapsed() <= limit, "not within {limit:?}");
        sleep(Duration::from_millis(50)).await;
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn one_of_two_leads_and_hands_over_when_it_stops() {
    let server = Arc::new(Mutex::new(Server::default()));
    let first = campaign(&server, "a");
    let mut leading = first.leading.clone();
    leading.wait_for(|leads| *leads).await.expect("a leads");
    let second = campaign(&server, "b");
    // Long after the Lease would have run out unrenewed.
    let long = Instant::now() + 10 * DURATION;
    pass(20 * DURATION, [&first, &second], || Instant::now() >= long).await;
    assert!(first.leads() && !second.leads());

    first.stop.send_replace(true);
    let waited = pass(DURATION, [&first, &second], || second.leads()).await;
    assert!(
        waited <= INTERVAL + Duration::from_secs(1),
        "took {waited:?}"
    );
    assert!(!first.leads());
    first.task.await.expect("ended");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_refused_steps_down_before_another_takes_over() {
    take_over(|server| server.cut_off.insert("a")).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_answered_steps_down_before_another_takes_over() {
    take_over(|server| server.ignored.insert("a")).await;
}

async fn take_over(break_off: impl FnOnce(&mut Server) -> bool) {
    let server = Arc::new(Mutex::new(Server::default()));
    let first = campaign(&server, "a");
    let mut leading = first.leading.clone();
    leading.wait_for(|leads| *leads).await.expect("a leads");
    let second = campaign(&server, "b");
    sleep(INTERVAL).await;

    break_off(&mut server.lock().expect("server"));
    let stepped_down = pass(DURATION, [&first, &second], || !first.leads()).await;
    assert!(
        stepped_down <= RENEW_DEADLINE + Duration::from_secs(1),
        "took {stepped_down:?}"
    );
    assert!(!second.leads(), "took over while the Lease was still good");
    pass(2 * DURATION, [&first, &second], || second.leads()).await;
    assert_eq!(
        server.lock().expect("server").holder().as_deref(),
        Some("b")
    );

    server.lock().expect("server").mend();
    let long = Instant::now() + 10 * DURATION;
    pass(20 * DURATION, [&first, &second], || Instant::now() >= long).await;
    assert!(second.leads(), "the lead was stolen back");
    let lease = server.lock().expect("server").lease.clone().expect("lease");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}
