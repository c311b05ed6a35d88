//! The certificate that the TLS server shows, replaceable while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::bundle::{Bundle, BundleError};
use super::given::Given;

/// A bundle's serving certificate, ready for use.
#[derive(Debug)]
pub struct Served {
    key: Arc<CertifiedKey>,
    /// When the certificate expires.
    pub expires: SystemTime,
    /// The authority that signed it, in PEM: what callers must trust at least.
    pub signed_by: String,
}

/// The certificate in use by all connections of this process; new connections
/// get the newest. Handshakes fail while there is none.
#[derive(Default)]
pub struct ServingCertificate {
    current: ArcSwapOption<Served>,
}

impl ServingCertificate {
    /// No certificate yet.
    #[must_use]
    pub fn empty() -> Arc<Self> {
        Arc::default()
    }

    /// Serves the certificate of `bundle` from the start.
    ///
    /// # Errors
    /// As [`ServingCertificate::replace`].
    pub fn of(bundle: &Bundle) -> Result<Arc<Self>, BundleError> {
        let certificate = Self::empty();
        certificate.replace(bundle)?;
        Ok(certificate)
    }

    /// Serves the certificate of `bundle` from now on.
    ///
    /// # Errors
    /// [`BundleError::Malformed`] if certificate and key do not fit; what was
    /// served before stays.
    pub fn replace(&self, bundle: &Bundle) -> Result<(), BundleError> {
        let facts = bundle.facts()?;
        let key = certified(bundle.leaf(), bundle.leaf_key().pem().as_bytes())?;
        self.current.store(Some(Arc::new(Served {
            key: Arc::new(key),
            expires: facts.leaf_expires,
            signed_by: bundle.leaf_authority()?.to_owned(),
        })));
        Ok(())
    }

    /// Serves a certificate that somebody else keeps from now on; false when it is served
    /// already.
    ///
    /// # Errors
    /// As [`ServingCertificate::replace`].
    pub fn replace_given(&self, given: &Given) -> Result<bool, BundleError> {
        let key = certified(given.chain(), given.key())?;
        let same =
            |served: &Served| served.key.cert == key.cert && served.signed_by == given.trust();
        if self.current().is_some_and(|served| same(&served)) {
            return Ok(false);
        }
        self.current.store(Some(Arc::new(Served {
            key: Arc::new(key),
            expires: given.expires(),
            signed_by: given.trust().to_owned(),
        })));
        Ok(true)
    }

    /// What is served now, if anything.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Served>> {
        self.current.load_full()
    }

    /// Whether a certificate is served that has not expired at `now`.
    #[must_use]
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.current().is_some_and(|served| now < served.expires)
    }
}

/// Certificate chain and key in PEM, checked against each other.
fn certified(chain: &str, key: &[u8]) -> Result<CertifiedKey, BundleError> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed("tls.crt", error))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| malformed("tls.key", "it is not a private key in PEM"))?;
    let signer = any_supported_type(&key).map_err(|error| malformed("tls.key", error))?;
    let key = CertifiedKey::new(chain, signer);
    key.keys_match()
        .map_err(|error| malformed("tls.key", error))?;
    Ok(key)
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().map(|served| Arc::clone(&served.key))
    }
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expires = self.current().map(|served| served.expires);
        formatter
            .debug_struct("ServingCertificate")
            .field("expires", &expires)
            .finish_non_exhaustive()
    }
}

fn malformed(entry: &'static str, reason: impl fmt::Display) -> BundleError {
    BundleError::Malformed {
        entry,
        reason: reason.to_string(),
    }
}
