//! Whose word a request is: its bearer token, asked of the API server.
//!
//! A token authenticates for about a second after its pod is gone, and an answer is remembered
//! for some minutes, so every request is also held against the pods that are there now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::PostParams;
use kube::{Api, Client};
use picket_events::relay::{AUDIENCE, READER_AUDIENCE};
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::pods::{PodFacts, Pods};

/// What an API server says of a token's pod.
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// What users begin with that are service accounts.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// The service account whose tokens read findings; in the operator's namespace.
pub const READER: &str = "picket-findings-reader";

/// How long a token that was accepted is believed. Kubelet makes a new one within the hour, and
/// a pod that is gone is noticed whatever is remembered.
const ACCEPTED_FOR: Duration = Duration::from_secs(5 * 60);
/// How long a token that was refused is not asked about again.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Most tokens that are remembered.
const REMEMBERED: usize = 65_536;
/// Most questions to the API server at a time.
const AT_A_TIME: usize = 32;
/// How long a question may take, waiting for its turn included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest token that is looked at, in bytes.
const LONGEST: usize = 16 * 1024;

/// Why nobody is behind a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Stranger {
    /// There is no bearer token.
    #[error("no bearer token")]
    NoToken,
    /// The API server does not know the token.
    #[error("the token is not one of this cluster's")]
    Forged,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is for somebody else, or not a pod's.
    #[error("the token is not for this, or not a pod's")]
    Foreign,
    /// Its pod is gone, or not known yet.
    #[error("the token's pod does not exist")]
    PodGone,
    /// The API server cannot be asked: no fault of the token's.
    #[error("the API server cannot be asked about the token")]
    Unavailable,
}

impl Stranger {
    /// The word in metrics and answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoToken => "NoToken",
            Self::Forged => "Forged",
            Self::Expired => "Expired",
            Self::Foreign => "Foreign",
            Self::PodGone => "PodGone",
            Self::Unavailable => "Unavailable",
        }
    }
}

/// What an API server answers about a token.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is this user's, and for the audience asked about.
    User(Box<UserInfo>),
    /// It is nobody's; the text says why.
    Nobody(String),
}

/// Asks about tokens.
pub trait Reviews: Send + Sync + 'static {
    /// Asks whose a token is; an error when the API server cannot be asked.
    fn review<'a>(
        &'a self,
        token: &'a str,
        audience: &'static str,
    ) -> BoxFuture<'a, Result<Verdict, kube::Error>>;
}

/// Asks the API server.
pub struct ApiServer(pub Client);

impl Reviews for ApiServer {
    fn review<'a>(
        &'a self,
        token: &'a str,
        audience: &'static str,
    ) -> BoxFuture<'a, Result<Verdict, kube::Error>> {
        Box::pin(async move {
            let review = TokenReview {
                spec: TokenReviewSpec {
                    audiences: Some(vec![audience.to_owned()]),
                    token: Some(token.to_owned()),
                },
                ..TokenReview::default()
            };
            let reviews: Api<TokenReview> = Api::all(self.0.clone());
            let answer = reviews.create(&PostParams::default(), &review).await?;
            let status = answer.status.unwrap_or_default();
            // An authenticator that knows no audiences leaves them out: then the token is not
            // meant for us.
            let ours = status
                .audiences
                .is_some_and(|audiences| audiences.iter().any(|name| name == audience));
            Ok(match (status.authenticated, ours, status.user) {
                (Some(true), true, Some(user)) => Verdict::User(Box::new(user)),
                (Some(true), _, _) => Verdict::Nobody("another audience".to_owned()),
                _ => Verdict::Nobody(status.error.unwrap_or_default()),
            })
        })
    }
}

/// What is remembered of a token.
#[derive(Debug, Clone)]
enum Known {
    Pod { uid: Arc<str>, namespace: Arc<str> },
    Reader,
    Stranger(Stranger),
}

type Key = [u8; 32];

/// Tells whose word a request is.
pub struct Authenticator {
    reviews: Box<dyn Reviews>,
    pods: Pods,
    reader: String,
    turns: Semaphore,
    known: Mutex<HashMap<Key, (Known, Instant)>>,
}

impl Authenticator {
    /// Asks `reviews`, and holds the answers against `pods`; `namespace` is the operator's own.
    #[must_use]
    pub fn new(reviews: impl Reviews, pods: Pods, namespace: &str) -> Self {
        Self {
            reviews: Box::new(reviews),
            pods,
            reader: format!("{SERVICE_ACCOUNT}{namespace}:{READER}"),
            turns: Semaphore::new(AT_A_TIME),
            known: Mutex::default(),
        }
    }

    /// The pod that a token speaks for.
    ///
    /// # Errors
    /// The [`Stranger`] that it is.
    pub async fn pod(&self, token: Option<&str>) -> Result<Arc<PodFacts>, Stranger> {
        if !self.pods.is_synced() {
            return Err(Stranger::Unavailable);
        }
        match self.whose(token, AUDIENCE).await? {
            Known::Pod { uid, namespace } => self
                .pods
                .by_uid(&uid)
                .filter(|pod| pod.namespace == namespace && !pod.phase.has_ended())
                .ok_or(Stranger::PodGone),
            Known::Stranger(stranger) => Err(stranger),
            Known::Reader => Err(Stranger::Foreign),
        }
    }

    /// Whether a token may read findings.
    ///
    /// # Errors
    /// The [`Stranger`] that it is.
    pub async fn reader(&self, token: Option<&str>) -> Result<(), Stranger> {
        match self.whose(token, READER_AUDIENCE).await? {
            Known::Reader => Ok(()),
            Known::Stranger(stranger) => Err(stranger),
            Known::Pod { .. } => Err(Stranger::Foreign),
        }
    }

    async fn whose(&self, token: Option<&str>, audience: &'static str) -> Result<Known, Stranger> {
        let token = token
            .filter(|token| !token.is_empty() && token.len() <= LONGEST)
            .ok_or(Stranger::NoToken)?;
        let key = key(token, audience);
        if let Some(known) = self.remembered(&key) {
            return Ok(known);
        }
        let ask = async {
            let _turn = self.turns.acquire().await.ok()?;
            // Whoever waited for the same token has the answer now.
            match self.remembered(&key) {
                Some(known) => Some(Ok(known)),
                None => Some(Err(self.reviews.review(token, audience).await)),
            }
        };
        let verdict = match timeout(PATIENCE, ask).await {
            Ok(Some(Ok(known))) => return Ok(known),
            Ok(Some(Err(Ok(verdict)))) => verdict,
            Ok(Some(Err(Err(error)))) => {
                tracing::warn!(%error, "cannot ask about a token");
                return Err(Stranger::Unavailable);
            }
            Ok(None) | Err(_) => return Err(Stranger::Unavailable),
        };
        let known = self.judge(verdict, audience);
        self.remember(key, known.clone());
        Ok(known)
    }

    fn judge(&self, verdict: Verdict, audience: &str) -> Known {
        let user = match verdict {
            Verdict::User(user) => user,
            Verdict::Nobody(why) => {
                return Known::Stranger(if why.contains("expired") {
                    Stranger::Expired
                } else if why.contains("audience") {
                    Stranger::Foreign
                } else {
                    Stranger::Forged
                });
            }
        };
        let name = user.username.as_deref().unwrap_or_default();
        if audience == READER_AUDIENCE {
            return match name == self.reader {
                true => Known::Reader,
                false => Known::Stranger(Stranger::Foreign),
            };
        }
        let namespace = name
            .strip_prefix(SERVICE_ACCOUNT)
            .and_then(|rest| rest.split(':').next());
        let extra = user.extra.as_ref().and_then(|extra| extra.get(POD_UID));
        match (namespace, extra.map(Vec::as_slice)) {
            (Some(namespace), Some([uid])) => Known::Pod {
                uid: uid.as_str().into(),
                namespace: namespace.into(),
            },
            _ => Known::Stranger(Stranger::Foreign),
        }
    }

    fn remembered(&self, key: &Key) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, until) = known.get(key)?;
        (Instant::now() < *until).then(|| known.clone())
    }

    fn remember(&self, key: Key, fact: Known) {
        let now = Instant::now();
        let lasts = match fact {
            Known::Stranger(_) => REFUSED_FOR,
            Known::Pod { .. } | Known::Reader => ACCEPTED_FOR,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() < REMEMBERED {
            known.insert(key, (fact, now + lasts));
        }
    }
}

/// A token is not kept, only what tells it from others.
fn key(token: &str, audience: &str) -> Key {
    let mut text = Vec::with_capacity(token.len() + audience.len() + 1);
    text.extend_from_slice(audience.as_bytes());
    text.push(0);
    text.extend_from_slice(token.as_bytes());
    let mut key = Key::default();
    key.copy_from_slice(digest(&SHA256, &text).as_ref());
    key
}
