//! What images run: the webhook's resolver, put together from the command line, the environment
//! and the cluster.
//!
//! * [`arguments`]: the command line.
//! * [`secrets`]: pull secrets and service accounts of the cluster.
//! * [`networks`]: the cluster's own networks, where no registry is looked for.
//! * [`warm`]: workloads' images are known before their pods come.

pub mod arguments;
pub mod networks;
pub mod secrets;
pub mod warm;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use kube::Client;
use picket_webhook::entrypoint::{
    AwsEnvironment, Ecr, Guard, Http, Keychain, Lifetimes, Options, Resolver,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tracing::info;

pub use arguments::ImageArguments;
use secrets::ClusterSecrets;

/// Why images cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// A file with certificate authorities is not to be read.
    #[error("--registry-ca: {}: {message}; give a PEM file", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS with registries: {0}")]
    Tls(#[from] rustls::Error),
}

/// The resolver that the arguments want; `None` when they want none. `cluster` are the cluster's
/// own networks, `environment` the process's environment.
///
/// # Errors
/// [`ImagesError`].
pub fn resolver(
    arguments: &ImageArguments,
    client: &Client,
    cluster: Vec<IpNet>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<(Resolver, Keychain)>, ImagesError> {
    if !arguments.resolve_images {
        return Ok(None);
    }
    let mut authorities = Vec::new();
    for path in &arguments.registry_ca {
        authorities.extend(read_authorities(path)?);
    }
    let mut refused = arguments.registry_refuse_network.clone();
    refused.extend(cluster);
    let guard = Guard {
        allowed: arguments.registry_allow_network.clone(),
        refused,
        plain_http: arguments.registry_plain_http.clone(),
        token_hosts: arguments.registry_token_host.clone(),
    };
    info!(refused = ?guard.refused, allowed = ?guard.allowed, "images are looked up");
    let http = Arc::new(Http::new(guard, authorities, [])?);
    let aws = AwsEnvironment::read(environment);
    let ecr = aws
        .is_usable()
        .then(|| Arc::new(Ecr::new(Arc::clone(&http), aws)));
    let cluster = arguments
        .read_pull_secrets
        .then(|| Arc::new(ClusterSecrets::new(client.clone())) as Arc<_>);
    let keychain = Keychain {
        cluster,
        files: arguments.registry_credentials.clone(),
        run_helpers: false,
        ecr,
    };
    let options = Options {
        keychain: keychain.clone(),
        lifetimes: Lifetimes {
            tag: arguments.tag_lifetime(),
            ..Lifetimes::default()
        },
        patience: arguments.patience(),
        mirrors: arguments.registry_mirror.clone(),
    };
    Ok(Some((Resolver::new(http, options), keychain)))
}

/// The certificates of a PEM file.
///
/// # Errors
/// [`ImagesError::Authorities`].
pub fn read_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, ImagesError> {
    let wrong = |message: String| ImagesError::Authorities {
        path: path.to_owned(),
        message,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(error.to_string()))?
        .collect();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(found)
}
