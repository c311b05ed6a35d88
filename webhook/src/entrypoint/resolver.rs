//! Answers what images run: from the cache, or by asking registries, once for everybody who
//! wants to know the same thing, and never for longer than the caller can wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::cache::{Cache, Key, Known};
use super::distribution::Repository;
use super::http::Http;
use super::keychain::{PullScope, Stage};
use super::metrics::{Metrics, Part, State};
use super::options::Options;
use super::reference::Reference;
use super::{Cause, ImageConfig, Images, Unresolved, Wanted};

type Answer = Result<Arc<ImageConfig>, Unresolved>;
/// With the digest of the configuration, and whether anybody may know.
type Found = Result<(Arc<ImageConfig>, String, bool), Unresolved>;

/// Look-ups at a time.
const MAX_LOOKUPS: usize = 32;
/// Look-ups of one namespace at a time, so that one tenant cannot keep all others waiting.
const MAX_OF_NAMESPACE: usize = 8;
/// How long a look-up goes on when nobody waits any more: its answer helps the next.
const MAX_LOOKUP: Duration = Duration::from_secs(20);
/// Longest detail that is told.
const MAX_DETAIL: usize = 1000;

/// Answers what images run. Clones share their cache.
#[derive(Debug, Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

/// What the clones of a resolver share.
#[derive(Debug)]
pub(super) struct Inner {
    http: Arc<Http>,
    options: Options,
    metrics: Metrics,
    turns: Semaphore,
    state: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    cache: Cache,
    flights: HashMap<Flight, watch::Receiver<Option<Answer>>>,
}

/// Everybody who wants the same thing with the same credentials waits for one look-up.
type Flight = (PullScope, Wanted);

impl Inner {
    pub(super) fn requests(&self) -> u64 {
        self.http.requests()
    }

    pub(super) fn cached(&self) -> usize {
        self.shared().cache.len()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Nothing that is done under the lock can leave half a state behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver {
    /// A resolver with an empty cache.
    pub fn new(http: Arc<Http>, options: Options) -> Self {
        let shared = Shared {
            cache: Cache::new(options.lifetimes),
            flights: HashMap::new(),
        };
        let inner = Inner {
            http,
            options,
            metrics: Metrics::default(),
            turns: Semaphore::new(MAX_LOOKUPS),
            state: Mutex::new(shared),
        };
        Self {
            inner: inner.into(),
        }
    }

    /// Registers what it counts under `picket_entrypoint_…`.
    pub fn register(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry);
        registry.register_collector(Box::new(State(Arc::downgrade(&self.inner))));
    }

    /// HTTP requests that were sent so far.
    pub fn requests(&self) -> u64 {
        self.inner.requests()
    }

    /// What these images run, as far as it can be found out while a caller is patient.
    pub async fn images(&self, wanted: &[Wanted], scope: &PullScope) -> Images {
        let deadline = Instant::now() + self.inner.options.patience;
        // All of them are under way before the first is waited for.
        let begun: Vec<_> = wanted
            .iter()
            .map(|wanted| (wanted, self.begin(wanted, scope, Duration::ZERO)))
            .collect();
        let mut images = Images::default();
        for (wanted, begun) in begun {
            let (part, answer) = self.finish(begun, deadline).await;
            self.inner.metrics.looked_up(part, &answer);
            images.insert(wanted.clone(), answer);
        }
        images
    }

    /// Sees to it that the answer about an image is in the cache and stays there for at least
    /// `margin`.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub async fn warm(
        &self,
        wanted: &Wanted,
        scope: &PullScope,
        margin: Duration,
    ) -> Result<(), Unresolved> {
        let begun = self.begin(wanted, scope, margin);
        let (_, answer) = self.finish(begun, Instant::now() + MAX_LOOKUP).await;
        answer.map(|_| ())
    }

    fn begin(&self, wanted: &Wanted, scope: &PullScope, margin: Duration) -> Begun {
        let now = Instant::now();
        let mut shared = self.inner.shared();
        let stale = match shared.cache.get(scope, wanted, now, margin) {
            Known::Fresh(answer) => return Begun::Known(answer),
            Known::Stale(config, content) => Some((config, content)),
            Known::Nothing => None,
        };
        let reference = match Reference::parse(&wanted.image) {
            Ok(reference) => reference,
            Err(invalid) => return Begun::Known(Err(invalid)),
        };
        let flight = (scope.clone(), wanted.clone());
        if let Some(answer) = shared.flights.get(&flight) {
            return Begun::UnderWay(answer.clone(), stale);
        }
        let of_namespace = shared.flights.keys();
        let of_namespace = of_namespace.filter(|(other, _)| other.namespace == scope.namespace);
        if of_namespace.count() >= MAX_OF_NAMESPACE {
            let detail = format!("{MAX_OF_NAMESPACE} of namespace {}", scope.namespace);
            let busy = Unresolved::new(Cause::TooManyLookups, detail);
            return Begun::Known(stale.map_or(Err(busy), |(config, _)| Ok(config)));
        }
        let (done, answer) = watch::channel(None);
        shared.flights.insert(flight.clone(), answer.clone());
        drop(shared);
        let landing = Landing {
            inner: Arc::clone(&self.inner),
            flight,
        };
        let known = stale.clone();
        tokio::spawn(async move {
            let answer = landing.fly(reference, known).await;
            // Out of the way before anybody can see the answer and ask again.
            drop(landing);
            done.send_replace(Some(answer));
        });
        Begun::UnderWay(answer, stale)
    }

    async fn finish(&self, begun: Begun, deadline: Instant) -> (Part, Answer) {
        let (mut answer, stale) = match begun {
            Begun::Known(answer) => return (Part::Hit, answer),
            Begun::UnderWay(answer, stale) => (answer, stale),
        };
        let landed = timeout_at(deadline, answer.wait_for(Option::is_some)).await;
        let answer = match landed {
            Ok(Ok(answer)) => answer.clone().unwrap_or_else(|| Err(ended())),
            // The look-up panicked.
            Ok(Err(_)) => Err(ended()),
            Err(_) => Err(Unresolved::new(Cause::TimedOut, "")),
        };
        match (answer, stale) {
            (Err(failure), Some((config, _))) if is_passing(failure.cause) => {
                (Part::Stale, Ok(config))
            }
            (answer, _) => (Part::Miss, answer),
        }
    }
}

/// An answer, or the promise of one.
enum Begun {
    Known(Answer),
    UnderWay(
        watch::Receiver<Option<Answer>>,
        Option<(Arc<ImageConfig>, String)>,
    ),
}

fn ended() -> Unresolved {
    Unresolved::new(Cause::RegistryError, "the look-up ended without an answer")
}

/// Whether a failure is the registry's or the network's and may pass: then what was right before
/// is better than nothing.
fn is_passing(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::TimedOut
            | Cause::Unreachable
            | Cause::UntrustedTls
            | Cause::RateLimited
            | Cause::RegistryError
    )
}

/// A look-up under way; takes itself off the list however it ends.
struct Landing {
    inner: Arc<Inner>,
    flight: Flight,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.inner.shared().flights.remove(&self.flight);
    }
}

impl Landing {
    async fn fly(&self, reference: Reference, known: Option<(Arc<ImageConfig>, String)>) -> Answer {
        let (scope, wanted) = &self.flight;
        let begin = Instant::now();
        let found = match timeout(MAX_LOOKUP, self.look_up(&reference, known.as_ref())).await {
            Ok(found) => found,
            Err(_) => Err(Unresolved::new(Cause::TimedOut, reference.to_string())),
        };
        self.inner.metrics.resolved(begin.elapsed());
        let key = |scope: Option<&PullScope>| Key {
            scope: scope.cloned(),
            wanted: wanted.clone(),
        };
        let now = Instant::now();
        let mut shared = self.inner.shared();
        match found {
            Ok((config, content, public)) => {
                let key = key(Some(scope).filter(|_| !public));
                let answer = Ok((Arc::clone(&config), content));
                shared
                    .cache
                    .insert(key, answer, reference.digest().is_some(), now);
                Ok(config)
            }
            Err(failure) => {
                tracing::debug!(image = wanted.image, namespace = scope.namespace, %failure, "look-up failed");
                match known.filter(|_| is_passing(failure.cause)) {
                    Some((config, _)) => {
                        shared.cache.renew(&key(None), now);
                        shared.cache.renew(&key(Some(scope)), now);
                        Ok(config)
                    }
                    None => {
                        shared
                            .cache
                            .insert(key(Some(scope)), Err(failure.clone()), false, now);
                        Err(failure)
                    }
                }
            }
        }
    }

    /// Tries every place and all credentials there are.
    async fn look_up(
        &self,
        reference: &Reference,
        known: Option<&(Arc<ImageConfig>, String)>,
    ) -> Found {
        let Ok(_turn) = self.inner.turns.acquire().await else {
            return Err(ended());
        };
        let mut failure = None;
        for (registry, repository) in self.places(reference) {
            match self
                .look_up_at(&registry, &repository, reference, known)
                .await
            {
                Ok(found) => return Ok(found),
                // What the registry itself says counts more than what a mirror said.
                Err(unresolved) => failure = Some(unresolved),
            }
        }
        Err(failure.unwrap_or_else(ended))
    }

    fn places(&self, reference: &Reference) -> Vec<(String, String)> {
        let mirrors = self.inner.options.mirrors.iter();
        let mirrors = mirrors.filter(|mirror| mirror.registry == reference.registry());
        let own = (
            reference.registry().to_owned(),
            reference.repository().to_owned(),
        );
        mirrors
            .map(|mirror| {
                let repository = match mirror.prefix.as_str() {
                    "" => reference.repository().to_owned(),
                    prefix => format!("{prefix}/{}", reference.repository()),
                };
                (mirror.host.clone(), repository)
            })
            .chain([own])
            .collect()
    }

    async fn look_up_at(
        &self,
        registry: &str,
        repository: &str,
        reference: &Reference,
        known: Option<&(Arc<ImageConfig>, String)>,
    ) -> Found {
        let (scope, wanted) = &self.flight;
        let mut session = self.inner.http.session();
        let mut tried = Vec::new();
        let mut trail = Vec::new();
        let mut cause = None;
        let config = known.map(|(config, _)| config);
        let config_of = |digest: &str| {
            known
                .filter(|(_, content)| content == digest)
                .map(|(config, _)| Arc::clone(config))
        };
        for stage in Stage::ALL {
            let keychain = &self.inner.options.keychain;
            let offer = keychain.offer(stage, scope, registry, repository).await;
            trail.extend(offer.notes);
            for (source, credential) in offer.candidates {
                if tried.contains(&credential) {
                    continue;
                }
                let mut asked =
                    Repository::new(&mut session, registry, repository, credential.as_ref())?;
                let answer = asked
                    .image(reference.selector(), &wanted.platform, config, config_of)
                    .await;
                match answer {
                    Ok((config, mut content)) => {
                        if content.is_empty() {
                            content = known
                                .map(|(_, content)| content.clone())
                                .unwrap_or_default();
                        }
                        return Ok((config, content, credential.is_none()));
                    }
                    Err(failure) => {
                        trail.push(format!("{source}: {}", failure.detail));
                        if !is_about_credentials(failure.cause) {
                            return Err(Unresolved::new(failure.cause, told(&trail)));
                        }
                        // "Not found" may only mean "not for you"; that nobody may is no news
                        // where credentials were tried.
                        let says_more = credential.is_some() && cause == Some(Cause::ImageNotFound);
                        if cause.is_none() || says_more {
                            cause = Some(failure.cause);
                        }
                    }
                }
                tried.push(credential);
            }
        }
        Err(Unresolved::new(
            cause.unwrap_or(Cause::Unauthorized),
            told(&trail),
        ))
    }
}

/// Whether other credentials may get further.
fn is_about_credentials(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Unauthorized | Cause::ImageNotFound | Cause::TokenHostRefused
    )
}

/// What was tried, in one line of bounded length. Parts of it come from strangers.
fn told(trail: &[String]) -> String {
    let text = trail.join("; ");
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MAX_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_say_is_one_bounded_line() {
        let text = told(&["a\nb\u{1b}[31m".to_owned(), "x".repeat(5000)]);
        assert!(text.starts_with("a b [31m; xxx"), "{text}");
        assert_eq!(text.chars().count(), MAX_DETAIL);
    }
}
