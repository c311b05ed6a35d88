//! Registries, token services and the like that do what a test wants, over real TLS on loopback
//! addresses; and what all tests of the resolver need.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use picket_webhook::entrypoint::docker_config::DockerConfig;
use picket_webhook::entrypoint::document::sha256;
use picket_webhook::entrypoint::{
    BoxFuture, ClusterCredentials, Guard, Http, ImageConfig, Keychain, Names, ObjectError, Options,
    Platform, PullScope, Resolver, Unresolved, Wanted,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The address that tests allow; the one beside it stands for everything that is not.
pub(crate) const ALLOWED: &str = "127.0.0.1";
pub(crate) const REFUSED: &str = "127.0.0.2";

/// A request that a server saw.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

/// What a server answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) after: Duration,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            ..Self::default()
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn redirect(to: impl Into<String>) -> Self {
        Self::status(307).with("location", to)
    }

    pub(crate) fn after(mut self, pause: Duration) -> Self {
        self.after = pause;
        self
    }
}

type Handler = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A server that runs as long as the test's runtime.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) authority: CertificateDer<'static>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// Names for which all servers have certificates.
const NAMES: [&str; 8] = [
    "registry.example.com",
    "auth.example.com",
    "cdn.other.com",
    "evil.com",
    "mirror.example.net",
    "rebound.example.org",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    "aws.test",
];

impl Server {
    pub(crate) async fn start(
        address: &str,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let key = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).unwrap();
        let authority = key.cert.der().clone();
        let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![authority.clone()], private)
            .unwrap();
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            authority,
            seen: Arc::default(),
        };
        let handler: Handler = Arc::new(handler);
        let seen = Arc::clone(&server.seen);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (acceptor, handler, seen) = (acceptor.clone(), handler.clone(), seen.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request| serve(request, &handler, &seen));
                    // A client that has enough closes the connection.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        server
    }

    /// Everything that was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How often a path was asked for that holds this.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.path.contains(part))
            .count()
    }
}

async fn serve(
    request: Request<Incoming>,
    handler: &Handler,
    all: &Mutex<Vec<Seen>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        Some(value.to_str().unwrap_or_default().to_owned())
    };
    let mut seen = Seen {
        method: request.method().to_string(),
        host: header("host").unwrap_or_default(),
        path: request.uri().to_string(),
        authorization: header("authorization"),
        body: String::new(),
    };
    if let Ok(body) = request.into_body().collect().await {
        seen.body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    }
    all.lock().unwrap().push(seen.clone());
    let reply = handler(&seen);
    tokio::time::sleep(reply.after).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(reply.body.into())).unwrap())
}

/// Names that lead where a test wants: each look-up takes the next answer, the last stays.
#[derive(Debug, Default)]
pub(crate) struct TestNames {
    answers: HashMap<String, (Vec<IpAddr>, AtomicUsize)>,
}

impl TestNames {
    pub(crate) fn new(answers: &[(&str, &[&str])]) -> Self {
        let entry = |(name, addresses): &(&str, &[&str])| {
            let addresses = addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect();
            ((*name).to_owned(), (addresses, AtomicUsize::new(0)))
        };
        Self {
            answers: answers.iter().map(entry).collect(),
        }
    }
}

impl Names for TestNames {
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let (addresses, asked) = self
                .answers
                .get(host)
                .ok_or_else(|| io::Error::other("no such name"))?;
            let turn = asked
                .fetch_add(1, Ordering::Relaxed)
                .min(addresses.len() - 1);
            Ok(vec![addresses[turn]])
        })
    }
}

/// All names of the servers on the allowed address.
pub(crate) fn all_names() -> TestNames {
    TestNames::new(&NAMES.map(|name| (name, &[ALLOWED][..])))
}

pub(crate) fn guard() -> Guard {
    Guard {
        allowed: vec![format!("{ALLOWED}/32").parse().unwrap()],
        ..Guard::default()
    }
}

/// What speaks to these servers and no others.
pub(crate) fn http(servers: &[&Server], names: TestNames) -> Arc<Http> {
    let authorities = servers.iter().map(|server| server.authority.clone());
    Arc::new(
        Http::new(guard(), authorities, [])
            .unwrap()
            .with_names(names),
    )
}

pub(crate) fn resolver(servers: &[&Server], options: Options) -> Resolver {
    let patient = Options {
        patience: options.patience.max(Duration::from_secs(20)),
        ..options
    };
    Resolver::new(http(servers, all_names()), patient)
}

pub(crate) fn wanted(image: &str) -> Wanted {
    Wanted {
        image: image.into(),
        platform: Platform::amd64(),
    }
}

pub(crate) fn scope(namespace: &str, secrets: &[&str]) -> PullScope {
    PullScope {
        namespace: namespace.into(),
        service_account: "default".into(),
        pull_secrets: secrets.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// Asks for one image.
pub(crate) async fn ask(
    resolver: &Resolver,
    image: &str,
    scope: &PullScope,
) -> Result<Arc<ImageConfig>, Unresolved> {
    let wanted = wanted(image);
    let images = resolver.images(std::slice::from_ref(&wanted), scope).await;
    images.get(&wanted).expect("an answer").clone()
}

/// Secrets of a cluster that is not there: `namespace/name` to keys to passwords, and service
/// accounts to their secrets.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) secrets: BTreeMap<&'static str, Vec<(String, &'static str, &'static str)>>,
    pub(crate) accounts: BTreeMap<&'static str, Vec<&'static str>>,
}

impl ClusterCredentials for Cluster {
    fn pull_secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<DockerConfig, ObjectError>> {
        Box::pin(async move {
            let entries = self.secrets.get(format!("{namespace}/{name}").as_str());
            let entries = entries.ok_or(ObjectError::Missing)?;
            let auths: serde_json::Map<String, Value> = entries
                .iter()
                .map(|(key, user, password)| {
                    (key.clone(), json!({"username": user, "password": password}))
                })
                .collect();
            let text = json!({ "auths": auths }).to_string();
            Ok(DockerConfig::parse_json(text.as_bytes()).unwrap())
        })
    }

    fn service_account<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, ObjectError>> {
        Box::pin(async move {
            let secrets = self.accounts.get(format!("{namespace}/{name}").as_str());
            let secrets = secrets.ok_or(ObjectError::Missing)?;
            Ok(secrets.iter().map(|name| (*name).to_owned()).collect())
        })
    }
}

pub(crate) fn with_cluster(cluster: Cluster) -> Options {
    Options {
        keychain: Keychain {
            cluster: Some(Arc::new(cluster)),
            ..Keychain::default()
        },
        ..Options::default()
    }
}

/// An image as a registry has it: paths below `/v2/NAME/` with what is there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content(pub(crate) BTreeMap<String, (String, Vec<u8>)>);

impl Content {
    /// Adds an image and gives its digest.
    pub(crate) fn image(
        &mut self,
        name: &str,
        tag: &str,
        architecture: &str,
        cmd: &[&str],
    ) -> String {
        let config = json!({"architecture": architecture, "os": "linux", "config": {"Entrypoint": ["/entry"], "Cmd": cmd}});
        let config = config.to_string().into_bytes();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
            "config": {"mediaType": CONFIG, "digest": sha256(&config), "size": config.len()}});
        self.put(format!("{name}/blobs/{}", sha256(&config)), CONFIG, config);
        self.manifest(name, tag, MANIFEST, manifest.to_string().into_bytes())
    }

    /// Adds a manifest and gives its digest.
    pub(crate) fn manifest(&mut self, name: &str, tag: &str, kind: &str, body: Vec<u8>) -> String {
        let digest = sha256(&body);
        self.put(format!("{name}/manifests/{tag}"), kind, body.clone());
        self.put(format!("{name}/manifests/{digest}"), kind, body);
        digest
    }

    pub(crate) fn put(&mut self, path: String, kind: &str, body: Vec<u8>) {
        self.0
            .insert(format!("/v2/{path}"), (kind.to_owned(), body));
    }

    /// Answers as an honest registry does.
    pub(crate) fn reply(&self, seen: &Seen) -> Reply {
        match self.0.get(&seen.path) {
            None => Reply::status(404),
            Some((kind, body)) => Reply::ok(body.clone())
                .with("content-type", kind.clone())
                .with("docker-content-digest", sha256(body)),
        }
    }
}

/// An image `web` with tag 1.
pub(crate) fn web() -> Content {
    let mut content = Content::default();
    content.image("web", "1", "amd64", &["serve"]);
    content
}

pub(crate) fn image(server: &Server) -> String {
    format!("registry.example.com:{}/web:1", server.port)
}

#[allow(dead_code, reason = "each test binary uses a part")]
pub(crate) fn address(server: &Server) -> SocketAddr {
    (ALLOWED.parse::<IpAddr>().unwrap(), server.port).into()
}
