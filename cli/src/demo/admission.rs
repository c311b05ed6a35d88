//! The control plane's webhook, started in this process.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use picket_operator::certificates::{Bundle, ServerNames, ServingCertificate};
use picket_operator::server::WebhookServer;
use picket_webhook::admission::{AdmissionState, Metrics, router};
use picket_webhook::inject::policies_from_yaml;
use picket_webhook::{PolicyStore, Settings};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::review::{self, Reviewed};
use super::{DemoError, POLICY, SIDECAR_IMAGE};

/// What the Service of an installation would be called.
const SERVER_NAME: &str = "picket-webhook.picket-system.svc";

/// Starts the webhook with a certificate and an authority of its own and the demo's policy,
/// asks it about the pod, and stops it.
///
/// # Errors
/// When it does not start, or does not answer as an API server needs it.
pub(super) fn review_in_process(pod: &Value) -> Result<Reviewed, DemoError> {
    // Fails only if a provider is installed, which then is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().map_err(|source| DemoError::Host {
        what: "start a runtime",
        source,
    })?;
    runtime.block_on(serve_and_ask(pod))
}

async fn serve_and_ask(pod: &Value) -> Result<Reviewed, DemoError> {
    let names = ServerNames::new([SERVER_NAME.to_owned()]);
    let bundle = Bundle::generate(&names, SystemTime::now()).map_err(broken)?;
    let certificate = ServingCertificate::of(&bundle).map_err(broken)?;
    let authority = CertificateDer::from_pem_slice(bundle.authority().as_bytes());

    let store = PolicyStore::new();
    store.replace(policies_from_yaml(POLICY, "default").map_err(broken)?);
    let mut settings = Settings::new(SIDECAR_IMAGE, env!("CARGO_PKG_VERSION"));
    settings.interest = crate::rules::default_interest().to_string();
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let app = router(AdmissionState::new(store, Arc::new(settings), metrics));

    let listener = TcpListener::bind("127.0.0.1:0").map_err(broken)?;
    let server = WebhookServer::start(listener, app, certificate).map_err(broken)?;
    let reviewed = review::review(
        server.address(),
        SERVER_NAME,
        authority.map_err(broken)?,
        pod,
    )
    .await;
    server.drain(Duration::from_secs(1)).await.map_err(broken)?;
    Ok(reviewed?)
}

fn broken(error: impl std::fmt::Display) -> DemoError {
    DemoError::ControlPlane(error.to_string())
}
