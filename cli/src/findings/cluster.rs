//! What the API server says of the installation: who leads, whom to trust, and a token.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use picket_events::relay::READER_AUDIENCE;
use picket_operator::relay::authentication::READER;

use super::Fault;

/// Lease of the operator's election.
const LEASE: &str = "picket-operator";
/// How long the token of one connection is good for, in seconds: the least that API servers give.
const TOKEN_SECONDS: i64 = 600;

/// An installation of the operator.
pub(super) struct Installation {
    pub(super) client: Client,
    /// Address of the API server.
    pub(super) server: String,
    /// Its namespace.
    pub(super) namespace: String,
    /// Name of its webhook configuration.
    pub(super) configuration: String,
}

/// Whom to trust, and as whom to come.
pub(super) struct Access {
    /// Certificates (PEM) of authorities.
    pub(super) trust: Vec<u8>,
    /// Bearer token of the service account that reads findings.
    pub(super) token: String,
}

impl Installation {
    /// Name of the pod that leads.
    pub(super) async fn leader(&self) -> Result<String, Fault> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let lease = leases.get(LEASE).await.map_err(|error| {
            let what = format!("lease {LEASE} in namespace {}", self.namespace);
            self.fault(error, what, "get on leases there")
        })?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        let holder = holder.filter(|holder| !holder.is_empty());
        holder.ok_or_else(|| Fault::NoLeader(format!("nobody holds lease {LEASE}")))
    }

    /// A new token and the authorities of now.
    pub(super) async fn access(&self) -> Result<Access, Fault> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![READER_AUDIENCE.to_owned()],
                expiration_seconds: Some(TOKEN_SECONDS),
                bound_object_ref: None,
            },
            ..TokenRequest::default()
        };
        let created = accounts
            .create_token_request(READER, &PostParams::default(), &request)
            .await
            .map_err(|error| {
                let what = format!("service account {READER} in namespace {}", self.namespace);
                self.fault(error, what, "create on serviceaccounts/token there")
            })?;
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let name = &self.configuration;
        let configuration = configurations.get(name).await.map_err(|error| {
            let what = format!("mutatingwebhookconfiguration {name}");
            self.fault(error, what, "get on mutatingwebhookconfigurations")
        })?;
        let entries = configuration.webhooks.unwrap_or_default();
        let trust = entries
            .into_iter()
            .find_map(|entry| entry.client_config.ca_bundle);
        Ok(Access {
            trust: trust.map(|bundle| bundle.0).ok_or_else(|| {
                Fault::NoLeader(format!("{name} has no caBundle, which the leader writes"))
            })?,
            token: created
                .status
                .map(|status| status.token)
                .unwrap_or_default(),
        })
    }

    /// What an answer of the API server about `what` means.
    pub(super) fn fault(&self, error: kube::Error, what: String, right: &'static str) -> Fault {
        match error {
            kube::Error::Api(status) if status.code == 404 => Fault::OperatorMissing { what },
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => Fault::NotAllowed {
                right,
                server: status.message.clone(),
            },
            source => Fault::Api {
                server: self.server.clone(),
                source,
            },
        }
    }
}
