//! What was found out, for as long as it may be believed.
//!
//! An answer that was had with credentials counts for those credentials' namespace, service
//! account and pull secrets only; what anybody may read counts for all.

use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::keychain::PullScope;
use super::{ImageConfig, Unresolved, Wanted};

/// How long answers are believed, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// How long a tag is believed to name the same image.
    pub tag: Duration,
    /// How long a digest is believed to be readable; what it names does not change.
    pub digest: Duration,
    /// How long a failure is believed.
    pub failure: Duration,
    /// How long an answer is kept beyond its time, for when the registry fails.
    pub stale: Duration,
    /// What all answers may take in memory together, in bytes.
    pub bytes: usize,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            tag: Duration::from_secs(300),
            digest: Duration::from_secs(3600),
            failure: Duration::from_secs(15),
            stale: Duration::from_secs(24 * 3600),
            bytes: 32 << 20,
        }
    }
}

/// What an answer is kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Whose credentials it was had with; `None` is anonymous access.
    pub(super) scope: Option<PullScope>,
    pub(super) wanted: Wanted,
}

#[derive(Debug, Clone)]
struct Entry {
    answer: Result<Arc<ImageConfig>, Unresolved>,
    /// Digest of the image's configuration; empty for failures.
    content: String,
    fresh_until: Instant,
    kept_until: Instant,
    weight: usize,
}

/// What a cache knows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Known {
    /// An answer to give.
    Fresh(Result<Arc<ImageConfig>, Unresolved>),
    /// What was right some time ago, with the digest of its configuration.
    Stale(Arc<ImageConfig>, String),
    /// Nothing.
    Nothing,
}

/// A bounded store of answers: the least recently used go first.
#[derive(Debug)]
pub(super) struct Cache {
    entries: LruCache<Key, Entry>,
    weight: usize,
    lifetimes: Lifetimes,
}

impl Cache {
    pub(super) fn new(lifetimes: Lifetimes) -> Self {
        Self {
            entries: LruCache::unbounded(),
            weight: 0,
            lifetimes,
        }
    }

    /// What is known for a scope: of itself, or because anybody may know. An answer that ends
    /// within `margin` is no fresh one any more.
    pub(super) fn get(
        &mut self,
        scope: &PullScope,
        wanted: &Wanted,
        now: Instant,
        margin: Duration,
    ) -> Known {
        let keys = [None, Some(scope.clone())].map(|scope| Key {
            scope,
            wanted: wanted.clone(),
        });
        let mut stale = Known::Nothing;
        for key in &keys {
            let Some(entry) = self.entries.get(key) else {
                continue;
            };
            if entry.kept_until <= now {
                self.remove(key);
            } else if entry.fresh_until > now + margin {
                return Known::Fresh(entry.answer.clone());
            } else if let Ok(config) = &entry.answer {
                stale = Known::Stale(Arc::clone(config), entry.content.clone());
            }
        }
        stale
    }

    /// Takes note of an answer that was had with the credentials of `scope`, or anonymously.
    pub(super) fn insert(
        &mut self,
        key: Key,
        answer: Result<(Arc<ImageConfig>, String), Unresolved>,
        by_digest: bool,
        now: Instant,
    ) {
        let lifetimes = self.lifetimes;
        let fresh_until = now
            + match &answer {
                Err(_) => lifetimes.failure,
                Ok(_) if by_digest => lifetimes.digest,
                Ok(_) => lifetimes.tag,
            };
        let kept_until = match &answer {
            Err(_) => fresh_until,
            Ok(_) => fresh_until + lifetimes.stale,
        };
        let weight = weight(&key)
            + match &answer {
                Ok((config, content)) => config.weight() + content.len(),
                Err(unresolved) => unresolved.detail.len(),
            };
        let (answer, content) = match answer {
            Ok((config, content)) => (Ok(config), content),
            Err(unresolved) => (Err(unresolved), String::new()),
        };
        self.put(
            key,
            Entry {
                answer,
                content,
                fresh_until,
                kept_until,
                weight,
            },
        );
    }

    /// Believes a stale answer a little longer, because the registry fails.
    pub(super) fn renew(&mut self, key: &Key, now: Instant) {
        let until = now + self.lifetimes.failure;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.fresh_until = entry.fresh_until.max(until);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn put(&mut self, key: Key, entry: Entry) {
        self.weight += entry.weight;
        if let Some(old) = self.entries.put(key, entry) {
            self.weight -= old.weight;
        }
        while self.weight > self.lifetimes.bytes {
            match self.entries.pop_lru() {
                Some((_, entry)) => self.weight -= entry.weight,
                None => break,
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.pop(key) {
            self.weight -= entry.weight;
        }
    }
}

fn weight(key: &Key) -> usize {
    let scope = key.scope.as_ref().map_or(0, |scope| {
        let secrets: usize = scope.pull_secrets.iter().map(|name| name.len() + 24).sum();
        scope.namespace.len() + scope.service_account.len() + secrets
    });
    256 + scope + key.wanted.image.len()
}

#[cfg(test)]
mod tests {
    use super::super::{Cause, Platform};
    use super::*;

    fn scope(namespace: &str) -> PullScope {
        PullScope {
            namespace: namespace.into(),
            service_account: "default".into(),
            pull_secrets: vec!["pull".into()],
        }
    }

    fn wanted(image: &str) -> Wanted {
        Wanted {
            image: image.into(),
            platform: Platform::amd64(),
        }
    }

    fn key(scope: Option<PullScope>, image: &str) -> Key {
        Key {
            scope,
            wanted: wanted(image),
        }
    }

    fn config(word: &str) -> Arc<ImageConfig> {
        let config = ImageConfig {
            cmd: vec![word.into()],
            ..ImageConfig::default()
        };
        config.into()
    }

    const NOW: Duration = Duration::ZERO;

    #[tokio::test]
    async fn credentials_of_one_tenant_do_not_answer_another() {
        let now = Instant::now();
        let mut cache = Cache::new(Lifetimes::default());
        let mine = key(Some(scope("mine")), "private");
        cache.insert(mine, Ok((config("a"), "c".into())), false, now);
        let mut account = scope("mine");
        account.service_account = "other".into();
        let mut secrets = scope("mine");
        secrets.pull_secrets.clear();
        assert!(matches!(
            cache.get(&scope("mine"), &wanted("private"), now, NOW),
            Known::Fresh(Ok(_))
        ));
        for other in [scope("yours"), account, secrets] {
            assert_eq!(
                cache.get(&other, &wanted("private"), now, NOW),
                Known::Nothing
            );
        }
        cache.insert(
            key(None, "public"),
            Ok((config("b"), "c".into())),
            false,
            now,
        );
        assert!(matches!(
            cache.get(&scope("yours"), &wanted("public"), now, NOW),
            Known::Fresh(Ok(_))
        ));
    }

    #[tokio::test]
    async fn answers_age() {
        let now = Instant::now();
        let lifetimes = Lifetimes::default();
        let mut cache = Cache::new(lifetimes);
        let mine = scope("mine");
        cache.insert(key(None, "tag"), Ok((config("a"), "c".into())), false, now);
        cache.insert(
            key(None, "digest"),
            Ok((config("a"), "c".into())),
            true,
            now,
        );
        let failure = Unresolved::new(Cause::ImageNotFound, "");
        cache.insert(
            key(Some(mine.clone()), "gone"),
            Err(failure.clone()),
            false,
            now,
        );
        assert_eq!(
            cache.get(&mine, &wanted("gone"), now, NOW),
            Known::Fresh(Err(failure))
        );
        let later = now + lifetimes.failure;
        assert_eq!(
            cache.get(&mine, &wanted("gone"), later, NOW),
            Known::Nothing
        );
        let early = cache.get(&mine, &wanted("tag"), later, lifetimes.tag);
        assert!(matches!(early, Known::Stale(..)), "ends within the margin");

        let later = now + lifetimes.tag;
        assert!(matches!(
            cache.get(&mine, &wanted("tag"), later, NOW),
            Known::Stale(..)
        ));
        assert!(matches!(
            cache.get(&mine, &wanted("digest"), later, NOW),
            Known::Fresh(Ok(_))
        ));
        cache.renew(&key(None, "tag"), later);
        assert!(matches!(
            cache.get(&mine, &wanted("tag"), later, NOW),
            Known::Fresh(Ok(_))
        ));
        let much_later = later + lifetimes.stale;
        assert_eq!(
            cache.get(&mine, &wanted("tag"), much_later, NOW),
            Known::Nothing
        );
    }

    #[tokio::test]
    async fn memory_is_bounded_and_the_unused_go_first() {
        let now = Instant::now();
        let mut cache = Cache::new(Lifetimes {
            bytes: 20_000,
            ..Lifetimes::default()
        });
        let mine = scope("mine");
        for number in 0..1000 {
            let image = format!("image-{number}");
            cache.insert(
                key(None, &image),
                Ok((config(&"x".repeat(1000)), "c".into())),
                false,
                now,
            );
            assert!(matches!(
                cache.get(&mine, &wanted("image-0"), now, NOW),
                Known::Fresh(_)
            ));
        }
        assert!((5..20).contains(&cache.len()), "{}", cache.len());
        assert!(cache.weight <= 20_000);
        cache.insert(
            key(None, "huge"),
            Ok((config(&"x".repeat(30_000)), "c".into())),
            false,
            now,
        );
        assert_eq!(
            (cache.len(), cache.weight),
            (0, 0),
            "larger than everything"
        );
    }
}
