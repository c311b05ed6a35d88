//! What the Secret with the session keys holds, and when a key is due for another.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::ByteString;
use picket_webhook::sessions::SigningKeys;

/// How old a key grows before another one signs. Pods trust the two keys there were when they
/// were made, and each key signs for the pods that know no newer one as long as it is kept: so a
/// pod's sessions have names for at least this long, and for twice that mostly.
pub const KEY_LIFE: Duration = Duration::from_secs(180 * 24 * 60 * 60);

const CURRENT: &str = "session.key";
const PREVIOUS: &str = "previous-session.key";
const MADE: &str = "made";

/// Why keys could not be made or read. No variant carries key material.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BundleError {
    /// The Secret lacks an entry.
    #[error("the Secret with the session keys has no entry `{0}`")]
    Missing(&'static str),
    /// An entry is not what it should be.
    #[error("entry `{0}` of the Secret with the session keys cannot be used")]
    Malformed(&'static str),
    /// The system gives no randomness.
    #[error("a session key cannot be made: no randomness")]
    Randomness,
}

/// The keys, in PKCS #8.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    current: Vec<u8>,
    previous: Option<Vec<u8>>,
    made: SystemTime,
}

impl Bundle {
    /// With a new key and no other.
    ///
    /// # Errors
    /// [`BundleError::Randomness`].
    pub fn generate(now: SystemTime) -> Result<Self, BundleError> {
        Ok(Self {
            current: SigningKeys::generate().ok_or(BundleError::Randomness)?,
            previous: None,
            made: now,
        })
    }

    /// With a new key, and the present one as the previous.
    ///
    /// # Errors
    /// [`BundleError::Randomness`].
    pub fn renewed(&self, now: SystemTime) -> Result<Self, BundleError> {
        Ok(Self {
            previous: Some(self.current.clone()),
            ..Self::generate(now)?
        })
    }

    /// Whether the present key has lived long enough.
    #[must_use]
    pub fn is_due(&self, now: SystemTime) -> bool {
        now.duration_since(self.made)
            .is_ok_and(|age| age >= KEY_LIFE)
    }

    /// The keys, ready to sign.
    ///
    /// # Errors
    /// [`BundleError::Malformed`].
    pub fn signing(&self) -> Result<SigningKeys, BundleError> {
        let keys = [Some(&self.current), self.previous.as_ref()];
        SigningKeys::from_pkcs8(keys.into_iter().flatten().map(Vec::as_slice))
            .map_err(|_| BundleError::Malformed(CURRENT))
    }

    /// Reads the keys from the data of their Secret.
    ///
    /// # Errors
    /// The entry that is missing or malformed. Keys that were read can sign.
    pub fn from_secret(data: &BTreeMap<String, ByteString>) -> Result<Self, BundleError> {
        let entry = |name| data.get(name).map(|value| value.0.clone());
        let made = entry(MADE).ok_or(BundleError::Missing(MADE))?;
        let seconds = std::str::from_utf8(&made).ok();
        let seconds = seconds.and_then(|text| text.trim().parse().ok());
        let bundle = Self {
            current: entry(CURRENT).ok_or(BundleError::Missing(CURRENT))?,
            previous: entry(PREVIOUS),
            made: UNIX_EPOCH + Duration::from_secs(seconds.ok_or(BundleError::Malformed(MADE))?),
        };
        bundle.signing()?;
        Ok(bundle)
    }

    /// The data of the Secret that holds them.
    #[must_use]
    pub fn to_secret(&self) -> BTreeMap<String, ByteString> {
        let made = self.made.duration_since(UNIX_EPOCH).unwrap_or_default();
        let made = made.as_secs().to_string().into_bytes();
        [
            (CURRENT, Some(self.current.clone())),
            (PREVIOUS, self.previous.clone()),
            (MADE, Some(made)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), ByteString(value?))))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(days * 24 * 60 * 60)
    }

    #[test]
    fn a_new_key_leaves_the_one_before_it_in_use() {
        let first = Bundle::generate(at(1)).expect("keys");
        assert!(!first.is_due(at(180)));
        assert!(first.is_due(at(181)));
        let second = first.renewed(at(181)).expect("keys");
        assert!(!second.is_due(at(182)));
        let (old, new) = (
            first.signing().expect("keys").public(),
            second.signing().expect("keys").public(),
        );
        assert_eq!((old.len(), new.len()), (1, 2));
        assert_eq!(new[1], old[0]);
        let third = second
            .renewed(at(361))
            .expect("keys")
            .signing()
            .expect("keys");
        assert_eq!(third.public()[1..], new[..1]);
    }

    #[test]
    fn the_secret_holds_all_of_it() {
        let first = Bundle::generate(at(1)).expect("keys");
        for bundle in [first.renewed(at(2)).expect("keys"), first] {
            assert!(Bundle::from_secret(&bundle.to_secret()) == Ok(bundle));
        }
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_named() {
        let good = Bundle::generate(at(1)).expect("keys").to_secret();
        for (entry, value, expected) in [
            (CURRENT, None, BundleError::Missing(CURRENT)),
            (MADE, None, BundleError::Missing(MADE)),
            (CURRENT, Some("x"), BundleError::Malformed(CURRENT)),
            (MADE, Some("yesterday"), BundleError::Malformed(MADE)),
        ] {
            let mut data = good.clone();
            data.remove(entry);
            if let Some(value) = value {
                data.insert(entry.to_owned(), ByteString(value.into()));
            }
            assert_eq!(Bundle::from_secret(&data).err(), Some(expected));
        }
    }
}
