//! The TLS server in process: protocol versions, replacement of the
//! certificate under way, draining.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_operator::certificates::{Bundle, ServerNames, ServingCertificate};
use picket_operator::server::{HealthServer, RunningServer, WebhookServer};
use picket_webhook::admission::{AdmissionState, Metrics, router};
use picket_webhook::{Policy, PolicyStore, Settings};
use prometheus_client::registry::Registry;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

const GRACE: Duration = Duration::from_secs(30);

fn bundle() -> Bundle {
    let names = ServerNames::new(["localhost".to_owned()]);
    Bundle::generate(&names, SystemTime::now()).expect("generate")
}

fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).expect("bind")
}

fn app() -> Router {
    Router::new().route("/hello", get(|| async { "hello" }))
}

fn serve(certificate: &Arc<ServingCertificate>) -> RunningServer {
    serve_app(app(), certificate)
}

fn serve_app(app: Router, certificate: &Arc<ServingCertificate>) -> RunningServer {
    WebhookServer::start(listener(), app, Arc::clone(certificate)).expect("start")
}

/// Requests `path` over TLS, trusting only `trust`; the response as text, or
/// why the handshake failed.
fn request(
    address: SocketAddr,
    path: &str,
    trust: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> Result<String, String> {
    let mut stream = connect(address, trust, version, &[b"http/1.1"])?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .map_err(|error| error.to_string())?;
    read_all(&mut stream)
}

/// Reads until the peer closes, which it may do without notice once the
/// response is complete.
fn read_all(stream: &mut impl Read) -> Result<String, String> {
    let mut text = Vec::new();
    if let Err(error) = stream.read_to_end(&mut text)
        && text.is_empty()
    {
        return Err(error.to_string());
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn connect(
    address: SocketAddr,
    trust: &str,
    version: &'static rustls::SupportedProtocolVersion,
    protocols: &[&[u8]],
) -> Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("root");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut configuration = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    configuration.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = "localhost".try_into().expect("name");
    let connection =
        rustls::ClientConnection::new(Arc::new(configuration), name).expect("connection");
    let socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(GRACE)).expect("read time-out");
    let mut stream = rustls::StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream
            .conn
            .complete_io(&mut stream.sock)
            .map_err(|error| error.to_string())?;
    }
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_both_tls_versions_and_both_http_versions() {
    let bundle = bundle();
    let server = serve(&ServingCertificate::of(&bundle).expect("certificate"));
    let (address, trust) = (server.address(), bundle.trust());
    spawn_blocking(move || {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let response = request(address, "/hello", &trust, version).expect("response");
            assert!(response.starts_with("HTTP/1.1 200"), "{response}");
            assert!(response.ends_with("hello"), "{response}");
            let both: [&[u8]; 2] = [b"h2", b"http/1.1"];
            let stream = connect(address, &trust, version, &both).expect("handshake");
            assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
        }
    })
    .await
    .expect("client");
    server.drain(GRACE).await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_served_to_the_next_connection() {
    let (first, second) = (bundle(), bundle());
    let certificate = ServingCertificate::empty();
    let server = serve(&certificate);
    let address = server.address();
    let ask = |trust: String| {
        spawn_blocking(move || request(address, "/hello", &trust, &rustls::version::TLS13))
    };

    let refused = ask(first.trust()).await.expect("client");
    assert!(refused.is_err(), "no certificate yet: {refused:?}");
    certificate.replace(&first).expect("first");
    ask(first.trust())
        .await
        .expect("client")
        .expect("first is served");
    certificate.replace(&second).expect("second");
    ask(second.trust())
        .await
        .expect("client")
        .expect("second is served");
    let stale = ask(first.trust()).await.expect("client");
    assert!(stale.expect_err("only the second").contains("certificate"));
    server.drain(GRACE).await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_what_is_in_flight_and_takes_nothing_new() {
    let bundle = bundle();
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let both = (Arc::clone(&arrived), Arc::clone(&go));
    let slow = get(move || async move {
        both.0.notify_one();
        both.1.notified().await;
        "slow"
    });
    let app = Router::new().route("/slow", slow);
    let certificate = ServingCertificate::of(&bundle).expect("certificate");
    let server = serve_app(app, &certificate);
    let (address, trust) = (server.address(), bundle.trust());
    let response = spawn_blocking(move || {
        let mut stream =
            connect(address, &trust, &rustls::version::TLS13, &[b"http/1.1"]).expect("handshake");
        write!(stream, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("request");
        stream.flush().expect("flush");
        read_all(&mut stream)
    });
    arrived.notified().await;
    // In this order: the request is answered once the drain has begun.
    let (drained, ()) = tokio::join!(server.drain(GRACE), async { go.notify_one() });
    drained.expect("drained");
    let text = response.await.expect("client").expect("response");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.ends_with("slow"), "{text}");
    assert!(TcpStream::connect(address).is_err(), "still listening");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_soon_asks_its_callers_to_end_their_connections() {
    let bundle = bundle();
    let certificate = ServingCertificate::of(&bundle).expect("certificate");
    let server = serve(&certificate);
    let (address, trust) = (server.address(), bundle.trust());
    let connected = move || {
        connect(address, &trust, &rustls::version::TLS13, &[b"http/1.1"]).expect("handshake")
    };
    let ask = |stream: &mut dyn Write| {
        write!(stream, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    };
    server.end_soon();
    // Read to the end: the server closes after its answer, though nobody asked it to.
    let answer = spawn_blocking(move || {
        let mut stream = connected();
        ask(&mut stream);
        read_all(&mut stream)
    });
    let answer = answer.await.expect("task").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    let answer = answer.to_lowercase();
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    server.drain(GRACE).await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_served_in_clear() {
    let server = HealthServer::start(listener(), app()).expect("start");
    let address = server.address();
    let text = spawn_blocking(move || {
        let mut socket = TcpStream::connect(address).expect("connect");
        socket
            .write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("request");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("response");
        text
    })
    .await
    .expect("client");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    server.drain(GRACE).await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_is_answered_from_a_store_filled_by_hand() {
    let store = PolicyStore::new();
    store.replace([Policy {
        scope: picket_webhook::Scope::Namespace("shop".to_owned()),
        name: "all".to_owned(),
        created: None,
        spec: picket_crds::ProtectionPolicySpec {
            compute_type: picket_crds::ComputeType::Any,
            ..Default::default()
        },
    }]);
    let settings = Settings::new("registry.example/sidecar:1", "1");
    let metrics = Metrics::new(&mut Registry::default());
    let state = AdmissionState::new(store, settings, metrics);
    let bundle = bundle();
    let certificate = ServingCertificate::of(&bundle).expect("certificate");
    let server = WebhookServer::start(listener(), router(state), certificate).expect("start");

    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "shop",
            "operation": "CREATE",
            "object": {"spec": {"containers": [{"name": "web", "image": "web", "command": ["web"]}]}},
        },
    })
    .to_string();
    let (address, trust) = (server.address(), bundle.trust());
    let response = spawn_blocking(move || {
        let mut stream =
            connect(address, &trust, &rustls::version::TLS13, &[b"http/1.1"]).expect("handshake");
        write!(
            stream,
            "POST /mutate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{review}",
            review.len()
        )
        .expect("request");
        read_all(&mut stream).expect("response")
    })
    .await
    .expect("client");
    let (head, body) = response.split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let answer: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(answer["response"]["allowed"], true, "{answer:#}");
    let patch = answer["response"]["patch"].as_str().expect("patch");
    let patch = STANDARD.decode(patch).expect("base64");
    assert!(String::from_utf8_lossy(&patch).contains("picket-tracer"));
    server.drain(GRACE).await.expect("drained");
}
