//! Everything that runs in the background, started and ended together.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::{Api, Client};
use picket_webhook::entrypoint::Resolver;
use picket_webhook::{PolicyStore, Settings, SharedSettings};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::warn;

use crate::arguments::Arguments;
use crate::breaker::{Breaker, BreakerCounts, Patience};
use crate::certificates::{ServingCertificate, kept};
use crate::coverage;
use crate::coverage::start::Watched;
use crate::events::{self, EventCounts, EventRecorder, Told};
use crate::facts::Facts;
use crate::lease::Candidate;
use crate::metrics::StateCollector;
use crate::pods::{Pods, follow_pods};
use crate::policies::{Namespaces, Policies, View, follow_namespaces, follow_policies};
use crate::preflight::{Preflight, Trials};
use crate::readiness::Readiness;
use crate::relay::start::{RelayState, Start};
use crate::rule_sets::status::RuleSetWriter;
use crate::rule_sets::{Library, follow_rule_sets};
use crate::sessions::{KeyKeeper, LiveSessions};
use crate::settings::settings;
use crate::status::StatusWriter;
use crate::suspensions::Suspensions;
use crate::watched::{Seen, follow};

/// How long the leader may take to release its Lease.
const RELEASE_GRACE: Duration = Duration::from_secs(10);

/// Everything that runs in the background.
pub(super) struct Parts {
    pub(super) tasks: JoinSet<&'static str>,
    pub(super) election: tokio::task::JoinHandle<()>,
    pub(super) readiness: Readiness,
    pub(super) leading: watch::Receiver<bool>,
    pub(super) policies: View<Policies>,
    pub(super) facts: Facts,
    pub(super) pods: Pods,
    pub(super) namespaces: View<Namespaces>,
    pub(super) sessions: LiveSessions,
    pub(super) library: View<Library>,
    pub(super) relay: RelayState,
    pub(super) suspensions: Suspensions,
    pub(super) stop: watch::Sender<bool>,
}

impl Parts {
    pub(super) fn start(arguments: &Arguments, client: &Client) -> Self {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &arguments.namespace);
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let leases: Api<Lease> = Api::namespaced(client.clone(), &arguments.namespace);
        let suspensions = Suspensions::new(
            client.clone(),
            &arguments.namespace,
            arguments.installation(client),
        );
        let certificate = ServingCertificate::empty();
        let store = PolicyStore::new();
        let (secret_seen, secret) = watch::channel(Seen::NotYet);
        let (configuration_seen, configuration) = watch::channel(Seen::NotYet);
        let (policies_seen, policies) = watch::channel(None);
        let (namespaces_seen, namespaces) = watch::channel(None);
        let (stop, stopping) = watch::channel(false);
        let (candidate, leading) = Candidate::new(leases, &arguments.lease, &arguments.identity);
        let candidate = candidate.of(arguments.installation(client));

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
            installation: arguments.installation(client),
            keys: session_keys,
        };
        part(
            "session key keeper",
            Box::pin(key_keeper.run(leading.clone())),
        );
        let (serve, keep) = kept::tasks(
            (arguments, arguments.installation(client)),
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
            installation: arguments.installation(client),
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
    pub(super) fn tell(
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
    pub(super) fn cover(
        &mut self,
        client: &Client,
        arguments: &Arguments,
        registry: &mut Registry,
    ) {
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
    pub(super) fn relay<'a>(
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

    /// Tries pods before there are any, and watches over those that are injected.
    pub(super) fn guard(
        &mut self,
        client: &Client,
        arguments: &Arguments,
        settings: &Settings,
        resolver: Option<Resolver>,
        (recorder, counts): (EventRecorder, BreakerCounts),
    ) {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let settings = Arc::new(settings.clone());
        let preflight = Preflight::new(resolver);
        let trials = Trials {
            client: client.clone(),
            policies: self.policies.clone(),
            namespaces: self.namespaces.clone(),
            configuration: self.readiness.configuration.clone(),
            suspensions: self.suspensions.clone(),
            settings: Arc::clone(&settings),
            preflight: preflight.clone(),
            excluded: arguments.excluded_namespaces(),
            tries: arguments.preflight,
            port: arguments.webhook_port,
        };
        let breaker = Breaker {
            client: client.clone(),
            pods: self.pods.clone(),
            policies: self.readiness.policies.clone(),
            namespaces: self.facts.clone(),
            settings,
            suspensions: self.suspensions.clone(),
            preflight,
            recorder,
            counts,
            backstop_denies: arguments.backstop_denies,
            patience: Patience {
                pod: seconds(arguments.suspend_after_seconds.into()),
                suspension: seconds(arguments.suspension_seconds),
            },
        };
        let leading = self.leading.clone();
        self.tasks.spawn(async move {
            trials.run(leading).await;
            "preflight"
        });
        let leading = self.leading.clone();
        self.tasks.spawn(async move {
            breaker.run(leading).await;
            "circuit breaker"
        });
    }

    pub(super) fn collector(&self) -> StateCollector {
        StateCollector {
            certificate: Arc::clone(&self.readiness.certificate),
            leading: self.leading.clone(),
            policies: self.policies.clone(),
            pods: self.pods.clone(),
            suspensions: self.suspensions.clone(),
        }
    }

    /// Waits until a part ends, which none should, and names it.
    pub(super) async fn ended(&mut self) -> String {
        tokio::select! {
            Some(ended) = self.tasks.join_next() => {
                ended.map_or_else(|panic| panic.to_string(), str::to_owned)
            }
            _ = &mut self.election => "leader election".to_owned(),
        }
    }

    /// Waits until the Lease has been given up.
    pub(super) async fn released(&mut self) {
        if tokio::time::timeout(RELEASE_GRACE, &mut self.election)
            .await
            .is_err()
        {
            warn!("the lease was not released in time; it will run out");
        }
    }
}

type BoxFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
