//! Who opened a session in a container by `kubectl exec`: the operator's word, checked.
//!
//! The tracer of such a session shows a token that the operator signed when the API server asked
//! it about the command. It is good for this pod, one container and one session, and for a short
//! time. A session without a good one is traced all the same: it is reported as unidentified.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_events::session::{Claims, SESSION_PREFIX, Token};
use picket_events::wire::Hello;
use ring::signature::{ED25519, UnparsedPublicKey};

/// Length of a public key of Ed25519, in bytes.
const KEY_LENGTH: usize = 32;
/// Most keys that are looked at.
const MAX_KEYS: usize = 8;
/// How far the operator's clock may be ahead of ours.
const SKEW: u64 = Duration::from_secs(60).as_secs();
/// Most nonces that are remembered. Each is the operator's, so that nobody else can fill this.
const MAX_NONCES: usize = 4096;
const NANOSECONDS: u64 = 1_000_000_000;

/// A session that somebody opened in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserSession {
    /// Tells it from other sessions.
    pub id: String,
    /// Who opened it; empty where that is not known.
    pub username: String,
    /// The caller's uid, as the API server knows it; empty for most ways of authentication.
    pub uid: String,
    /// The caller's groups.
    pub groups: Vec<String>,
    /// True when there are more groups.
    pub groups_truncated: bool,
    /// Why it is not known who opened it, if it is not.
    pub unidentified: Option<Unidentified>,
}

/// Why it is not known who opened a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// The tracer showed no token.
    #[error("it came without a token")]
    TokenMissing,
    /// What it showed is no token.
    #[error("its token is malformed")]
    TokenMalformed,
    /// No key of the operator's signed it.
    #[error("its token is not signed by the operator")]
    TokenForged,
    /// It is for another pod, container or session.
    #[error("its token is for another pod, container or session")]
    TokenForeign,
    /// It was signed too long ago, or is not valid yet.
    #[error("its token has expired")]
    TokenExpired,
    /// Another session has begun with it.
    #[error("its token was used before")]
    TokenReused,
    /// This agent was given no key to check tokens with.
    #[error("this agent has no key to check tokens with")]
    KeysMissing,
}

impl Unidentified {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TokenMissing => "TokenMissing",
            Self::TokenMalformed => "TokenMalformed",
            Self::TokenForged => "TokenForged",
            Self::TokenForeign => "TokenForeign",
            Self::TokenExpired => "TokenExpired",
            Self::TokenReused => "TokenReused",
            Self::KeysMissing => "KeysMissing",
        }
    }
}

/// Text that is no list of public keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a public key of Ed25519 in base64")]
pub struct KeyError(String);

/// Checks tokens.
#[derive(Debug, Default)]
pub struct Sessions {
    keys: Vec<Vec<u8>>,
    /// Nonces that were good, with the tracer that showed them and when they expire (seconds since
    /// the epoch).
    used: HashMap<[u8; 16], ([u8; 32], u64)>,
}

impl Sessions {
    /// Trusts these public keys: base64, commas between them. Empty text is no key.
    ///
    /// # Errors
    /// [`KeyError`] names the first that is none.
    pub fn with_keys(text: &str) -> Result<Self, KeyError> {
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        let keys = words.take(MAX_KEYS).map(|word| {
            let key = STANDARD.decode(word).ok();
            key.filter(|key| key.len() == KEY_LENGTH)
                .ok_or_else(|| KeyError(word.to_owned()))
        });
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            used: HashMap::new(),
        })
    }

    /// Who opened the session of which this is the tracer's first hello; `None` when it is the
    /// tracer of something else. `pod_uid` is this pod's, `now` in nanoseconds since the epoch.
    pub(crate) fn identify(
        &mut self,
        hello: &Hello,
        pod_uid: &str,
        now: u64,
    ) -> Option<UserSession> {
        let (container, session) = hello.container.split_once(':')?;
        let id = session.strip_prefix(SESSION_PREFIX)?;
        Some(
            match self.check(hello, container, session, pod_uid, now / NANOSECONDS) {
                Ok(claims) => UserSession {
                    id: claims.id(),
                    username: claims.username,
                    uid: claims.uid,
                    groups: claims.groups,
                    groups_truncated: claims.groups_truncated,
                    unidentified: None,
                },
                Err(reason) => UserSession {
                    id: id.chars().take(32).collect(),
                    unidentified: Some(reason),
                    ..UserSession::default()
                },
            },
        )
    }

    fn check(
        &mut self,
        hello: &Hello,
        container: &str,
        session: &str,
        pod_uid: &str,
        now: u64,
    ) -> Result<Claims, Unidentified> {
        let text = hello.session_token.as_deref();
        let text = text.ok_or(Unidentified::TokenMissing)?;
        if self.keys.is_empty() {
            return Err(Unidentified::KeysMissing);
        }
        let token: Token = text.parse().map_err(|_| Unidentified::TokenMalformed)?;
        let message = token.signed.message();
        let is_signed_by = |key: &Vec<u8>| {
            UnparsedPublicKey::new(&ED25519, key)
                .verify(&message, &token.signature)
                .is_ok()
        };
        if !self.keys.iter().any(is_signed_by) {
            return Err(Unidentified::TokenForged);
        }
        let claims = token.signed.claims();
        let claims = claims.map_err(|_| Unidentified::TokenMalformed)?;
        if claims.pod_uid != pod_uid
            || claims.container != container
            || claims.session_name() != session
        {
            return Err(Unidentified::TokenForeign);
        }
        if now > claims.expires_at || now + SKEW < claims.issued_at {
            return Err(Unidentified::TokenExpired);
        }
        // One that has expired is refused without being remembered.
        self.used.retain(|_, (_, expires_at)| *expires_at >= now);
        match self.used.get(&claims.nonce) {
            Some((key, _)) if *key == hello.session_key => {}
            Some(_) => return Err(Unidentified::TokenReused),
            None if self.used.len() < MAX_NONCES => {
                let used = (hello.session_key, claims.expires_at);
                self.used.insert(claims.nonce, used);
            }
            // So many sessions a minute are no sessions.
            None => return Err(Unidentified::TokenReused),
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    const NOW: u64 = 1_000_000;
    const POD: &str = "7";

    fn operator(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn sessions(seeds: &[u8]) -> Sessions {
        let keys = seeds
            .iter()
            .map(|seed| STANDARD.encode(operator(*seed).public_key()));
        Sessions::with_keys(&keys.collect::<Vec<_>>().join(",")).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            pod_uid: POD.into(),
            container: "web".into(),
            nonce: [1; 16],
            username: "alice".into(),
            groups: vec!["developers".into()],
            issued_at: NOW,
            expires_at: NOW + 120,
            ..Claims::default()
        }
    }

    /// The hello of the tracer of a session that this operator's token is for.
    fn hello(key: u8, claims: &Claims, seed: u8) -> Hello {
        let signed = claims.to_signed().unwrap();
        let signature = operator(seed).sign(&signed.message());
        Hello {
            container: format!("{}:{}", claims.container, claims.session_name()),
            session_key: [key; 32],
            session_token: Some(signed.with_signature(signature.as_ref()).to_string()),
            ..Hello::default()
        }
    }

    fn identified(
        sessions: &mut Sessions,
        hello: &Hello,
        now: u64,
    ) -> Result<String, Unidentified> {
        let session = sessions
            .identify(hello, POD, now * NANOSECONDS)
            .expect("a session");
        session.unidentified.map_or(Ok(session.username), Err)
    }

    #[test]
    fn a_session_has_the_name_that_the_operator_signed() {
        let session = sessions(&[1])
            .identify(&hello(1, &claims(), 1), POD, NOW * NANOSECONDS)
            .unwrap();
        assert_eq!(session.username, "alice");
        assert_eq!(session.groups, ["developers"]);
        assert_eq!(session.id, "01".repeat(16));
        assert_eq!(session.unidentified, None);
    }

    #[test]
    fn a_token_is_good_for_what_it_was_signed_for_only() {
        let foreign_pod = Claims {
            pod_uid: "8".into(),
            ..claims()
        };
        let mut other_container = hello(1, &claims(), 1);
        other_container.container = other_container.container.replace("web", "db");
        let mut other_session = hello(1, &claims(), 1);
        other_session.container = "web:exec-0000000000000000".into();
        let mut without = hello(1, &claims(), 1);
        without.session_token = None;
        let mut cut = hello(1, &claims(), 1);
        cut.session_token = Some("AAAA".into());
        let mut changed = hello(1, &claims(), 1);
        let text = changed.session_token.take().unwrap();
        changed.session_token = Some(text.replacen('A', "B", 1));
        for (hello, now, expected) in [
            (hello(1, &foreign_pod, 1), NOW, Unidentified::TokenForeign),
            (other_container, NOW, Unidentified::TokenForeign),
            (other_session, NOW, Unidentified::TokenForeign),
            (without, NOW, Unidentified::TokenMissing),
            (cut, NOW, Unidentified::TokenMalformed),
            (changed, NOW, Unidentified::TokenForged),
            (hello(1, &claims(), 9), NOW, Unidentified::TokenForged),
            (
                hello(1, &claims(), 1),
                NOW + 121,
                Unidentified::TokenExpired,
            ),
            (
                hello(1, &claims(), 1),
                NOW - SKEW - 1,
                Unidentified::TokenExpired,
            ),
        ] {
            assert_eq!(identified(&mut sessions(&[1]), &hello, now), Err(expected));
        }
        let mut keyless = Sessions::default();
        let refused = identified(&mut keyless, &hello(1, &claims(), 1), NOW);
        assert_eq!(refused, Err(Unidentified::KeysMissing));
    }

    #[test]
    fn a_token_is_good_for_one_tracer() {
        let mut sessions = sessions(&[1]);
        let first = hello(1, &claims(), 1);
        assert_eq!(identified(&mut sessions, &first, NOW), Ok("alice".into()));
        assert_eq!(
            identified(&mut sessions, &first, NOW + 1),
            Ok("alice".into()),
            "again"
        );
        let copied = hello(2, &claims(), 1);
        let refused = identified(&mut sessions, &copied, NOW + 1);
        assert_eq!(refused, Err(Unidentified::TokenReused));
        // The API server asked twice for what became one session.
        let retried = Claims {
            nonce: [2; 16],
            ..claims()
        };
        let retried = hello(2, &retried, 1);
        assert_eq!(
            identified(&mut sessions, &retried, NOW + 1),
            Ok("alice".into())
        );
    }

    #[test]
    fn while_keys_change_either_counts() {
        let mut sessions = sessions(&[1, 2]);
        for (seed, nonce) in [(1, 1), (2, 2)] {
            let claims = Claims {
                nonce: [nonce; 16],
                ..claims()
            };
            let hello = hello(nonce, &claims, seed);
            assert_eq!(identified(&mut sessions, &hello, NOW), Ok("alice".into()));
        }
    }

    #[test]
    fn only_sessions_are_asked_who_they_are() {
        for container in ["web", "web:livenessProbe", "web:postStart"] {
            let hello = Hello {
                container: container.into(),
                ..Hello::default()
            };
            assert_eq!(sessions(&[1]).identify(&hello, POD, 0), None, "{container}");
        }
    }

    #[test]
    fn keys_that_are_none_are_named() {
        assert!(Sessions::with_keys("").unwrap().keys.is_empty());
        for text in ["x", "AAAA", "AAAA,"] {
            let error = Sessions::with_keys(text).unwrap_err().to_string();
            assert!(error.contains("Ed25519"), "{error}");
        }
    }
}
