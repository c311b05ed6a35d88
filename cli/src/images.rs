//! What images run, for the offline commands: said by hand, or asked of registries with the
//! user's own credentials.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use picket_operator::images::read_authorities;
use picket_webhook::entrypoint::document::parse_config;
use picket_webhook::entrypoint::guard::loopback;
use picket_webhook::entrypoint::{
    AwsEnvironment, Ecr, Guard, Http, Images, Keychain, Options, PullScope, Resolver, Unresolved,
    Wanted,
};

use crate::arguments::{ImageConfigFile, ImageLookup, Resolve};

/// A person at a terminal can wait longer than an API server.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why what images run cannot be looked up at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImagesError {
    /// A file of `--image-config` is not to be read.
    #[error("--image-config: {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file of `--image-config` is none.
    #[error("--image-config: {}: {source}; give what `skopeo inspect --config` prints", path.display())]
    Config {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: Unresolved,
    },
    /// A file of `--registry-ca` is none.
    #[error(transparent)]
    Authorities(#[from] picket_operator::images::ImagesError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The system gives no event loop.
    #[error("cannot start: {0}")]
    Runtime(#[source] std::io::Error),
}

/// What is known about these images, by the means that the arguments allow.
///
/// # Errors
/// [`ImagesError`]; what concerns one image only is among the answers.
pub(crate) fn images(
    arguments: &ImageLookup,
    wanted: BTreeSet<Wanted>,
) -> Result<Images, ImagesError> {
    let mut images = Images::default();
    let mut open = Vec::new();
    for wanted in wanted {
        let said = arguments
            .image_config
            .iter()
            .find(|said| said.image == wanted.image);
        match said {
            Some(said) => images.insert(wanted, Ok(Arc::new(read_config(said)?))),
            None => open.push(wanted),
        }
    }
    if arguments.resolve == Resolve::Registry && !open.is_empty() {
        for (wanted, answer) in ask(arguments, &open)? {
            images.insert(wanted, answer);
        }
    }
    Ok(images)
}

fn read_config(
    said: &ImageConfigFile,
) -> Result<picket_webhook::entrypoint::ImageConfig, ImagesError> {
    let path = said.file.clone();
    let bytes = std::fs::read(&path).map_err(|source| ImagesError::File {
        path: path.clone(),
        source,
    })?;
    parse_config(&bytes, "").map_err(|source| ImagesError::Config { path, source })
}

fn ask(arguments: &ImageLookup, open: &[Wanted]) -> Result<Images, ImagesError> {
    let mut authorities = Vec::new();
    for path in &arguments.registry_ca {
        authorities.extend(read_authorities(path)?);
    }
    // Registries on one's own machine are common; metadata services are not.
    let guard = Guard {
        allowed: loopback().to_vec(),
        plain_http: arguments.registry_plain_http.clone(),
        ..Guard::default()
    };
    let of_system = rustls_native_certs::load_native_certs().certs;
    let http = Http::new(guard, authorities, of_system)?;
    let http = Arc::new(http);
    let aws = AwsEnvironment::read(|name| std::env::var(name).ok());
    let keychain = Keychain {
        cluster: None,
        files: docker_config(arguments).into_iter().collect(),
        run_helpers: true,
        ecr: aws
            .is_usable()
            .then(|| Arc::new(Ecr::new(Arc::clone(&http), aws))),
    };
    let options = Options {
        keychain,
        patience: PATIENCE,
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ImagesError::Runtime)?;
    // Few at a time: the resolver holds more of one namespace for too many.
    let resolver = Resolver::new(http, options);
    let mut images = Images::default();
    for few in open.chunks(4) {
        for (wanted, answer) in runtime.block_on(resolver.images(few, &PullScope::default())) {
            images.insert(wanted, answer);
        }
    }
    Ok(images)
}

/// The user's own credentials, where docker and its kin keep them.
fn docker_config(arguments: &ImageLookup) -> Option<PathBuf> {
    if let Some(path) = &arguments.docker_config {
        return Some(path.clone());
    }
    let folder = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty());
    let folder = folder.map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
        Some(Path::new(&home).join(".docker"))
    });
    folder
        .map(|folder| folder.join("config.json"))
        .filter(|path| path.exists())
}
