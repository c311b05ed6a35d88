//! Where the relay is, whom to trust there, and as whom to come.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// Where the injected pod has its token.
const TOKEN: &str = "/var/run/secrets/picket.dev/token";
/// Largest token file, in bytes.
const MAX_TOKEN: u64 = 16 * 1024;
/// Largest file of authorities, in bytes.
const MAX_TRUST: u64 = 256 * 1024;

/// What cannot work.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The address has no port, or no host.
    #[error("PICKET_RELAY_ADDRESS: {0:?} is not host:port")]
    Address(String),
    /// The host is neither a name nor an address.
    #[error("PICKET_RELAY_ADDRESS: {0}")]
    Host(#[from] InvalidDnsNameError),
    /// There is no certificate among those that are to be trusted.
    #[error("no certificate authority to trust: {0}")]
    Trust(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Where the relay is, whom to trust there, and as whom to come.
#[derive(Debug, Clone)]
pub struct Access {
    /// `host:port`.
    pub address: String,
    pub(super) host: ServerName<'static>,
    /// Certificates (PEM) of authorities.
    trust: String,
    /// The file with the token; kubelet puts a new one there from time to time.
    token: PathBuf,
    /// Where authorities that the relay told of outlive a restart of the agent.
    kept: PathBuf,
}

impl Access {
    /// Reads what the injected pod's environment says (`PICKET_RELAY_ADDRESS`,
    /// `PICKET_RELAY_CA`, `PICKET_RELAY_TOKEN` for another file than kubelet's) through
    /// `variable`; `None` where there is no relay. Authorities that the relay told of before are
    /// read from `kept`, which only the agent can write.
    ///
    /// # Errors
    /// [`AccessError`] when that cannot work.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
        kept: &Path,
    ) -> Result<Option<Self>, AccessError> {
        let Some(address) = variable("PICKET_RELAY_ADDRESS").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let host = address
            .rsplit_once(':')
            .map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']'))
            .filter(|host| !host.is_empty())
            .ok_or_else(|| AccessError::Address(address.clone()))?;
        let host = ServerName::try_from(host.to_owned())?;
        let pinned = variable("PICKET_RELAY_CA").unwrap_or_default();
        let newer = read(kept, MAX_TRUST)
            .ok()
            .filter(|trust| roots(trust).is_ok());
        let access = Self {
            address,
            host,
            trust: newer.unwrap_or(pinned),
            token: variable("PICKET_RELAY_TOKEN").map_or_else(|| TOKEN.into(), Into::into),
            kept: kept.to_owned(),
        };
        roots(&access.trust)?;
        Ok(Some(access))
    }

    /// The token as it is now.
    pub(super) fn token(&self) -> io::Result<String> {
        Ok(read(&self.token, MAX_TOKEN)?.trim().to_owned())
    }

    /// What TLS is made with.
    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, AccessError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(&self.trust)?)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    /// Trusts these authorities (PEM) from now on, after a restart of the agent too; false when
    /// they are those of before.
    pub(super) fn trust(&mut self, authorities: &str) -> Result<bool, AccessError> {
        if authorities.is_empty() || self.trust == authorities {
            return Ok(false);
        }
        roots(authorities)?;
        authorities.clone_into(&mut self.trust);
        if let Err(error) = self.keep() {
            tracing::warn!(%error, "the relay's new authorities will be forgotten at a restart");
        }
        Ok(true)
    }

    fn keep(&self) -> io::Result<()> {
        let temporary = self.kept.with_extension("new");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(self.trust.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.kept)
    }
}

fn roots(trust: &str) -> Result<RootCertStore, AccessError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust.as_bytes()) {
        let certificate = certificate.map_err(|error| AccessError::Trust(error.to_string()))?;
        store.add(certificate)?;
    }
    match store.is_empty() {
        true => Err(AccessError::Trust("there is none".to_owned())),
        false => Ok(store),
    }
}

fn read(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(limit + 1)
        .read_to_string(&mut text)?;
    match text.len() as u64 > limit {
        true => Err(io::Error::other("the file is too large")),
        false => Ok(text),
    }
}
