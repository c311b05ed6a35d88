//! Puts the parts together, and takes them apart in order.

mod parts;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use k8s_openapi::apimachinery::pkg::version::Info;
use kube::Client;
use picket_webhook::SharedSettings;
use picket_webhook::admission::{AdmissionState, Metrics, health_router, router};
use prometheus_client::registry::Registry;
use tokio::time::sleep;
use tracing::{info, warn};

use self::parts::Parts;
use crate::arguments::{ArgumentError, Arguments};
use crate::breaker::BreakerCounts;
use crate::events::{self, EventCounts};
use crate::images;
use crate::images::warm::Warmer;
use crate::server::{HealthServer, RunningServer, ServerError, WebhookServer};
use crate::settings::{has_native_sidecars, settings};

/// How long requests under way may take once no new ones are accepted.
const DRAIN_GRACE: Duration = Duration::from_secs(20);
/// How long the last answers on the health port may take.
const HEALTH_GRACE: Duration = Duration::from_secs(1);
/// How long answers of the relay may take at the end.
const RELAY_GRACE: Duration = Duration::from_secs(5);
/// Time before the API server is asked for its version again.
const RETRY: Duration = Duration::from_secs(2);

/// Why the operator cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A value of the command line cannot work.
    #[error(transparent)]
    Argument(#[from] ArgumentError),
    /// A port is not to be had.
    #[error(
        "--{flag}: cannot listen on {address}: {source}; choose another port or end the process that uses it"
    )]
    Listen {
        /// The flag with the port.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system answered.
        source: io::Error,
    },
    /// There is no way to an API server.
    #[error(
        "cannot talk to Kubernetes: {0}; run in a pod with a service account, or set KUBECONFIG"
    )]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Images cannot be looked up as wanted.
    #[error(transparent)]
    Images(#[from] images::ImagesError),
    /// A server cannot start, or stopped.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A part that runs for ever has ended.
    #[error("the operator cannot go on: its part `{0}` ended")]
    Ended(String),
}

/// Runs the operator until `stop` resolves, then drains.
///
/// # Errors
/// [`RunError`]; the process should end then, so that it is started anew.
pub async fn run(arguments: Arguments, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    arguments.check()?;
    let listen = |flag, port| listen(flag, arguments.listen_address, port);
    let webhook_listener = listen("webhook-port", arguments.webhook_port)?;
    let health_listener = listen("health-port", arguments.health_port)?;
    let relay_listener = match arguments.relay_address {
        Some(_) => Some(listen("relay-port", arguments.relay_port)?),
        None => None,
    };
    let client = Client::try_default()
        .await
        .map_err(|error| RunError::Client(error.into()))?;

    let mut parts = Parts::start(&arguments, &client);
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    registry.register_collector(Box::new(parts.collector()));
    let environment = |name: &str| std::env::var(name).ok();
    let own = images::networks::of_services(&client, environment("KUBERNETES_SERVICE_HOST")).await;
    let lookups = images::resolver(&arguments.images, &client, own, environment)?;
    if let Some((resolver, _)) = &lookups {
        resolver.register(&mut registry);
    }
    let counts = EventCounts::new(&mut registry);
    let breaks = BreakerCounts::new(&mut registry);
    let (recorder, told) = events::recorder(counts.clone());
    parts.tell(&client, &arguments, counts, told);
    parts.cover(&client, &arguments, &mut registry);
    // What depends on the cluster is told when that is known.
    let settings = SharedSettings::from(settings(&arguments, &Info::default()));
    let relay = match relay_listener {
        Some(listener) => {
            let start = parts.relay(&client, &arguments, settings.clone());
            Some(start.run(listener, &mut registry)?)
        }
        None => None,
    };
    let readiness = parts.readiness.clone();
    let ready = Arc::new(move || {
        readiness
            .obstacle(SystemTime::now())
            .map_or(Ok(()), |obstacle| Err(obstacle.to_owned()))
    });
    let mut health = HealthServer::start(health_listener, health_router(registry.into(), ready))?;

    let serve = async {
        let version = cluster_version(&client).await;
        settings.update(|settings| settings.native_sidecars = has_native_sidecars(&version));
        let policies = parts.readiness.policies.clone();
        parts.sessions.publish(&settings).await;
        let mut state = AdmissionState::new(policies.clone(), settings.clone(), metrics)
            .with_sessions(Arc::new(parts.sessions.clone()))
            .with_namespaces(Arc::new(parts.facts.clone()))
            .with_suspensions(Arc::new(parts.suspensions.clone()))
            .with_recorder(Arc::new(recorder.clone()));
        let resolver = lookups.as_ref().map(|(resolver, _)| resolver.clone());
        parts.guard(
            &client,
            &arguments,
            &settings.get(),
            resolver,
            (recorder, breaks),
        );
        if let Some((resolver, keychain)) = lookups {
            state = state.with_resolver(resolver.clone());
            if arguments.images.warm_images {
                let warmer = Warmer {
                    client: client.clone(),
                    policies,
                    policy_changes: parts.policies.clone(),
                    namespaces: Arc::new(parts.facts.clone()),
                    settings,
                    resolver,
                    keychain,
                };
                tokio::spawn(warmer.run());
            }
        }
        let certificate = Arc::clone(&parts.readiness.certificate);
        WebhookServer::start(webhook_listener, router(state), certificate)
    };
    let mut stop = std::pin::pin!(stop);
    let mut webhook: Option<RunningServer> = None;
    let outcome = tokio::select! {
        started = serve => match started {
            Ok(mut server) => {
                parts.readiness.serving.store(true, Ordering::Relaxed);
                info!(webhook = %server.address(), health = %health.address(), "serving");
                let outcome = tokio::select! {
                    () = &mut stop => Ok(()),
                    ended = parts.ended() => Err(RunError::Ended(ended)),
                    error = server.stopped() => Err(error.into()),
                    error = health.stopped() => Err(error.into()),
                };
                webhook = Some(server);
                outcome
            }
            Err(error) => Err(error.into()),
        },
        () = &mut stop => Ok(()),
    };
    if outcome.is_ok() {
        info!("stopping");
        parts.stop.send_replace(true);
        if let Some(webhook) = webhook {
            webhook.end_soon();
            // Endpoints are taken out of the Service meanwhile.
            sleep(arguments.drain_delay()).await;
            webhook.drain(DRAIN_GRACE).await?;
        }
        // Orders that are waited for end when the lease is given up.
        let drained = relay.map(|relay| tokio::spawn(relay.drain(RELAY_GRACE)));
        parts.released().await;
        if let Some(drained) = drained {
            // It has a deadline of its own, and nothing depends on how it went.
            let _ = drained.await;
        }
        health.drain(HEALTH_GRACE).await?;
    }
    outcome
}

/// Binds a port on one address, or on all of them: IPv6 and IPv4 where the
/// system has both, else IPv4.
fn listen(flag: &'static str, address: Option<IpAddr>, port: u16) -> Result<TcpListener, RunError> {
    let wanted = SocketAddr::new(address.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), port);
    let bound = match TcpListener::bind(wanted) {
        Err(error) if address.is_none() && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        }
        bound => bound,
    };
    bound.map_err(|source| RunError::Listen {
        flag,
        address: wanted,
        source,
    })
}

/// Asks the API server for its version until it answers.
async fn cluster_version(client: &Client) -> Info {
    loop {
        match client.apiserver_version().await {
            Ok(version) => {
                info!(version = version.git_version, "cluster");
                return version;
            }
            Err(error) => {
                warn!(%error, "cannot learn the cluster's version, trying again");
                sleep(RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_names_its_flag() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("port");
        let port = taken.local_addr().expect("address").port();
        let error = listen("webhook-port", Some(Ipv4Addr::LOCALHOST.into()), port)
            .expect_err("taken")
            .to_string();
        assert!(
            error.starts_with("--webhook-port: cannot listen on 127.0.0.1:"),
            "{error}"
        );
        assert!(error.contains("choose another port"), "{error}");
    }
}
