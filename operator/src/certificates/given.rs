//! A certificate that somebody else keeps: cert-manager, or the user's own tools. The operator
//! reads the Secret and never writes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::ByteString;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::bundle::BundleError;

/// What such a Secret holds, as `kubernetes.io/tls` Secrets of cert-manager do: `tls.crt`,
/// `tls.key` and `ca.crt`, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    chain: String,
    key: Key,
    trust: String,
    expires: SystemTime,
}

/// A private key in PEM, of whatever kind; its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
struct Key(Vec<u8>);

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key(…)")
    }
}

/// Why an API server would not accept the certificate under a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("API servers would refuse the certificate as that of {name}: {reason}")]
pub struct Unaccepted {
    /// The name by which the webhook is called.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Given {
    /// Reads the data of the Secret.
    ///
    /// # Errors
    /// The entry that is missing or malformed.
    pub fn from_secret(data: &BTreeMap<String, ByteString>) -> Result<Self, BundleError> {
        let chain = text(data, "tls.crt")?;
        let trust = text(data, "ca.crt")?;
        certificates("ca.crt", &trust)?;
        let leaf = certificates("tls.crt", &chain)?.remove(0);
        let (_, leaf) = X509Certificate::from_der(&leaf)
            .map_err(|error| malformed("tls.crt", error.to_string()))?;
        let expires = leaf.validity().not_after.timestamp();
        let key = data.get("tls.key").ok_or(BundleError::Missing("tls.key"))?;
        Ok(Self {
            chain,
            key: Key(key.0.clone()),
            trust: format!("{}\n", trust.trim()),
            expires: UNIX_EPOCH + Duration::from_secs(expires.max(0).unsigned_abs()),
        })
    }

    /// The certificate and those between it and the authority, in PEM.
    #[must_use]
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// Its key, in PEM.
    pub(super) fn key(&self) -> &[u8] {
        &self.key.0
    }

    /// What API servers must trust (`ca.crt`), in PEM, with a line break at its end.
    #[must_use]
    pub fn trust(&self) -> &str {
        &self.trust
    }

    /// When the certificate expires.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// Looks at the certificate as an API server will that calls the webhook by `name`.
    ///
    /// # Errors
    /// What that would say.
    pub fn accepted_as(&self, name: &str, now: SystemTime) -> Result<(), Unaccepted> {
        let refused = |reason: String| Unaccepted {
            name: name.to_owned(),
            reason,
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates("ca.crt", &self.trust).map_err(|e| refused(e.to_string()))? {
            roots
                .add(authority)
                .map_err(|error| refused(format!("ca.crt: {error}")))?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let chain = certificates("tls.crt", &self.chain).map_err(|e| refused(e.to_string()))?;
        let server = ServerName::try_from(name.to_owned()).map_err(|e| refused(e.to_string()))?;
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        verifier
            .verify_server_cert(
                &chain[0],
                &chain[1..],
                &server,
                &[],
                UnixTime::since_unix_epoch(since),
            )
            .map(drop)
            .map_err(|error| refused(error.to_string()))
    }
}

/// `trust`, and behind it the certificates of `published` that are not in it: what API servers
/// are to trust while some replicas still serve a certificate of the authority before.
#[must_use]
pub fn overlap(trust: &str, published: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let mut all = trust.to_owned();
    for block in published.split_inclusive(END) {
        let block = block.trim();
        let is_one = block.starts_with("-----BEGIN CERTIFICATE-----") && block.ends_with(END);
        if is_one && !all.contains(block) {
            all.push_str(block);
            all.push('\n');
        }
    }
    all
}

/// All certificates of a PEM text, of which there is at least one.
fn certificates(
    entry: &'static str,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| malformed(entry, error.to_string()))?;
    match all.is_empty() {
        true => Err(malformed(
            entry,
            "it holds no certificate in PEM".to_owned(),
        )),
        false => Ok(all),
    }
}

fn text(data: &BTreeMap<String, ByteString>, entry: &'static str) -> Result<String, BundleError> {
    let value = data.get(entry).ok_or(BundleError::Missing(entry))?;
    String::from_utf8(value.0.clone()).map_err(|_| malformed(entry, "it is not text".to_owned()))
}

fn malformed(entry: &'static str, reason: String) -> BundleError {
    BundleError::Malformed { entry, reason }
}
