//! A real registry for tests: `docker-registry` with TLS, open, with passwords, or with tokens
//! of a token service that is ours; and images that buildah makes and pushes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::ByteString;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use crate::kube::{Supervised, eventually, free_port};

/// The one account that there is.
pub const USER: &str = "picket-tests";
/// Its password.
pub const PASSWORD: &str = "only-for-tests";

/// How a registry wants to be shown who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Not at all.
    Open,
    /// Name and password (htpasswd).
    Password,
    /// A token of [`TokenService`].
    Token,
}

/// A registry that runs until it is dropped.
pub struct Registry {
    /// Host and port, as image references have them.
    pub host: String,
    folder: tempfile::TempDir,
    // Ends before the folder goes.
    process: Option<Supervised>,
    tokens: Option<TokenService>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.take();
    }
}

impl Registry {
    /// Starts a registry and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(access: Access) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("picket-registry-")
            .tempdir()
            .expect("folder");
        let path = |name: &str| folder.path().join(name);
        let identity = Identity::new();
        std::fs::create_dir(path("authorities")).expect("folder");
        for name in ["certificate.pem", "authorities/ca.crt"] {
            std::fs::write(path(name), &identity.certificate).expect("certificate");
        }
        std::fs::write(path("key.pem"), &identity.key).expect("key");
        let port = free_port().expect("port");
        let mut configuration = json!({
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": path("storage")}},
            "http": {
                "addr": format!("127.0.0.1:{port}"),
                "secret": "of tests",
                "tls": {"certificate": path("certificate.pem"), "key": path("key.pem")},
            },
        });
        let tokens = match access {
            Access::Open => None,
            Access::Password => {
                std::fs::write(path("htpasswd"), htpasswd()).expect("htpasswd");
                configuration["auth"] =
                    json!({"htpasswd": {"realm": "tests", "path": path("htpasswd")}});
                None
            }
            Access::Token => {
                let tokens = TokenService::start(&identity);
                configuration["auth"] = json!({"token": {
                    "realm": format!("https://localhost:{}/token", tokens.port),
                    "service": "registry of tests",
                    "issuer": "tests",
                    "rootcertbundle": path("certificate.pem"),
                }});
                Some(tokens)
            }
        };
        std::fs::write(path("configuration.yaml"), configuration.to_string())
            .expect("configuration");
        let process = Supervised::start(
            folder.path(),
            "docker-registry",
            Path::new("docker-registry"),
            &["serve", &path("configuration.yaml").to_string_lossy()],
            &[],
            None,
        )
        .expect("docker-registry starts: run `make test-tools`");
        let registry = Self {
            host: format!("localhost:{port}"),
            folder,
            process: Some(process),
            tokens,
        };
        eventually("the registry answers", || {
            std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        registry
    }

    /// The certificate that has to be trusted (PEM).
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// The end of the registry's log, which names every request.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("docker-registry.log")).unwrap_or_default()
    }

    /// How many tokens were given out.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
            .as_ref()
            .map_or(0, |tokens| tokens.given.load(Ordering::Relaxed))
    }

    /// Credentials for this registry, in the form of `~/.docker/config.json`.
    #[must_use]
    pub fn docker_config(&self, password: &str) -> Value {
        json!({"auths": {&self.host: {"username": USER, "password": password}}})
    }

    /// A pull secret for this registry in either of the two forms.
    #[must_use]
    pub fn pull_secret(&self, namespace: &str, name: &str, old_form: bool) -> Value {
        let config = self.docker_config(PASSWORD);
        let (kind, key, text) = if old_form {
            ("dockercfg", ".dockercfg", config["auths"].to_string())
        } else {
            ("dockerconfigjson", ".dockerconfigjson", config.to_string())
        };
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "type": format!("kubernetes.io/{kind}"),
            "data": {key: ByteString(text.into_bytes())},
        })
    }

    /// Makes an image for amd64 and arm64 and pushes it with its index. It runs `/app $HOME ARCH`
    /// as user 1000 and stops with SIGQUIT.
    ///
    /// # Panics
    /// When buildah fails; the message shows what it said.
    pub fn push(&self, repository: &str, tag: &str) {
        let context = tempfile::tempdir().expect("folder");
        std::fs::write(context.path().join("app"), "not run").expect("file");
        let name = format!(
            "localhost/picket-registry-test-{}-{}",
            self.host.replace(':', "-"),
            tag
        );
        buildah(&["manifest", "create", &name]);
        for architecture in ["amd64", "arm64"] {
            let file = context.path().join("Containerfile");
            let text = format!(
                "FROM scratch\nCOPY app /app\nENV PATH=/opt/bin:/bin\nWORKDIR /srv\nUSER 1000:1000\n\
                 STOPSIGNAL SIGQUIT\nENTRYPOINT [\"/app\", \"$HOME\"]\nCMD [\"{architecture}\"]\n"
            );
            std::fs::write(&file, text).expect("file");
            buildah(&[
                "bud",
                "--quiet",
                "--isolation",
                "chroot",
                "--platform",
                &format!("linux/{architecture}"),
                "--manifest",
                &name,
                "--file",
                &file.to_string_lossy(),
                &context.path().to_string_lossy(),
            ]);
        }
        let authorities = self.folder.path().join("authorities");
        buildah(&[
            "manifest",
            "push",
            "--all",
            "--quiet",
            "--cert-dir",
            &authorities.to_string_lossy(),
            "--creds",
            &format!("{USER}:{PASSWORD}"),
            &name,
            &format!("docker://{}/{repository}:{tag}", self.host),
        ]);
        buildah(&["manifest", "rm", &name]);
    }
}

fn buildah(arguments: &[&str]) {
    let output = Command::new("buildah").args(arguments).output();
    let output = output.expect("buildah starts: run `make test-tools`");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "buildah {arguments:?}: {told}");
}

/// A line of htpasswd, with bcrypt as the registry wants it.
fn htpasswd() -> Vec<u8> {
    let output = Command::new("htpasswd")
        .args(["-nbB", USER, PASSWORD])
        .output();
    let output = output.expect("htpasswd starts: run `make test-tools`");
    assert!(output.status.success());
    output.stdout
}

/// A key with a certificate for `localhost`, in PEM.
struct Identity {
    certificate: String,
    key: String,
    certificate_der: Vec<u8>,
    key_der: Vec<u8>,
}

impl Identity {
    fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("certificate");
        Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            certificate_der: made.cert.der().to_vec(),
            key_der: made.signing_key.serialize_der(),
        }
    }
}

/// A token service as registries expect it: password in, signed token out.
struct TokenService {
    port: u16,
    given: Arc<AtomicUsize>,
}

impl TokenService {
    fn start(identity: &Identity) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(identity.key_der.clone().into());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate_der.clone().into()], key)
            .expect("certificate");
        let tls = Arc::new(tls);
        let signer = Arc::new(Signer {
            key: identity.key_der.clone(),
            certificate: identity.certificate_der.clone(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("port");
        let port = listener.local_addr().expect("address").port();
        let given = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&given);
        // Ends with the test process.
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (tls, signer, counter) = (tls.clone(), signer.clone(), counter.clone());
                std::thread::spawn(move || {
                    let Ok(connection) = rustls::ServerConnection::new(tls) else {
                        return;
                    };
                    let mut stream = rustls::StreamOwned::new(connection, socket);
                    if let Some(answer) = answer(&mut stream, &signer, &counter) {
                        // A client that has gone is no concern of ours.
                        let _ = stream.write_all(answer.as_bytes());
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                });
            }
        });
        Self { port, given }
    }
}

fn answer(stream: &mut impl Read, signer: &Signer, given: &AtomicUsize) -> Option<String> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next()?.ok()?;
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let shown = headers.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then_some(value)
    });
    let expected = format!(
        "Basic {}",
        base64(format!("{USER}:{PASSWORD}").as_bytes(), STANDARD)
    );
    let head = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    if shown.is_some_and(|shown| shown != expected) {
        return Some(head("401 Unauthorized", "{}"));
    }
    let query = request.split(' ').nth(1)?.split_once('?')?.1;
    let scopes = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("scope="));
    let access: Vec<Value> = scopes
        .filter_map(|scope| {
            let scope = scope
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",");
            let (kind, rest) = scope.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            let actions: Vec<&str> = actions.split(',').collect();
            // Nobody gets a token that opens nothing.
            shown.map(|_| json!({"type": kind, "name": name, "actions": actions}))
        })
        .collect();
    given.fetch_add(1, Ordering::Relaxed);
    let token = json!({"token": signer.token(&access)}).to_string();
    Some(head("200 OK", &token))
}

/// Signs tokens (JWT, ES256) whose certificate the registry trusts.
struct Signer {
    key: Vec<u8>,
    certificate: Vec<u8>,
}

impl Signer {
    fn token(&self, access: &[Value]) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let header =
            json!({"typ": "JWT", "alg": "ES256", "x5c": [base64(&self.certificate, STANDARD)]});
        let claims = json!({
            "iss": "tests", "sub": USER, "aud": "registry of tests", "access": access,
            "nbf": now - 60, "iat": now - 60, "exp": now + 600, "jti": now.to_string(),
        });
        let url = |text: &[u8]| base64(text, URL_SAFE).trim_end_matches('=').to_owned();
        let text = [header, claims]
            .map(|part| url(part.to_string().as_bytes()))
            .join(".");
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.key, &random)
            .expect("key");
        let signature = key.sign(&random, text.as_bytes()).expect("signature");
        format!("{text}.{}", url(signature.as_ref()))
    }
}

use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE};

fn base64(bytes: &[u8], alphabet: GeneralPurpose) -> String {
    base64::Engine::encode(&alphabet, bytes)
}
