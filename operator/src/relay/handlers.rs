//! What the relay answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use futures::stream::{self, StreamExt};
use picket_events::relay::{
    FINDINGS_PATH, FindingBatch, HEARTBEAT_PATH, Heartbeat, MAX_BATCH, MAX_FINDINGS, MAX_HEARTBEAT,
    ORDERS_PATH, READER_PATH, RULES_PATH,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Relay;
use super::authentication::Stranger;
use super::findings::ClusterFinding;
use crate::pods::PodFacts;
use crate::quarantine::order_of;

/// How long a body may take to arrive.
const READ: Duration = Duration::from_secs(10);
/// How long orders that have not changed are waited for.
const WAIT: Duration = Duration::from_secs(25);

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("this replica does not lead")]
    NotLeading,
    #[error("policies and rule sets are not known yet")]
    NotReady,
    #[error(transparent)]
    Stranger(#[from] Stranger),
    #[error("the pod asks too often")]
    TooOften,
    #[error("the body is too large")]
    TooLarge,
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("the body is malformed: {0}")]
    Malformed(String),
    #[error("the body is another pod's")]
    Impostor,
    #[error("there is no such rule bundle for this pod")]
    NoBundle,
    #[error("too many pods")]
    TooMany,
}

impl Refusal {
    fn word(&self) -> &'static str {
        match self {
            Self::NotLeading => "NotLeading",
            Self::NotReady => "NotReady",
            Self::Stranger(stranger) => stranger.word(),
            Self::TooOften => "TooOften",
            Self::TooLarge => "TooLarge",
            Self::TooSlow => "TooSlow",
            Self::Malformed(_) => "Malformed",
            Self::Impostor => "Impostor",
            Self::NoBundle => "NoBundle",
            Self::TooMany => "TooMany",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotLeading
            | Self::NotReady
            | Self::TooMany
            | Self::Stranger(Stranger::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Stranger(_) => StatusCode::UNAUTHORIZED,
            Self::TooOften => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Impostor => StatusCode::FORBIDDEN,
            Self::NoBundle => StatusCode::NOT_FOUND,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // A connection on which something came that should not have is not used again.
        let close = [(CONNECTION, "close")];
        (self.status(), close, format!("{}: {self}\n", self.word())).into_response()
    }
}

/// Every route of the relay. Serves without TLS too, for tests.
pub fn router(relay: Arc<Relay>) -> Router {
    Router::new()
        .route(
            HEARTBEAT_PATH,
            post(|State(relay), request| answer(relay, "heartbeat", heartbeat, request)),
        )
        .route(
            FINDINGS_PATH,
            post(|State(relay), request| answer(relay, "findings", findings, request)),
        )
        .route(ORDERS_PATH, get(orders))
        .route(&format!("{RULES_PATH}{{hash}}"), get(rules))
        .route(READER_PATH, get(recent))
        .with_state(relay)
}

impl Relay {
    /// Lets a pod in.
    async fn admit(&self, headers: &HeaderMap) -> Result<Arc<PodFacts>, Refusal> {
        if !self.leads() {
            return Err(Refusal::NotLeading);
        }
        let pod = self.authenticator.pod(bearer(headers)).await?;
        if self.requests.take(&pod.uid, 1, Instant::now()) == 0 {
            return Err(Refusal::TooOften);
        }
        Ok(pod)
    }

    /// Counts what became of a request.
    fn counted(&self, what: &'static str, result: Result<Response, Refusal>) -> Response {
        match result {
            Ok(response) => {
                self.metrics.request(what, "Answered");
                response
            }
            Err(refusal) => {
                self.metrics.request(what, refusal.word());
                if let Refusal::Stranger(stranger) = &refusal {
                    self.metrics.stranger(stranger.word());
                }
                debug!(what, %refusal, "the relay refused");
                refusal.into_response()
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim)
}

async fn read<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Refusal> {
    let bytes = match timeout(READ, to_bytes(body, limit)).await {
        Err(_) => return Err(Refusal::TooSlow),
        // Whatever else ends a body before its end ends the connection too.
        Ok(Err(_)) => return Err(Refusal::TooLarge),
        Ok(Ok(bytes)) => bytes,
    };
    serde_json::from_slice(&bytes).map_err(|error| Refusal::Malformed(error.to_string()))
}

async fn answer<F>(relay: Arc<Relay>, what: &'static str, handler: F, request: Request) -> Response
where
    F: AsyncFnOnce(&Relay, &PodFacts, Body) -> Result<(), Refusal>,
{
    let (head, body) = request.into_parts();
    let result = match relay.admit(&head.headers).await {
        Ok(pod) => handler(&relay, &pod, body).await,
        Err(refusal) => Err(refusal),
    };
    relay.counted(
        what,
        result.map(|()| StatusCode::NO_CONTENT.into_response()),
    )
}

async fn heartbeat(relay: &Relay, pod: &PodFacts, body: Body) -> Result<(), Refusal> {
    let heartbeat: Heartbeat = read(body, MAX_HEARTBEAT).await?;
    relay.take_heartbeat(pod, heartbeat)
}

async fn findings(relay: &Relay, pod: &PodFacts, body: Body) -> Result<(), Refusal> {
    // A batch is large, and many pods may send one at the same time.
    let Ok(_turn) = relay.batches.acquire().await else {
        return Err(Refusal::NotLeading);
    };
    let batch: FindingBatch<Value> = read(body, MAX_FINDINGS).await?;
    relay.take_findings(pod, batch)
}

impl Relay {
    fn take_heartbeat(&self, pod: &PodFacts, heartbeat: Heartbeat) -> Result<(), Refusal> {
        heartbeat
            .check()
            .map_err(|excess| Refusal::Malformed(excess.to_string()))?;
        if !heartbeat.pod_uid.is_empty() && *heartbeat.pod_uid != *pod.uid {
            warn!(
                namespace = %pod.namespace, pod = %pod.name,
                "a pod's heartbeat claims to be another pod's"
            );
            return Err(Refusal::Impostor);
        }
        self.heartbeats
            .record(&pod.uid, heartbeat.printable())
            .map_err(|_| Refusal::TooMany)
    }

    fn take_findings(&self, pod: &PodFacts, batch: FindingBatch<Value>) -> Result<(), Refusal> {
        if batch.findings.len() > MAX_BATCH {
            return Err(Refusal::Malformed(format!(
                "findings: more than {MAX_BATCH} entries"
            )));
        }
        let count = batch.findings.len();
        let allowed = self.findings.take(&pod.uid, count, Instant::now());
        self.metrics.findings("too_many", count - allowed);
        let dropped = usize::try_from(batch.dropped).unwrap_or(usize::MAX);
        self.metrics.findings("lost_by_agent", dropped);
        for body in batch.findings.into_iter().take(allowed) {
            match ClusterFinding::of(pod, body) {
                Some(finding) => self.intake.put(finding),
                None => self.metrics.findings("malformed", 1),
            }
        }
        Ok(())
    }

    /// Takes in a body as if it had come from this pod; what is wrong with it, in words. For
    /// fuzzing.
    #[doc(hidden)]
    pub fn take(&self, pod: &PodFacts, path: &str, body: &[u8]) -> Result<(), String> {
        let malformed = |error: serde_json::Error| error.to_string();
        let result = match path {
            HEARTBEAT_PATH => {
                self.take_heartbeat(pod, serde_json::from_slice(body).map_err(malformed)?)
            }
            _ => self.take_findings(pod, serde_json::from_slice(body).map_err(malformed)?),
        };
        result.map_err(|refusal| refusal.to_string())
    }
}

#[derive(Deserialize)]
struct Seen {
    seen: Option<String>,
}

async fn orders(
    State(relay): State<Arc<Relay>>,
    Query(Seen { seen }): Query<Seen>,
    headers: HeaderMap,
) -> Response {
    let result = wait_for_orders(&relay, seen, &headers).await;
    relay.counted("orders", result)
}

async fn wait_for_orders(
    relay: &Relay,
    seen: Option<String>,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let pod = relay.admit(headers).await?;
    // The bundle first: an agent that comes for the first time gets it with its first orders.
    let bundle = relay.bundles.assign(&pod).ok_or(Refusal::NotReady)?;
    relay.board.bundle(&pod.uid, &bundle);
    // A replica that has just taken the lead must not let a pod go that it has not looked at.
    relay.board.quarantine(&pod.uid, order_of(&pod));
    let mut orders = relay.board.follow(&pod.uid);
    let mut leading = relay.leading.clone();
    let news = async {
        match &seen {
            Some(seen) => orders.wait_for(|orders| orders.tag != *seen).await.is_ok(),
            None => true,
        }
    };
    tokio::select! {
        biased;
        told = timeout(WAIT, news) => match told {
            Err(_) => return Ok(StatusCode::NO_CONTENT.into_response()),
            // The pod is gone.
            Ok(false) => return Err(Stranger::PodGone.into()),
            Ok(true) => {}
        },
        _ = leading.wait_for(|leads| !leads) => return Err(Refusal::NotLeading),
    }
    let orders = Arc::clone(&orders.borrow());
    Ok(Json(&*orders).into_response())
}

async fn rules(
    State(relay): State<Arc<Relay>>,
    Path(hash): Path<String>,
    headers: HeaderMap,
) -> Response {
    let result = bundle(&relay, &hash, &headers).await;
    relay.counted("rules", result)
}

async fn bundle(relay: &Relay, hash: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let pod = relay.admit(headers).await?;
    // A pod gets its own rules and nobody else's.
    let own = relay.board.get(&pod.uid).filter(|own| own.bundle == hash);
    let bytes: Bytes = own
        .and_then(|_| relay.bundles.bytes(hash))
        .ok_or(Refusal::NoBundle)?;
    Ok(([(CONTENT_TYPE, "application/json")], bytes).into_response())
}

#[derive(Deserialize)]
struct Reading {
    #[serde(default)]
    follow: bool,
}

async fn recent(
    State(relay): State<Arc<Relay>>,
    Query(Reading { follow }): Query<Reading>,
    headers: HeaderMap,
) -> Response {
    let result = match relay.leads() {
        true => relay.authenticator.reader(bearer(&headers)).await,
        false => return relay.counted("recent", Err(Refusal::NotLeading)),
    };
    let result = result.map_err(Refusal::from).and_then(|()| {
        let turn = Arc::clone(&relay.readers)
            .try_acquire_owned()
            .map_err(|_| Refusal::TooOften)?;
        Ok(lines(&relay, follow, turn))
    });
    relay.counted("recent", result)
}

/// Lines of JSON: what is kept, and what comes where that is wanted.
fn lines(relay: &Relay, follow: bool, turn: tokio::sync::OwnedSemaphorePermit) -> Response {
    let followed = relay.ring.follow();
    let line = |line: Arc<str>| Ok::<_, std::convert::Infallible>(format!("{line}\n"));
    let kept = stream::iter(followed.kept).map(line);
    let body = if follow {
        let leading = relay.leading.clone();
        let new = stream::unfold((followed.new, leading, turn), async |state| {
            let (mut new, mut leading, turn) = state;
            loop {
                let received = tokio::select! {
                    received = new.recv() => received,
                    _ = leading.wait_for(|leads| !leads) => return None,
                };
                match received {
                    Ok(line) => return Some((line, (new, leading, turn))),
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        Body::from_stream(kept.chain(new.map(line)))
    } else {
        Body::from_stream(kept)
    };
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
