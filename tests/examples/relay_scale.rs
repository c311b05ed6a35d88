//! What the relay costs with many agents: 1,000 of them, over real TLS and with tokens of their
//! own, at a real operator and API server. Measured are the time from the change of a rule set
//! until all of them have the whole of it, what 10,000 heartbeats a minute cost the operator in
//! CPU time, and its memory.
//!
//! The agents are simulated in this process, with the connection of the real one: each waits for
//! orders on one connection, as the real one does, and sends heartbeats over another.
//!
//! `make bench-relay`, or
//! `cargo run --release -p picket-tests --features control-plane --example relay_scale -- --help`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use hyper::Method;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use picket_agent::relay::connection::{Ask, Connection};
use picket_agent::relay::{Access, rules};
use picket_events::relay::{
    HEARTBEAT_PATH, Heartbeat, MAX_BUNDLE, MAX_ORDERS, ORDERS_PATH, Orders, RULES_PATH, RuleBundle,
};
use picket_tests::kube::relay::Relay;
use picket_tests::kube::{ControlPlane, kubelet, objects};
use picket_tests::usage::{cpu_seconds, peak_mebibytes};
use serde_json::json;
use tokio::sync::watch;

/// Heartbeats of all agents in a minute.
const BEATS: u64 = 10_000;
/// How many rules the rule set has.
const RULES: usize = 300;
/// Objects that are made at once.
const AT_ONCE: usize = 32;
/// How often the rule set is changed.
const CHANGES: u64 = 3;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What all agents have in common.
struct Crowd {
    namespace: String,
    relay: String,
    trust: String,
    client: Client,
    /// Time between two heartbeats of an agent; none while it is zero.
    pace: watch::Receiver<Duration>,
    /// Heartbeats that were answered.
    answered: AtomicU64,
    /// Bundles that were not whole.
    broken: AtomicU64,
    /// How many agents have which change of the rule set.
    having: [AtomicU64; CHANGES as usize + 1],
}

/// Measures what the relay costs with many agents.
#[derive(Parser)]
struct Arguments {
    /// How many agents there are.
    #[arg(default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    agents: u64,
    /// Seconds over which heartbeats are counted.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(
        arguments.agents,
        Duration::from_secs(arguments.seconds),
    ))
}

async fn measure(agents: u64, counted: Duration) -> anyhow::Result<()> {
    let control_plane: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start()?));
    let relay: &'static Relay = tokio::task::spawn_blocking(move || {
        let relay = Relay::install(control_plane);
        relay.rule_set("own", &policy(0));
        Box::leak(Box::new(relay))
    })
    .await?;
    let process = relay.operator.replicas[0].process().id();
    let namespace = tokio::task::spawn_blocking(move || {
        let namespace = control_plane.namespace("crowd", &[]);
        let spec = json!({"computeType": "Any", "ruleSets": ["default", "own"]});
        let _ = relay.operator.protect(&namespace, "all", spec);
        namespace
    })
    .await?;
    let trust = tokio::task::spawn_blocking(move || relay.operator.trust()).await?;
    let client = kubelet::client(&control_plane.kubeconfig("admin")).await;
    let (pace, paced) = watch::channel(Duration::ZERO);
    let crowd = Arc::new(Crowd {
        namespace,
        relay: relay.address(0),
        trust: String::from_utf8(trust.context("nothing is published")?)?,
        client,
        pace: paced,
        answered: AtomicU64::new(0),
        broken: AtomicU64::new(0),
        having: Default::default(),
    });
    let accesses: Vec<Access> = stream::iter(0..agents)
        .map(|number| access(&crowd, number))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let begun = Instant::now();
    for (number, access) in accesses.into_iter().enumerate() {
        let beating = beat(Arc::clone(&crowd), access.clone(), number as u64, agents);
        tokio::spawn(beating);
        tokio::spawn(obey(Arc::clone(&crowd), access, number % 100 == 0));
    }
    until(|| crowd.having[0].load(Ordering::Relaxed) >= agents).await?;
    println!(
        "{agents} agents have connected and have their rules after {:.1} s",
        begun.elapsed().as_secs_f64()
    );

    for change in 1..=CHANGES {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let cpu = cpu_seconds(process)?;
        let begun = Instant::now();
        let text = policy(change);
        tokio::task::spawn_blocking(move || relay.rule_set("own", &text)).await?;
        let having = &crowd.having[change as usize];
        until(|| having.load(Ordering::Relaxed) > 0).await?;
        let first = begun.elapsed();
        until(|| having.load(Ordering::Relaxed) >= agents / 2).await?;
        let half = begun.elapsed();
        until(|| having.load(Ordering::Relaxed) >= agents).await?;
        println!(
            "change {change} of {RULES} rules: the first agent has it after {:.2} s, half of them \
             after {:.2} s, all after {:.2} s; CPU of the operator {:.2} s",
            first.as_secs_f64(),
            half.as_secs_f64(),
            begun.elapsed().as_secs_f64(),
            cpu_seconds(process)? - cpu,
        );
    }
    let broken = crowd.broken.load(Ordering::Relaxed);
    ensure!(broken == 0, "{broken} bundles were not whole");
    println!("no agent had less than the whole of a rule set");

    let turn = Duration::from_millis(60_000 * agents / BEATS);
    pace.send_replace(turn);
    // Until all of them beat.
    tokio::time::sleep(turn * 2).await;
    let (cpu, answered) = (
        cpu_seconds(process)?,
        crowd.answered.load(Ordering::Relaxed),
    );
    tokio::time::sleep(counted).await;
    let answered = crowd.answered.load(Ordering::Relaxed) - answered;
    let used = (cpu_seconds(process)? - cpu) / counted.as_secs_f64();
    println!(
        "{answered} heartbeats in {} s: {:.2} % of a core; peak memory {} MiB",
        counted.as_secs(),
        used * 100.0,
        peak_mebibytes(process)?
    );
    Ok(())
}

/// A rule set; every rule tells which change it is of.
fn policy(change: u64) -> String {
    let rule = |number: usize| {
        format!(
            "- id: own_{number}_{change}\n  expression: open.file.path == \"/data/{change}/{number}\"\n"
        )
    };
    let rules: String = (0..RULES).map(rule).collect();
    format!("rules:\n{rules}")
}

/// Makes a pod and its token.
async fn access(crowd: &Arc<Crowd>, number: u64) -> anyhow::Result<Access> {
    let name = format!("web-{number}");
    let pods: Api<Pod> = Api::namespaced(crowd.client.clone(), &crowd.namespace);
    let pod = serde_json::from_value(objects::pod(&crowd.namespace, &name))?;
    let pod = pods.create(&PostParams::default(), &pod).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(crowd.client.clone(), &crowd.namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec!["picket".to_owned()],
            expiration_seconds: Some(3600),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(name.clone()),
                uid: pod.metadata.uid,
            }),
        },
        ..TokenRequest::default()
    };
    let created = accounts
        .create_token_request("default", &PostParams::default(), &request)
        .await?;
    let folder = std::env::temp_dir().join(format!("picket-relay-scale-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(&name);
    std::fs::write(&file, created.status.context("no token")?.token)?;
    let variable = |variable: &str| match variable {
        "PICKET_RELAY_ADDRESS" => Some(crowd.relay.clone()),
        "PICKET_RELAY_CA" => Some(crowd.trust.clone()),
        "PICKET_RELAY_TOKEN" => Some(file.to_string_lossy().into_owned()),
        _ => None,
    };
    let kept = folder.join("never-there");
    Access::from_environment(variable, &kept)?.context("no relay")
}

fn ask(method: Method, path: String, body: Vec<u8>, largest: usize) -> Ask {
    Ask {
        method,
        path,
        body,
        largest,
        patience: Duration::from_secs(60),
    }
}

/// Waits for orders and fetches rules, for ever; `loads` says whether they are compiled too.
async fn obey(crowd: Arc<Crowd>, access: Access, loads: bool) {
    loop {
        if let Err(error) = obey_once(&crowd, &access, loads).await {
            eprintln!("an agent connects again: {error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn obey_once(crowd: &Crowd, access: &Access, loads: bool) -> anyhow::Result<()> {
    let mut connection = Connection::open(access).await?;
    let (mut seen, mut known) = (String::new(), String::new());
    loop {
        let path = match seen.as_str() {
            "" => ORDERS_PATH.to_owned(),
            seen => format!("{ORDERS_PATH}?seen={seen}"),
        };
        let body = connection
            .ask(ask(Method::GET, path, Vec::new(), MAX_ORDERS), access)
            .await?;
        if body.is_empty() {
            continue;
        }
        let orders: Orders = serde_json::from_slice(&body)?;
        seen = orders.tag;
        if orders.bundle.is_empty() || orders.bundle == known {
            continue;
        }
        let path = format!("{RULES_PATH}{}", orders.bundle);
        let bytes = connection
            .ask(ask(Method::GET, path, Vec::new(), MAX_BUNDLE), access)
            .await?;
        match change_of(&orders.bundle, &bytes, loads) {
            Some(change) => {
                if let Some(having) = crowd.having.get(change) {
                    having.fetch_add(1, Ordering::Relaxed);
                }
            }
            None => drop(crowd.broken.fetch_add(1, Ordering::Relaxed)),
        }
        known = orders.bundle;
    }
}

/// Which change of the rule set a bundle has, if it has the whole of it and nothing of another.
fn change_of(hash: &str, bytes: &[u8], loads: bool) -> Option<usize> {
    let sum = ring::digest::digest(&ring::digest::SHA256, bytes);
    let sum: String = sum
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if sum != hash || (loads && rules::load(hash, bytes).is_err()) {
        return None;
    }
    let bundle: RuleBundle = serde_json::from_slice(bytes).ok()?;
    let own = bundle
        .policies
        .iter()
        .find(|policy| policy.text.contains("own_0_"))?;
    let number = own.text.split("own_0_").nth(1)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    let of_this = format!("_{digits}\n");
    let whole =
        own.text.matches(&of_this).count() == RULES && own.text.matches("- id:").count() == RULES;
    whole.then(|| digits.parse().ok()).flatten()
}

/// Sends heartbeats at the pace of the crowd, beginning somewhere within the first pause.
async fn beat(crowd: Arc<Crowd>, access: Access, number: u64, agents: u64) {
    let mut pace = crowd.pace.clone();
    let Ok(pace) = pace
        .wait_for(|pace| !pace.is_zero())
        .await
        .map(|pace| *pace)
    else {
        return;
    };
    let share = f64::from(u32::try_from(number).unwrap_or(0)) / agents as f64;
    tokio::time::sleep(pace.mul_f64(share)).await;
    let heartbeat = Heartbeat {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Heartbeat::default()
    };
    let Ok(body) = serde_json::to_vec(&heartbeat) else {
        return;
    };
    let mut turns = tokio::time::interval(pace);
    let mut connection = None;
    loop {
        turns.tick().await;
        let mut open = match connection.take() {
            Some(open) => open,
            None => match Connection::open(&access).await {
                Ok(open) => open,
                Err(_) => continue,
            },
        };
        let ask = ask(Method::POST, HEARTBEAT_PATH.to_owned(), body.clone(), 0);
        if open.ask(ask, &access).await.is_ok() {
            crowd.answered.fetch_add(1, Ordering::Relaxed);
            connection = Some(open);
        }
    }
}

async fn until(look: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        ensure!(Instant::now() < deadline, "waited in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
