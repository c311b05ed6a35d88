//! Load on the webhook: realistic reviews of 8 KB over TLS connections that are kept, beside a
//! server of the same crates that parses the same JSON and answers nothing but yes. Both in
//! processes of their own with one worker thread each, in turns, on loopback.
//!
//! `make bench-admission`, or
//! `cargo run --release -p picket-operator --example admission_load [SECONDS] [CONNECTIONS]`

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use axum::body::Bytes;
use axum::routing::post;
use axum::{Json, Router};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use picket_crds::{ComputeType, ProtectionPolicySpec};
use picket_operator::certificates::{Bundle, ServerNames, ServingCertificate};
use picket_operator::server::WebhookServer;
use picket_webhook::admission::{AdmissionState, Metrics, router};
use picket_webhook::{Policy, PolicyStore, Scope, Settings};
use prometheus_client::registry::Registry;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};

/// As the operator has it; both servers have the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns of each server; they alternate, so that a noisy machine is noisy for both.
const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    // Fails only if a provider is installed, which then is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("serve") => serve(words.get(1).map_or("echo", String::as_str)),
        _ => {
            let number = |index: usize, default| {
                words
                    .get(index)
                    .map_or(Ok(default), |word| word.parse::<usize>())
            };
            measure(number(0, 20)?, number(1, 2)?)
        }
    }
}

/// Serves until standard input ends. Says port and authority first, in one line of JSON.
fn serve(what: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let names = ServerNames::new(["localhost".to_owned()]);
        let bundle = Bundle::generate(&names, SystemTime::now())?;
        let app = match what {
            "webhook" => webhook(),
            _ => Router::new().route("/mutate", post(echo)),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let certificate = ServingCertificate::of(&bundle)?;
        let server = WebhookServer::start(listener, app, certificate)?;
        let hello = json!({"address": server.address(), "authority": bundle.authority()});
        println!("{hello}");
        std::io::stdout().flush()?;
        tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await?;
        Ok(())
    })
}

/// The webhook as the operator serves it, with some policies that do not select the pod.
fn webhook() -> Router {
    let policy = |name: &str, namespace: &str| Policy {
        scope: Scope::Namespace(namespace.to_owned()),
        name: name.to_owned(),
        created: Some(0),
        spec: ProtectionPolicySpec {
            compute_type: ComputeType::Any,
            ..ProtectionPolicySpec::default()
        },
    };
    let store = PolicyStore::new();
    let others = (0..50).map(|number| policy("other", &format!("namespace-{number}")));
    store.replace(others.chain([policy("protect", "shop")]));
    let image = format!("registry.example/picket-sidecar@sha256:{}", "0".repeat(64));
    let settings = Settings::new(image, "1");
    let metrics = Metrics::new(&mut Registry::default());
    router(AdmissionState::new(store, Arc::new(settings), metrics))
}

/// The least that an admission webhook does: it reads the review and allows it.
async fn echo(body: Bytes) -> Json<Value> {
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    Json(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true},
    }))
}

/// A server in a process of its own.
struct Server {
    name: &'static str,
    process: Child,
    address: SocketAddr,
    authority: CertificateDer<'static>,
    /// Nanoseconds from the first byte of each request to the last of its answer.
    latencies: Vec<u64>,
    /// Seconds of CPU that the measured rounds took.
    cpu: f64,
    /// Seconds that the measured rounds took.
    wall: f64,
}

impl Server {
    fn start(name: &'static str) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().context("a pipe")?;
        let mut hello = String::new();
        BufReader::new(stdout).read_line(&mut hello)?;
        let hello: Value = serde_json::from_str(&hello).context("the server says hello")?;
        let text = |field: &str| hello[field].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            name,
            process,
            address: text("address").parse()?,
            authority: CertificateDer::from_pem_slice(text("authority").as_bytes())?,
            latencies: Vec::new(),
            cpu: 0.0,
            wall: 0.0,
        })
    }

    /// User and system time so far, in seconds.
    fn cpu_time(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<f64>().ok())
        };
        let ticks = ticks(11).zip(ticks(12)).context("/proc/PID/stat")?;
        // Linux counts in hundredths of a second for user space, whatever its own clock.
        Ok((ticks.0 + ticks.1) / 100.0)
    }

    /// Memory in use, in MB.
    fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kilobytes.context("VmRSS")?.parse::<f64>()? / 1024.0)
    }

    async fn round(
        &mut self,
        body: &Bytes,
        connections: usize,
        length: Duration,
    ) -> anyhow::Result<()> {
        let (cpu, start) = (self.cpu_time()?, Instant::now());
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                let (address, authority) = (self.address, self.authority.clone());
                tokio::spawn(client(address, authority, body.clone(), length))
            })
            .collect();
        for client in clients {
            self.latencies.extend(client.await??);
        }
        self.wall += start.elapsed().as_secs_f64();
        self.cpu += self.cpu_time()? - cpu;
        Ok(())
    }

    /// Milliseconds, once the latencies are sorted.
    fn quantile(&self, quantile: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * quantile).round() as usize;
        self.latencies
            .get(index)
            .map_or(f64::NAN, |nanos| *nanos as f64 / 1e6)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It ends with its standard input; nothing to do if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks again and again on one connection; gives the time of each answer.
async fn client(
    address: SocketAddr,
    authority: CertificateDer<'static>,
    body: Bytes,
    length: Duration,
) -> anyhow::Result<Vec<u64>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority)?;
    let configuration = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(configuration))
        .connect(ServerName::try_from("localhost")?, stream)
        .await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let end = Instant::now() + length;
    let mut latencies = Vec::with_capacity(1 << 16);
    while Instant::now() < end {
        let start = Instant::now();
        let request = hyper::Request::post("/mutate?timeout=5s")
            .header("Host", "localhost")
            .header("Content-Type", "application/json")
            .body(Full::new(body.clone()))?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            bail!("answered {}", response.status());
        }
        response.into_body().collect().await?;
        latencies.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    connection.abort();
    Ok(latencies)
}

fn measure(seconds: usize, connections: usize) -> anyhow::Result<()> {
    let body = Bytes::from(review().to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut servers = [Server::start("echo")?, Server::start("webhook")?];
    let length = Duration::from_secs_f64(seconds as f64 / ROUNDS as f64);
    runtime.block_on(async {
        for server in &mut servers {
            server
                .round(&body, connections, Duration::from_secs(1))
                .await?;
            // That was to warm up.
            server.latencies.clear();
            (server.cpu, server.wall) = (0.0, 0.0);
        }
        for _ in 0..ROUNDS {
            for server in &mut servers {
                server.round(&body, connections, length).await?;
            }
        }
        anyhow::Ok(())
    })?;
    println!(
        "review of {} bytes, {connections} connections, {seconds} s each, in {ROUNDS} turns",
        body.len()
    );
    println!(
        "| server | reviews/s | reviews/s of a core | p50 ms | p99 ms | p99.9 ms | resident MB |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut p99 = Vec::new();
    for server in &mut servers {
        server.latencies.sort_unstable();
        let count = server.latencies.len() as f64;
        p99.push(server.quantile(0.99));
        println!(
            "| {} | {:.0} | {:.0} | {:.3} | {:.3} | {:.3} | {:.1} |",
            server.name,
            count / server.wall,
            count / server.cpu,
            server.quantile(0.5),
            server.quantile(0.99),
            server.quantile(0.999),
            server.resident()?
        );
    }
    println!(
        "p99 of the webhook is {:.2} times that of echo",
        p99[1] / p99[0]
    );
    Ok(())
}

/// A review as an API server sends it for a pod of a Deployment, 8 KB of it.
fn review() -> Value {
    let environment: Vec<Value> = (0..24)
        .map(|number| json!({"name": format!("SETTING_NUMBER_{number}"), "value": format!("https://service-{number}.shop.svc.cluster.local:8443/path")}))
        .collect();
    let container = |name: &str| {
        json!({
            "name": name,
            "image": format!("registry.example/shop/{name}:1.27.3"),
            "imagePullPolicy": "IfNotPresent",
            "command": [format!("/usr/local/bin/{name}")],
            "args": ["--config", "/etc/shop/config.yaml", "--listen", ":8080"],
            "env": environment,
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3, "timeoutSeconds": 1},
            "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true, "runAsUser": 1000},
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "volumeMounts": [
                {"name": "config", "mountPath": "/etc/shop", "readOnly": true},
                {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
            ],
        })
    };
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "4c7a3f0e-5f51-4b5e-9b39-0d2a8f1c6e11",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "9d1a", "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]},
            "object": {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {
                    "generateName": "web-7d4b9c6f5-",
                    "creationTimestamp": null,
                    "labels": {"app": "web", "pod-template-hash": "7d4b9c6f5", "eks.amazonaws.com/fargate-profile": "shop"},
                    "annotations": {"prometheus.io/scrape": "true", "checksum/config": "6b1f".repeat(16)},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4b9c6f5", "uid": "f0a1", "controller": true, "blockOwnerDeletion": true}],
                    "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:command": {}, "f:image": {}, "f:name": {}}}}}}],
                },
                "spec": {
                    "volumes": [
                        {"name": "config", "configMap": {"name": "web", "defaultMode": 420}},
                        {"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}, {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}]}},
                    ],
                    "containers": [container("web"), container("proxy")],
                    "restartPolicy": "Always",
                    "terminationGracePeriodSeconds": 30,
                    "dnsPolicy": "ClusterFirst",
                    "serviceAccountName": "web",
                    "serviceAccount": "web",
                    "securityContext": {"fsGroup": 1000},
                    "schedulerName": "fargate-scheduler",
                    "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
                    "enableServiceLinks": true,
                    "preemptionPolicy": "PreemptLowerPriority",
                },
                "status": {},
            },
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}
