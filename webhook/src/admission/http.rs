//! The routes, and their limits on size, time and concurrency.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use axum::routing::post;
use picket_crds::Provider;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::metrics::{Metrics, Rejection};
use super::review::{Malformed, Request, Response};
use super::service::{Decided, Entry, Known, Recorder, answer, answer_exec, controller};
use crate::entrypoint::{Images, PullScope, Resolver};
use crate::namespace::{NamesOnly, Namespaces};
use crate::sessions::{RunningPod, Sessions, SigningKeys};
use crate::settings::SharedSettings;
use crate::store::PolicyStore;
use crate::suspension::{NoSuspensions, Suspensions};

/// Path of the entry that never stands in the way.
pub const MUTATE: &str = "/mutate";
/// Path of the entry for namespaces labelled for enforcement.
pub const MUTATE_ENFORCE: &str = "/mutate/enforce";

/// The API server takes objects of up to 3 MiB, and a review holds up to two of them.
const MAX_BODY: usize = 7 << 20;
/// Requests that are read and answered at a time: bounds memory to some hundred MiB.
const MAX_CONCURRENT: usize = 64;
/// What requests that wait for registries may weigh together, in KiB of JSON. They wait without a
/// turn, so that pods of images that nobody finds do not keep all others waiting.
const MAX_PARKED: usize = 16 << 10;
/// How long a request waits for its turn. The API server gives up after 5 s.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// How long a request may take to arrive, so that slow clients do not take all turns.
const MAX_READ: Duration = Duration::from_secs(5);

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AdmissionState {
    store: PolicyStore,
    namespaces: Arc<dyn Namespaces>,
    settings: SharedSettings,
    sessions: Option<Arc<dyn Sessions>>,
    metrics: Metrics,
    recorder: Option<Arc<dyn Recorder>>,
    resolver: Option<Resolver>,
    suspensions: Arc<dyn Suspensions>,
    turns: Arc<Semaphore>,
    parked: Arc<Semaphore>,
}

impl AdmissionState {
    /// Answers from this store with these settings.
    pub fn new(store: PolicyStore, settings: impl Into<SharedSettings>, metrics: Metrics) -> Self {
        Self {
            store,
            namespaces: Arc::new(NamesOnly),
            settings: settings.into(),
            sessions: None,
            metrics,
            recorder: None,
            resolver: None,
            suspensions: Arc::new(NoSuspensions),
            turns: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            parked: Arc::new(Semaphore::new(MAX_PARKED)),
        }
    }

    /// Asks these for what is known about a namespace.
    pub fn with_namespaces(mut self, namespaces: Arc<dyn Namespaces>) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// Asks this resolver what images run.
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Asks these about pods that somebody runs a command in, and has them sign who does.
    pub fn with_sessions(mut self, sessions: Arc<dyn Sessions>) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Asks these whether injection is suspended for a workload.
    pub fn with_suspensions(mut self, suspensions: Arc<dyn Suspensions>) -> Self {
        self.suspensions = suspensions;
        self
    }

    /// Tells decisions to this recorder too.
    pub fn with_recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }
}

/// `POST /mutate` and `POST /mutate/enforce`. Serves without TLS too, for tests.
pub fn router(state: AdmissionState) -> Router {
    let entry = |entry: Entry| {
        post(
            move |State(state): State<AdmissionState>, request: axum::extract::Request| async move {
                mutate(&state, entry, request).await
            },
        )
    };
    Router::new()
        .route(MUTATE, entry(Entry::Ignore))
        .route(MUTATE_ENFORCE, entry(Entry::Enforce))
        .with_state(state)
}

async fn mutate(
    state: &AdmissionState,
    entry: Entry,
    request: axum::extract::Request,
) -> axum::response::Response {
    if !state.store.is_synced() {
        return reject(
            state,
            Rejection::NotReady,
            StatusCode::SERVICE_UNAVAILABLE,
            "policies are not loaded yet",
        );
    }
    let Ok(Ok(turn)) = timeout(MAX_WAIT, state.turns.acquire()).await else {
        return reject(
            state,
            Rejection::Busy,
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests at a time",
        );
    };
    state.metrics.in_flight.inc();
    let response = read_and_answer(state, entry, request.into_body(), turn).await;
    state.metrics.in_flight.dec();
    response
}

async fn read_and_answer(
    state: &AdmissionState,
    entry: Entry,
    body: Body,
    turn: SemaphorePermit<'_>,
) -> axum::response::Response {
    let body = match timeout(MAX_READ, to_bytes(body, MAX_BODY)).await {
        Err(_) => {
            return reject(
                state,
                Rejection::TooSlow,
                StatusCode::REQUEST_TIMEOUT,
                "the request did not arrive in time",
            );
        }
        Ok(Err(_)) => {
            let limit = "the request is larger than 7 MiB, or broke off";
            return reject(
                state,
                Rejection::TooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                limit,
            );
        }
        Ok(Ok(body)) => body,
    };
    let start = Instant::now();
    let answered = match Request::parse(&body) {
        Ok(request) => answer_request(state, entry, request, turn, body.len()).await,
        Err(malformed) => Err(malformed),
    };
    match answered {
        Ok((response, decided)) => {
            state.metrics.decided(&decided, start.elapsed());
            log(&decided);
            if let Some(recorder) = state.recorder.as_ref().filter(|_| !decided.dry_run) {
                recorder.record(&decided);
            }
            Json(response.into_review()).into_response()
        }
        Err(malformed) => {
            tracing::warn!(
                path = malformed.path,
                message = malformed.message,
                "malformed AdmissionReview"
            );
            state.metrics.rejected(Rejection::Malformed);
            (StatusCode::BAD_REQUEST, Json(malformed)).into_response()
        }
    }
}

/// Gathers what the answer depends on, and answers.
async fn answer_request(
    state: &AdmissionState,
    entry: Entry,
    request: Request,
    turn: SemaphorePermit<'_>,
    size: usize,
) -> Result<(Response, Decided), Malformed> {
    if request.runs_a_command() {
        return answer_command(state, entry, request).await;
    }
    let policies = state.store.snapshot();
    let namespace = request.namespace();
    let mut facts = state.namespaces.get(&namespace).await;
    let wanted: BTreeSet<&str> = policies
        .iter()
        .filter(|policy| policy.spec.provider == Provider::Datadog)
        .filter(|policy| policy.is_for(&namespace, &facts))
        .map(|policy| policy.spec.datadog.api_key.name.as_str())
        .collect();
    for secret in wanted {
        if state.namespaces.has_secret(&namespace, secret).await == Some(false) {
            Arc::make_mut(&mut facts)
                .missing_secrets
                .insert(secret.to_owned());
        }
    }
    let settings = state.settings.get();
    let suspension = match controller(&request.object) {
        Some(controller) if request.creates_a_pod() => {
            state.suspensions.of(&namespace, &controller).await
        }
        _ => None,
    };
    let known = Known {
        policies: &policies,
        facts: &facts,
        settings: &settings,
        images: Images::NONE,
        suspension: suspension.as_ref(),
    };
    let first = answer(&request, entry, &known)?;
    let wanted = &first.1.report.wanted;
    match &state.resolver {
        // The planner named images that it has to know: it decides again with the answers.
        Some(resolver) if !wanted.is_empty() => {
            let scope = PullScope::of_pod(&request.object, &namespace);
            let weight = u32::try_from(size / 1024 + 1).unwrap_or(u32::MAX);
            // Where too many wait already, this one keeps its turn.
            let parked = state.parked.try_acquire_many(weight);
            let turn = parked.is_err().then_some(turn);
            let images = resolver.images(wanted, &scope).await;
            drop((parked, turn));
            let known = Known {
                images: &images,
                ..known
            };
            answer(&request, entry, &known)
        }
        _ => Ok(first),
    }
}

/// Gathers what the answer about a command depends on, and answers.
async fn answer_command(
    state: &AdmissionState,
    entry: Entry,
    mut request: Request,
) -> Result<(Response, Decided), Malformed> {
    let namespace = request.namespace();
    let user = request.take_user();
    let (mut pod, mut keys) = (None, Arc::<SigningKeys>::default());
    if let Some(sessions) = &state.sessions {
        let name = request.name.as_deref().unwrap_or_default();
        pod = sessions.pod(&namespace, name).await;
        keys = sessions.keys();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let issue = |pod: &RunningPod, container: &str| keys.issue(pod, container, &user, now);
    let facts = state.namespaces.get(&namespace).await;
    let known = Known {
        policies: &state.store.snapshot(),
        facts: &facts,
        settings: &state.settings.get(),
        images: Images::NONE,
        suspension: None,
    };
    answer_exec(&request, &user, pod.as_ref(), &issue, entry, &known)
}

fn reject(
    state: &AdmissionState,
    rejection: Rejection,
    status: StatusCode,
    message: &'static str,
) -> axum::response::Response {
    state.metrics.rejected(rejection);
    (status, message).into_response()
}

fn log(decided: &Decided) {
    tracing::info!(
        entry = decided.entry.word(),
        namespace = decided.namespace,
        pod = decided.name,
        workload = decided.report.workload,
        policy = decided
            .report
            .policy
            .as_ref()
            .map(|policy| policy.winner.as_str()),
        outcome = decided.report.outcome().word(),
        reason = decided.report.reason.word(),
        detail = decided.report.detail,
        allowed = decided.allowed,
        dry_run = decided.dry_run,
        caller = decided.command.as_ref().map(|run| run.username.as_str()),
        "decided"
    );
}
