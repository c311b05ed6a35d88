//! Sessions by `kubectl exec`: what is known of the pod, and the operator's word on the caller.
//!
//! Signing keys are Ed25519. Their public halves go into the agent's environment when a pod is
//! injected and stay there as long as the pod lives, so a pod is known by the keys that it trusts
//! ([`RunningPod::session_keys`]), and the newest of those that the operator still has signs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_events::session::Claims;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::namespace::Answer;

/// How long a session may take to begin: from the API server's question to the hello of its
/// tracer, by way of kubelet and the container runtime.
pub const LIFETIME: Duration = Duration::from_secs(120);
/// Longest name and uid of a caller in a token, in bytes. Longer ones are cut.
const MAX_NAME: usize = 256;
/// Most bytes of groups in a token.
const MAX_GROUPS: usize = 2048;

/// Who makes a request, as the API server authenticated it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub username: String,
    /// Uid; empty for most ways of authentication.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// A running pod, as far as the planner asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunningPod {
    /// Its uid.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its containers of all kinds.
    pub containers: Vec<RunningContainer>,
    /// Public keys that its agent trusts, as they were put into its environment.
    pub session_keys: Vec<String>,
}

/// A container of a running pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunningContainer {
    /// Its name.
    pub name: String,
    /// True for one of `spec.containers`, of which a command runs in the only one by default.
    pub main: bool,
    /// True when the tracer can be run in it: our volume is mounted where it belongs.
    pub holds_tracer: bool,
}

/// The operator's word on a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The session's name, behind the container's.
    pub name: String,
    /// The signed text.
    pub token: String,
}

/// Gives the operator's word on a session in this container of this pod; `None` when it has no
/// key that the pod trusts.
pub type Issue<'a> = &'a dyn Fn(&RunningPod, &str) -> Option<Issued>;

/// Knows running pods and holds keys: watches in the operator.
pub trait Sessions: Send + Sync + 'static {
    /// The pod of this namespace and name, if it is known.
    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<RunningPod>>;

    /// The keys to sign with now.
    fn keys(&self) -> Arc<SigningKeys>;
}

/// Keys that sign sessions, the present one first.
#[derive(Default)]
pub struct SigningKeys(Vec<Ed25519KeyPair>);

/// Bytes that are no signing key. The message quotes nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a private key of Ed25519 in PKCS #8")]
pub struct KeyError;

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.public()).finish()
    }
}

impl SigningKeys {
    /// A new key in PKCS #8; `None` when the system gives no randomness.
    pub fn generate() -> Option<Vec<u8>> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Some(document.as_ref().to_vec())
    }

    /// From keys in PKCS #8, the present one first.
    ///
    /// # Errors
    /// [`KeyError`] for the first that is none.
    pub fn from_pkcs8<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, KeyError> {
        let keys = keys
            .into_iter()
            .map(|key| Ed25519KeyPair::from_pkcs8(key).map_err(|_| KeyError));
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// The public halves in base64, the present one first.
    pub fn public(&self) -> Vec<String> {
        self.0.iter().map(public).collect()
    }

    /// Signs that `user` opens a session in a container of a pod at this time (seconds since the
    /// epoch), by the newest key that the pod trusts.
    pub fn issue(
        &self,
        pod: &RunningPod,
        container: &str,
        user: &User,
        now: u64,
    ) -> Option<Issued> {
        let key = self
            .0
            .iter()
            .find(|key| pod.session_keys.contains(&public(key)))?;
        let mut nonce = [0; 16];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let (groups, groups_truncated) = within(&user.groups, MAX_GROUPS);
        let claims = Claims {
            pod_uid: pod.uid.clone(),
            container: container.to_owned(),
            nonce,
            username: cut(&user.username),
            uid: cut(&user.uid),
            groups,
            groups_truncated,
            issued_at: now,
            expires_at: now + LIFETIME.as_secs(),
        };
        let signed = claims.to_signed().ok()?;
        let signature = key.sign(&signed.message());
        Some(Issued {
            name: claims.session_name(),
            token: signed.with_signature(signature.as_ref()).to_string(),
        })
    }
}

fn public(key: &Ed25519KeyPair) -> String {
    STANDARD.encode(key.public_key())
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_NAME.min(text.len()))].to_owned()
}

/// The first of these, as long as they are no longer together than `most` bytes, and whether any
/// was left out.
fn within(words: &[String], most: usize) -> (Vec<String>, bool) {
    let mut room = most;
    let fitting = words.iter().take_while(|word| {
        let fits = word.len() < room;
        room = room.saturating_sub(word.len() + 1);
        fits
    });
    let fitting: Vec<String> = fitting.cloned().collect();
    let is_cut = fitting.len() < words.len();
    (fitting, is_cut)
}

#[cfg(test)]
mod tests {
    use picket_events::session::{MAX_TOKEN, Token};
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    fn key(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key")
    }

    fn pod(trusts: &[u8]) -> RunningPod {
        RunningPod {
            uid: "7".into(),
            session_keys: trusts.iter().map(|seed| public(&key(*seed))).collect(),
            ..RunningPod::default()
        }
    }

    fn alice(groups: usize) -> User {
        User {
            username: "alice".into(),
            uid: String::new(),
            groups: (0..groups)
                .map(|number| format!("group-{number}"))
                .collect(),
        }
    }

    #[test]
    fn the_newest_key_that_the_pod_trusts_signs() {
        let keys = SigningKeys(vec![key(2), key(1)]);
        for (trusted, signer) in [
            (&[2, 1][..], Some(2)),
            (&[1], Some(1)),
            (&[9], None),
            (&[], None),
        ] {
            let issued = keys.issue(&pod(trusted), "web", &alice(1), 100);
            assert_eq!(issued.is_some(), signer.is_some(), "{trusted:?}");
            let (Some(issued), Some(signer)) = (issued, signer) else {
                continue;
            };
            let token: Token = issued.token.parse().expect("a token");
            let public = key(signer);
            let public = UnparsedPublicKey::new(&ED25519, public.public_key().as_ref().to_vec());
            assert_eq!(
                public.verify(&token.signed.message(), &token.signature),
                Ok(())
            );
            let claims = token.signed.claims().expect("claims");
            assert_eq!(
                (claims.username.as_str(), claims.pod_uid.as_str()),
                ("alice", "7")
            );
            assert_eq!(claims.container, "web");
            assert_eq!((claims.issued_at, claims.expires_at), (100, 220));
            assert_eq!(claims.session_name(), issued.name);
        }
    }

    #[test]
    fn no_two_sessions_have_one_name() {
        let keys = SigningKeys(vec![key(1)]);
        let name = || {
            keys.issue(&pod(&[1]), "web", &alice(0), 1)
                .expect("issued")
                .name
        };
        assert_ne!(name(), name());
    }

    #[test]
    fn whoever_is_in_a_thousand_groups_gets_a_token_that_fits() {
        let keys = SigningKeys(vec![key(1)]);
        let mut user = alice(1000);
        user.username = "é".repeat(1000);
        let issued = keys.issue(&pod(&[1]), "web", &user, 1).expect("issued");
        assert!(issued.token.len() < MAX_TOKEN / 2, "{}", issued.token.len());
        let token: Token = issued.token.parse().expect("a token");
        let claims = token.signed.claims().expect("claims");
        assert!(claims.groups_truncated);
        assert_eq!(claims.groups[0], "group-0");
        assert_eq!(claims.username.len(), 256);
    }

    #[test]
    fn a_generated_key_comes_back_and_does_not_show() {
        let generated = SigningKeys::generate().expect("a key");
        let keys = SigningKeys::from_pkcs8([generated.as_slice()]).expect("a key");
        assert_eq!(format!("{keys:?}"), format!("{:?}", keys.public()));
        assert_eq!(
            SigningKeys::from_pkcs8([&b"nothing"[..]]).expect_err("no key"),
            KeyError
        );
    }
}
