//! Puts the parts together, and takes them apart in order.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::{Api, Client};
use picket_webhook::admission::{AdmissionState, Metrics, health_router, router};
use picket_webhook::entrypoint::Resolver;
use picket_webhook::{PolicyStore, Settings, SharedSettings};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::arguments::{ArgumentError, Arguments};
use crate::breaker::{Breaker, BreakerCounts, Patience};
use crate::certificates::{ServingCertificate, kept};
use crate::coverage;
use crate::coverage::start::Watched;
use crate::events::{self, EventCounts, EventRecorder, Told};
use crate::facts::Facts;
use crate::images;
use crate::images::warm::Warmer;
use crate::lease::Candidate;
use crate::metrics::StateCollector;
use crate::pods::{Pods, follow_pods};
use crate::policies::{Namespaces, Policies, View, follow_namespaces, follow_policies};
use crate::preflight::Preflight;
use crate::readiness::Readiness;
use crate::relay::start::{RelayState, Start};
use crate::rule_sets::status::RuleSetWriter;
use crate::rule_sets::{Library, follow_rule_sets};
use crate::server::{HealthServer, RunningServer, ServerError, WebhookServer};
use crate::sessions::{KeyKeeper, LiveSessions};
use crate::settings::{has_native_sidecars, settings};
use crate::status::StatusWriter;
use crate::suspensions::Suspensions;
use crate::watched::{Seen, follow};

/// How long requests under way may take once no new ones are accepted.
const DRAIN_GRACE: Duration = Duration::from_secs(20);
/// How long the last answers on the health port may take.
const HEALTH_GRACE: Duration = Duration::from_secs(1);
/// How long answers of the relay may take at the end.
const RELAY_GRACE: Duration = Duration::from_secs(5);
/// How long the leader may take to release its Lease.
const RELEASE_GRACE: Duration = Duration::from_secs(10);
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

/// Everything that runs in the background.
struct Parts {
    tasks: JoinSet<&'static str>,
    election: tokio::task::JoinHandle<()>,
    readiness: Readiness,
    leading: watch::Receiver<bool>,
    policies: View<Policies>,
    facts: Facts,
    pods: Pods,
    namespaces: View<Namespaces>,
    sessions: LiveSessions,
    library: View<Library>,
    relay: RelayState,
    suspensions: Suspensions,
    stop: watch::Sender<bool>,
}

impl Parts {
    fn start(arguments: &Arguments, client: &Client) -> Self {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &arguments.namespace);
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let leases: Api<Lease> = Api::namespaced(client.clone(), &arguments.namespace);
        let suspensions = Suspensions::new(client.clone(), &arguments.namespace);
        let certificate = ServingCertificate::empty();
        let store = PolicyStore::new();
        let (secret_seen, secret) = watch::channel(Seen::NotYet);
        let (configuration_seen, configuration) = watch::channel(Seen::NotYet);
        let (policies_seen, policies) = watch::channel(None);
        let (namespaces_seen, namespaces) = watch::channel(None);
        let (stop, stopping) = watch::channel(false);
        let (candidate, leading) = Candidate::new(leases, &arguments.lease, &arguments.identity);

        let mut tasks = JoinSet::new();
        let mut part = |name: &'static str, task: BoxFuture| {
            tasks.spawn(async move {
                task.await;
                name
            });
        };
        let secret_name = arguments.certificate_secret.clone();
        let configuration_name = arguments.webhook_configuration.clone();
        part("secret watch", {
            let (secrets, name) = (secrets.clone(), secret_name.clone());
            Box::pin(async move { follow(secrets, &name, secret_seen).await })
        });
        part("webhook configuration watch", {
            let (api, name) = (configurations.clone(), configuration_name);
            Box::pin(async move { follow(api, &name, configuration_seen).await })
        });
        part(
            "policy watch",
            Box::pin(follow_policies(
                client.clone(),
                store.clone(),
                policies_seen,
            )),
        );
        part(
            "namespace watch",
            Box::pin(follow_namespaces(client.clone(), namespaces_seen)),
        );
        part("suspension watch", Box::pin(suspensions.clone().follow()));
        let pods = Pods::default();
        part(
            "pod watch",
            Box::pin(follow_pods(client.clone(), pods.clone())),
        );
        let facts = Facts::new(client.clone(), namespaces.clone());
        part("limits watch", Box::pin(facts.clone().follow()));
        let (session_keys, sessions) = watch::channel(Arc::default());
        let key_keeper = KeyKeeper {
            secrets: secrets.clone(),
            name: arguments.session_secret.clone(),
            keys: session_keys,
        };
        part(
            "session key keeper",
            Box::pin(key_keeper.run(configuration.clone(), leading.clone())),
        );
        let (serve, keep) = kept::tasks(
            arguments,
            (secrets, secret),
            (configurations, configuration.clone()),
            Arc::clone(&certificate),
            leading.clone(),
        );
        part("certificate", serve);
        part("certificate keeper", keep);
        let writer = StatusWriter::new(client.clone(), arguments.excluded_namespaces());
        part(
            "status writer",
            Box::pin(writer.run(policies.clone(), namespaces.clone(), leading.clone())),
        );
        let (library_seen, library) = watch::channel(None);
        part(
            "rule set watch",
            Box::pin(follow_rule_sets(
                client.clone(),
                arguments.namespace.clone(),
                library_seen,
            )),
        );
        let writer = RuleSetWriter {
            client: client.clone(),
            relay: arguments.relay_address.is_some(),
        };
        part(
            "rule set status writer",
            Box::pin(writer.run(library.clone(), policies.clone(), leading.clone())),
        );
        let election = tokio::spawn(candidate.run(stopping.clone()));

        Self {
            tasks,
            election,
            readiness: Readiness {
                certificate,
                configuration,
                policies: store,
                suspensions: suspensions.changes(),
                serving: Arc::default(),
                stopping,
            },
            leading,
            policies,
            facts,
            sessions: LiveSessions::new(pods.clone(), sessions),
            pods,
            namespaces,
            library,
            relay: RelayState::default(),
            suspensions,
            stop,
        }
    }

    /// Writes events. It ends when the webhook does, and is no reason to stop.
    fn tell(
        &mut self,
        client: &Client,
        arguments: &Arguments,
        counts: EventCounts,
        told: mpsc::Receiver<Told>,
    ) {
        let (client, identity) = (client.clone(), arguments.identity.clone());
        tokio::spawn(events::tell(client, identity, counts, told));
    }

    /// Says what is protected, brings the rest in, and cuts off what is in quarantine.
    fn cover(&mut self, client: &Client, arguments: &Arguments, registry: &mut Registry) {
        let watched = Watched {
            pods: self.pods.clone(),
            policies: self.policies.clone(),
            namespaces: self.namespaces.clone(),
            heartbeats: self.relay.heartbeats.clone(),
            board: self.relay.board.clone(),
            suspensions: self.suspensions.clone(),
            // The cluster's version says nothing of which image is injected.
            suspend: self.suspensions.by_rollout(
                settings(arguments, &Info::default()),
                self.readiness.policies.clone(),
                self.facts.clone(),
                self.readiness.configuration.clone(),
            ),
        };
        let parts = coverage::start::parts(client, arguments, watched, &self.leading, registry);
        for (name, part) in parts {
            self.tasks.spawn(async move {
                part.await;
                name
            });
        }
    }

    /// What the relay is started with.
    fn relay<'a>(
        &self,
        client: &'a Client,
        arguments: &'a Arguments,
        settings: SharedSettings,
    ) -> Start<'a> {
        Start {
            arguments,
            client,
            pods: self.pods.clone(),
            state: self.relay.clone(),
            leading: self.leading.clone(),
            configuration: self.readiness.configuration.clone(),
            certificate: Arc::clone(&self.readiness.certificate),
            library: self.library.clone(),
            namespaces: self.namespaces.clone(),
            policies: self.policies.clone(),
            store: self.readiness.policies.clone(),
            settings,
        }
    }

    /// Watches over the pods that are injected.
    fn guard(
        &mut self,
        client: &Client,
        arguments: &Arguments,
        settings: &Settings,
        resolver: Option<Resolver>,
        (recorder, counts): (EventRecorder, BreakerCounts),
    ) {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let breaker = Breaker {
            client: client.clone(),
            pods: self.pods.clone(),
            policies: self.readiness.policies.clone(),
            namespaces: self.facts.clone(),
            settings: Arc::new(settings.clone()),
            suspensions: self.suspensions.clone(),
            preflight: Preflight::new(resolver),
            recorder,
            counts,
            configuration: self.readiness.configuration.clone(),
            backstop_denies: arguments.backstop_denies,
            patience: Patience {
                pod: seconds(arguments.suspend_after_seconds.into()),
                suspension: seconds(arguments.suspension_seconds),
            },
        };
        let leading = self.leading.clone();
        self.tasks.spawn(async move {
            breaker.run(leading).await;
            "circuit breaker"
        });
    }

    fn collector(&self) -> StateCollector {
        StateCollector {
            certificate: Arc::clone(&self.readiness.certificate),
            leading: self.leading.clone(),
            policies: self.policies.clone(),
            pods: self.pods.clone(),
            suspensions: self.suspensions.clone(),
        }
    }

    /// Waits until a part ends, which none should, and names it.
    async fn ended(&mut self) -> String {
        tokio::select! {
            Some(ended) = self.tasks.join_next() => {
                ended.map_or_else(|panic| panic.to_string(), str::to_owned)
            }
            _ = &mut self.election => "leader election".to_owned(),
        }
    }

    /// Waits until the Lease has been given up.
    async fn released(&mut self) {
        if tokio::time::timeout(RELEASE_GRACE, &mut self.election)
            .await
            .is_err()
        {
            warn!("the lease was not released in time; it will run out");
        }
    }
}

type BoxFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

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
