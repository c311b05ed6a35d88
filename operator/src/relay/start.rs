//! Puts the relay together.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use picket_webhook::{PolicyStore, RelayAccess, SharedSettings};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::info;

use super::authentication::{ApiServer, Authenticator};
use super::endpoint::Endpoint;
use super::findings::{Events, Intake, Lines, Ring};
use super::handlers::router;
use super::heartbeats::Heartbeats;
use super::listener::RelayListener;
use super::metrics::RelayMetrics;
use super::orders::Board;
use super::{Relay, RelayParts};
use crate::arguments::Arguments;
use crate::ca_bundle;
use crate::certificates::ServingCertificate;
use crate::pods::Pods;
use crate::policies::{Namespaces, Policies, View};
use crate::rule_sets::distribution::distribute;
use crate::rule_sets::{Distribution, Library};
use crate::server::ServerError;
use crate::watched::Seen;

/// What the relay keeps, for whoever else wants to know or to order something.
#[derive(Clone, Debug, Default)]
pub struct RelayState {
    /// What each pod said last.
    pub heartbeats: Heartbeats,
    /// What is wanted of each pod.
    pub board: Board,
}

/// What the relay is started with.
pub struct Start<'a> {
    /// The command line.
    pub arguments: &'a Arguments,
    /// Client.
    pub client: &'a Client,
    /// The pods there are.
    pub pods: Pods,
    /// What the relay keeps.
    pub state: RelayState,
    /// Whether this replica leads.
    pub leading: watch::Receiver<bool>,
    /// The webhook configuration, which says whom to trust.
    pub configuration: watch::Receiver<Seen<MutatingWebhookConfiguration>>,
    /// The certificate.
    pub certificate: Arc<ServingCertificate>,
    /// The rule sets.
    pub library: View<Library>,
    /// Labels of namespaces.
    pub namespaces: View<Namespaces>,
    /// The policies, as they change.
    pub policies: View<Policies>,
    /// The policies from which the webhook answers.
    pub store: PolicyStore,
    /// What the planner is told.
    pub settings: SharedSettings,
}

impl Start<'_> {
    /// Serves the relay on `listener`, and runs what belongs to it in the background. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`] when the listener, TLS or the output cannot be used.
    pub fn run(
        self,
        listener: TcpListener,
        registry: &mut Registry,
    ) -> Result<RelayListener, ServerError> {
        let Self {
            arguments,
            client,
            pods,
            state,
            leading,
            ..
        } = self;
        let metrics = RelayMetrics::new(registry);
        let ring = Ring::new();
        let identity = arguments.identity.clone();
        let events = Events::start(client.clone(), identity, metrics.clone());
        let lines = Lines::to(io::stdout(), metrics.clone()).map_err(ServerError::Listener)?;
        let intake = Intake::start(
            vec![Box::new(ring.clone()), Box::new(lines), Box::new(events)],
            metrics.clone(),
        );
        let distribution = Distribution::new(self.library, self.namespaces, self.store);
        tokio::spawn(distribute(
            distribution.clone(),
            pods.clone(),
            state.board.clone(),
            self.settings.clone(),
            self.policies,
        ));
        tokio::spawn(tell_of_trust(
            self.configuration,
            arguments.relay_address.clone(),
            state.board.clone(),
            self.settings,
        ));
        let relay = Arc::new(Relay::new(RelayParts {
            authenticator: Authenticator::new(
                ApiServer(client.clone()),
                pods.clone(),
                &arguments.namespace,
            ),
            heartbeats: state.heartbeats,
            board: state.board,
            bundles: Arc::new(distribution),
            intake,
            ring,
            metrics: metrics.clone(),
            leading: leading.clone(),
        }));
        tokio::spawn(Arc::clone(&relay).sweep(pods));
        let listener = RelayListener::start(listener, router(relay), self.certificate, metrics)?;
        let port = listener.address().port();
        info!(relay = %listener.address(), "serving agents");
        if let Some(address) = arguments.pod_ip {
            let endpoint = endpoint(client.clone(), arguments, address, port);
            tokio::spawn(endpoint.run(leading));
        }
        Ok(listener)
    }
}

fn endpoint(client: Client, arguments: &Arguments, address: IpAddr, port: u16) -> Endpoint {
    Endpoint {
        client,
        namespace: arguments.namespace.clone(),
        service: arguments.relay_service.clone(),
        address,
        port,
    }
}

/// Tells agents and the planner whom to trust, for ever.
async fn tell_of_trust(
    mut configuration: watch::Receiver<Seen<MutatingWebhookConfiguration>>,
    address: Option<String>,
    board: Board,
    settings: SharedSettings,
) {
    loop {
        let seen = configuration.borrow_and_update().clone();
        // What API servers are told to trust holds for agents too: old and new authorities while
        // they change, whoever keeps the certificate.
        let trust = seen.present().map(ca_bundle::published).unwrap_or_default();
        if !trust.is_empty() {
            board.trust(&trust);
            if let Some(address) = address.clone() {
                settings.update(|settings| {
                    settings.relay = Some(RelayAccess { address, trust });
                });
            }
        }
        if configuration.changed().await.is_err() {
            return;
        }
    }
}
