//! Who keeps the certificate: the operator, or somebody else.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::sync::watch;

use super::follower::{Follower, Publisher};
use super::keeper::{Keeper, serve_from_secret};
use super::{ServerNames, ServingCertificate};
use crate::arguments::{Arguments, CertificateMode};
use crate::installation::Installation;
use crate::watched::Seen;

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What serves the certificate, and what keeps it and the `caBundle` as they should be.
pub(crate) fn tasks(
    (arguments, installation): (&Arguments, Installation),
    (secrets, secret): (Api<Secret>, watch::Receiver<Seen<Secret>>),
    (configurations, configuration): (
        Api<MutatingWebhookConfiguration>,
        watch::Receiver<Seen<MutatingWebhookConfiguration>>,
    ),
    serving: Arc<ServingCertificate>,
    leading: watch::Receiver<bool>,
) -> (BoxFuture, BoxFuture) {
    let names = ServerNames::of_service(
        &arguments.service,
        &arguments.namespace,
        arguments
            .certificate_name
            .iter()
            .cloned()
            .chain(arguments.relay_names()),
    );
    let grace = Duration::from_secs(arguments.certificate_grace_seconds);
    match arguments.certificates {
        CertificateMode::SelfManaged => {
            let keeper = Keeper {
                secrets,
                secret_name: arguments.certificate_secret.clone(),
                installation,
                configurations,
                names,
                grace,
            };
            (
                Box::pin(serve_from_secret(secret.clone(), serving)),
                Box::pin(keeper.run(secret, configuration, leading)),
            )
        }
        CertificateMode::CertManager | CertificateMode::External => {
            let follower = Follower {
                serving,
                names,
                grace,
            };
            let publisher = Publisher { configurations };
            (
                Box::pin(follower.run(secret.clone(), configuration.clone())),
                Box::pin(publisher.run(secret, configuration, leading)),
            )
        }
    }
}
