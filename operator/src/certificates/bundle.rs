//! What the Secret holds, how it is made and what can be read from it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::ByteString;
use rcgen::KeyPair;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use super::generate::{make_authority, make_leaf};

/// How far certificates are back-dated: the clocks of API servers and ours may
/// differ.
pub const SKEW: Duration = Duration::from_secs(60 * 60);

const AUTHORITY_CERTIFICATE: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const PREVIOUS_AUTHORITY: &str = "previous-ca.crt";
const LEAF_CERTIFICATE: &str = "tls.crt";
const LEAF_KEY: &str = "tls.key";

/// Why a bundle could not be made or read. No variant carries key material.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The Secret lacks an entry.
    #[error("the certificate Secret has no entry `{0}`")]
    Missing(&'static str),
    /// An entry is not what it should be.
    #[error("entry `{entry}` of the certificate Secret cannot be used: {reason}")]
    Malformed {
        /// Key in the Secret.
        entry: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate could not be generated.
    #[error("cannot generate a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

/// A private key in PEM. Its `Debug` form does not show it, so that no log can.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(String);

impl PrivateKey {
    pub(super) fn new(key: &KeyPair) -> Self {
        Self(key.serialize_pem())
    }

    /// The key in PEM (PKCS#8).
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKey(…)")
    }
}

/// The names for which the serving certificate is issued, sorted and unique:
/// DNS names and IP addresses as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerNames(Vec<String>);

impl ServerNames {
    /// The names under which API servers reach a Service, and `additional`
    /// ones (DNS names or IP addresses, for a configuration with a URL).
    pub fn of_service(
        service: &str,
        namespace: &str,
        additional: impl IntoIterator<Item = String>,
    ) -> Self {
        Self::new(
            [
                format!("{service}.{namespace}.svc"),
                format!("{service}.{namespace}.svc.cluster.local"),
                format!("{service}.{namespace}"),
            ]
            .into_iter()
            .chain(additional),
        )
    }

    /// Exactly these names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Self(names)
    }

    /// The names, sorted.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

/// The authority, the serving certificate, and the authority before, if API
/// servers should still trust it. All texts are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    authority: String,
    authority_key: PrivateKey,
    previous_authority: Option<String>,
    leaf: String,
    leaf_key: PrivateKey,
}

/// What the rotation decides on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// When the authority was made.
    pub authority_made: SystemTime,
    /// When the authority expires.
    pub authority_expires: SystemTime,
    /// Whether an authority before this one is kept.
    pub has_previous_authority: bool,
    /// When the serving certificate was made.
    pub leaf_made: SystemTime,
    /// When the serving certificate expires.
    pub leaf_expires: SystemTime,
    /// The names of the serving certificate.
    pub leaf_names: ServerNames,
    /// Whether the serving certificate was signed by the current authority.
    pub leaf_signed_by_authority: bool,
    /// Whether it was signed by the current or the previous authority, so that
    /// whoever trusts the published bundle trusts it.
    pub leaf_trusted: bool,
}

impl Bundle {
    /// A new authority and a serving certificate signed by it.
    ///
    /// # Errors
    /// [`BundleError::Generate`] if a name is not a valid DNS name or IP
    /// address.
    pub fn generate(names: &ServerNames, now: SystemTime) -> Result<Self, BundleError> {
        let (authority, authority_key) = make_authority(now)?;
        let (leaf, leaf_key) = make_leaf(&authority, &authority_key, names, now)?;
        Ok(Self {
            authority,
            authority_key,
            previous_authority: None,
            leaf,
            leaf_key,
        })
    }

    /// The same bundle with a new authority; the serving certificate stays as
    /// it is, signed by the authority that is now the previous one.
    ///
    /// # Errors
    /// [`BundleError::Generate`].
    pub fn with_new_authority(&self, now: SystemTime) -> Result<Self, BundleError> {
        let (authority, authority_key) = make_authority(now)?;
        Ok(Self {
            authority,
            authority_key,
            previous_authority: Some(self.authority.clone()),
            leaf: self.leaf.clone(),
            leaf_key: self.leaf_key.clone(),
        })
    }

    /// The same bundle with a new serving certificate, signed by the current
    /// authority.
    ///
    /// # Errors
    /// [`BundleError::Generate`] as [`Bundle::generate`].
    pub fn with_new_leaf(&self, names: &ServerNames, now: SystemTime) -> Result<Self, BundleError> {
        let (leaf, leaf_key) = make_leaf(&self.authority, &self.authority_key, names, now)?;
        Ok(Self {
            leaf,
            leaf_key,
            ..self.clone()
        })
    }

    /// The same bundle without the previous authority.
    #[must_use]
    pub fn without_previous_authority(&self) -> Self {
        Self {
            previous_authority: None,
            ..self.clone()
        }
    }

    /// What API servers must trust: the current authority, then the previous
    /// one. This is the text (PEM) of `caBundle`.
    #[must_use]
    pub fn trust(&self) -> String {
        let mut trust = self.authority.clone();
        if let Some(previous) = &self.previous_authority {
            trust.push_str(previous);
        }
        trust
    }

    /// The current authority's certificate in PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The authority, current or previous, that signed the serving
    /// certificate, in PEM.
    ///
    /// # Errors
    /// As [`Bundle::facts`]; [`BundleError::Malformed`] if neither signed it.
    pub fn leaf_authority(&self) -> Result<&str, BundleError> {
        let facts = self.facts()?;
        match &self.previous_authority {
            _ if facts.leaf_signed_by_authority => Ok(&self.authority),
            Some(previous) if facts.leaf_trusted => Ok(previous),
            _ => Err(malformed(LEAF_CERTIFICATE, "no stored authority signed it")),
        }
    }

    /// The serving certificate in PEM.
    #[must_use]
    pub fn leaf(&self) -> &str {
        &self.leaf
    }

    /// The serving certificate's key.
    #[must_use]
    pub fn leaf_key(&self) -> &PrivateKey {
        &self.leaf_key
    }

    /// Reads a bundle from the data of its Secret.
    ///
    /// # Errors
    /// The entry that is missing or malformed. A bundle that was read is whole:
    /// its certificates parse and both keys can sign.
    pub fn from_secret(data: &BTreeMap<String, ByteString>) -> Result<Self, BundleError> {
        let bundle = Self {
            authority: text(data, AUTHORITY_CERTIFICATE)?,
            authority_key: key(data, AUTHORITY_KEY)?,
            previous_authority: match data.get(PREVIOUS_AUTHORITY) {
                Some(value) if !value.0.is_empty() => Some(text(data, PREVIOUS_AUTHORITY)?),
                _ => None,
            },
            leaf: text(data, LEAF_CERTIFICATE)?,
            leaf_key: key(data, LEAF_KEY)?,
        };
        bundle.facts()?;
        Ok(bundle)
    }

    /// The data of the Secret that holds this bundle.
    #[must_use]
    pub fn to_secret(&self) -> BTreeMap<String, ByteString> {
        let mut entries = vec![
            (AUTHORITY_CERTIFICATE, &self.authority),
            (AUTHORITY_KEY, &self.authority_key.0),
            (LEAF_CERTIFICATE, &self.leaf),
            (LEAF_KEY, &self.leaf_key.0),
        ];
        if let Some(previous) = &self.previous_authority {
            entries.push((PREVIOUS_AUTHORITY, previous));
        }
        entries
            .into_iter()
            .map(|(name, text)| (name.to_owned(), ByteString(text.clone().into_bytes())))
            .collect()
    }

    /// What the rotation decides on.
    ///
    /// # Errors
    /// The entry whose certificate cannot be parsed.
    pub fn facts(&self) -> Result<Facts, BundleError> {
        let authority_der = der(AUTHORITY_CERTIFICATE, &self.authority)?;
        let authority = parse(AUTHORITY_CERTIFICATE, &authority_der)?;
        let leaf_der = der(LEAF_CERTIFICATE, &self.leaf)?;
        let leaf = parse(LEAF_CERTIFICATE, &leaf_der)?;
        let leaf_signed_by_authority = leaf.verify_signature(Some(authority.public_key())).is_ok();
        let leaf_signed_by_previous = match &self.previous_authority {
            Some(previous) => {
                let previous_der = der(PREVIOUS_AUTHORITY, previous)?;
                let previous = parse(PREVIOUS_AUTHORITY, &previous_der)?;
                leaf.verify_signature(Some(previous.public_key())).is_ok()
            }
            None => false,
        };
        Ok(Facts {
            authority_made: seconds(authority.validity().not_before.timestamp()) + SKEW,
            authority_expires: seconds(authority.validity().not_after.timestamp()),
            has_previous_authority: self.previous_authority.is_some(),
            leaf_made: seconds(leaf.validity().not_before.timestamp()) + SKEW,
            leaf_expires: seconds(leaf.validity().not_after.timestamp()),
            leaf_names: names(&leaf),
            leaf_signed_by_authority,
            leaf_trusted: leaf_signed_by_authority || leaf_signed_by_previous,
        })
    }
}

fn text(data: &BTreeMap<String, ByteString>, entry: &'static str) -> Result<String, BundleError> {
    let value = data.get(entry).ok_or(BundleError::Missing(entry))?;
    String::from_utf8(value.0.clone()).map_err(|_| malformed(entry, "it is not text"))
}

fn key(
    data: &BTreeMap<String, ByteString>,
    entry: &'static str,
) -> Result<PrivateKey, BundleError> {
    let pem = text(data, entry)?;
    // rcgen's message does not quote the key, but nothing promises so.
    KeyPair::from_pem(&pem).map_err(|_| malformed(entry, "it is not a private key in PEM"))?;
    Ok(PrivateKey(pem))
}

fn der(entry: &'static str, pem: &str) -> Result<Vec<u8>, BundleError> {
    match Pem::iter_from_buffer(pem.as_bytes()).next() {
        Some(Ok(pem)) => Ok(pem.contents),
        Some(Err(error)) => Err(malformed(entry, error)),
        None => Err(malformed(entry, "it holds no PEM block")),
    }
}

fn parse<'a>(entry: &'static str, der: &'a [u8]) -> Result<X509Certificate<'a>, BundleError> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| malformed(entry, error))
}

fn malformed(entry: &'static str, reason: impl fmt::Display) -> BundleError {
    BundleError::Malformed {
        entry,
        reason: reason.to_string(),
    }
}

fn names(leaf: &X509Certificate<'_>) -> ServerNames {
    let extension = leaf.subject_alternative_name().ok().flatten();
    ServerNames::new(
        extension
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(octets) => address(octets).map(|a| a.to_string()),
                _ => None,
            }),
    )
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

fn seconds(timestamp: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(timestamp.max(0).unsigned_abs())
}
