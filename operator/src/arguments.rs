//! The command line and environment of `picket-operator`, checked at start.

mod check;

use std::net::IpAddr;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use kube::Client;

use picket_webhook::{Canary, Settings};

use crate::certificates::{PUBLICATION_GRACE, ServerNames};
use crate::images::ImageArguments;
use crate::installation::Installation;

pub use check::ArgumentError;

/// The control plane of Picket: serves the admission webhook and keeps its
/// certificate, its caBundle and the status of policies up to date.
#[derive(Clone, Debug, Parser)]
#[command(name = "picket-operator", version)]
pub struct Arguments {
    /// Namespace in which the operator runs. Its pods are never injected.
    #[arg(long, env = "PICKET_NAMESPACE", default_value = "picket-system")]
    pub namespace: String,

    /// Unique name of this replica in the leader election: the pod's name.
    #[arg(long, env = "PICKET_IDENTITY", default_value_t = default_identity())]
    pub identity: String,

    /// Service through which API servers reach the webhook.
    #[arg(long, env = "PICKET_SERVICE", default_value = "picket-webhook")]
    pub service: String,

    /// MutatingWebhookConfiguration whose caBundle the operator keeps.
    #[arg(
        long,
        env = "PICKET_WEBHOOK_CONFIGURATION",
        default_value = "zz-picket"
    )]
    pub webhook_configuration: String,

    /// Secret for the webhook's authority and certificate.
    #[arg(
        long,
        env = "PICKET_CERTIFICATE_SECRET",
        default_value = "picket-webhook-certificate"
    )]
    pub certificate_secret: String,

    /// Who keeps the certificate's Secret: the operator, cert-manager, or somebody else. In the
    /// latter two cases it is only read: tls.crt, tls.key and ca.crt.
    #[arg(long, env = "PICKET_CERTIFICATES", value_enum, default_value_t)]
    pub certificates: CertificateMode,

    /// Seconds after the publication of another authority until a certificate of it is served: API
    /// servers need a moment to notice.
    #[arg(
        long,
        env = "PICKET_CERTIFICATE_GRACE_SECONDS",
        default_value_t = PUBLICATION_GRACE.as_secs()
    )]
    pub certificate_grace_seconds: u64,

    /// Further DNS name or IP address for which the certificate is valid; may
    /// be given several times, or separated by commas.
    #[arg(long, env = "PICKET_CERTIFICATE_NAMES", value_delimiter = ',')]
    pub certificate_name: Vec<String>,

    /// Name of the Secret with the keys that say who runs kubectl exec; made
    /// if it does not exist.
    #[arg(
        long,
        env = "PICKET_SESSION_SECRET",
        default_value = "picket-session-keys"
    )]
    pub session_secret: String,

    /// Lease that decides which replica writes.
    #[arg(long, env = "PICKET_LEASE", default_value = "picket-operator")]
    pub lease: String,

    /// ClusterRoleBinding and RoleBinding that give the operator its rights: what it makes for
    /// itself belongs to them, and goes when they do.
    #[arg(long, env = "PICKET_ROLE_BINDING", default_value = "picket-operator")]
    pub role_binding: String,

    /// Image of tracer and agent that is put into pods, best by digest.
    #[arg(long, env = "PICKET_SIDECAR_IMAGE")]
    pub sidecar_image: String,

    /// Name of a pull secret for the sidecar image that exists in the
    /// protected namespaces; may be given several times, or separated by
    /// commas.
    #[arg(long, env = "PICKET_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    pub image_pull_secret: Vec<String>,

    /// Version of what is injected, as pods carry it; pods of another one are
    /// stale.
    #[arg(long, env = "PICKET_REVISION", default_value = env!("CARGO_PKG_VERSION"))]
    pub revision: String,

    /// Address on which both servers listen; all addresses, IPv6 and IPv4, by
    /// default.
    #[arg(long, env = "PICKET_LISTEN_ADDRESS")]
    pub listen_address: Option<IpAddr>,

    /// Port of the webhook (HTTPS).
    #[arg(long, env = "PICKET_WEBHOOK_PORT", default_value_t = 8443)]
    pub webhook_port: u16,

    /// Port of /healthz, /readyz and /metrics (HTTP).
    #[arg(long, env = "PICKET_HEALTH_PORT", default_value_t = 8080)]
    pub health_port: u16,

    /// Whether workloads of policies with `rollout.strategy: RollingRestart` are restarted; needs
    /// the right to patch Deployments and StatefulSets.
    #[arg(long, env = "PICKET_ROLLOUT", default_value_t = false, action = ArgAction::Set)]
    pub rollout: bool,

    /// Whether pods in quarantine lose their labels and get a NetworkPolicy; needs the right to
    /// patch pods. Their agents are told in any case.
    #[arg(long, env = "PICKET_QUARANTINE", default_value_t = false, action = ArgAction::Set)]
    pub quarantine: bool,

    /// Whether a pod is created for trial, as a dry run, in each namespace with a policy, before
    /// there are real ones; needs the right to create pods, which something else must limit to dry
    /// runs.
    #[arg(long, env = "PICKET_PREFLIGHT", default_value_t = false, action = ArgAction::Set)]
    pub preflight: bool,

    /// Where agents report, as host:port; without it there is no relay, and agents keep to
    /// themselves and the built-in rules.
    #[arg(long, env = "PICKET_RELAY_ADDRESS")]
    pub relay_address: Option<String>,

    /// Port of the relay (HTTPS).
    #[arg(long, env = "PICKET_RELAY_PORT", default_value_t = 8444)]
    pub relay_port: u16,

    /// Service without a selector through which agents reach the relay: its EndpointSlice
    /// names the replica that leads.
    #[arg(long, env = "PICKET_RELAY_SERVICE", default_value = "picket-relay")]
    pub relay_service: String,

    /// Address of this replica's pod, for that EndpointSlice; without it nobody writes one.
    #[arg(long, env = "PICKET_POD_IP")]
    pub pod_ip: Option<IpAddr>,

    /// Seconds for which the webhook goes on taking requests after SIGTERM,
    /// until no API server sends any more.
    #[arg(long, env = "PICKET_DRAIN_DELAY_SECONDS", default_value_t = 5)]
    pub drain_delay_seconds: u16,

    /// Seconds for which one pod of a workload may fail to start because of Picket before
    /// injection is suspended for the workload; two pods have a sixth of it.
    #[arg(long, env = "PICKET_SUSPEND_AFTER_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    pub suspend_after_seconds: u16,

    /// Seconds after which a suspension whose cause may have passed is tried again, doubled each
    /// time up to sixteen times as long.
    #[arg(long, env = "PICKET_SUSPENSION_SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u32).range(1..))]
    pub suspension_seconds: u32,

    /// Sidecar images that some namespaces get before all others, as a JSON list of objects with
    /// `revision`, `image`, `namespaces` and `namespaceSelector`.
    #[arg(long, env = "PICKET_CANARIES")]
    pub canaries: Option<String>,

    /// Whether pods with the label `picket.dev/break-glass` are left alone. Something else must
    /// decide who may set it.
    #[arg(long, env = "PICKET_BREAK_GLASS", default_value_t = false, action = ArgAction::Set)]
    pub break_glass: bool,

    /// Whether something else refuses pods of enforced namespaces that are not injected: then
    /// injection is not suspended there.
    #[arg(long, env = "PICKET_BACKSTOP_DENIES", default_value_t = false, action = ArgAction::Set)]
    pub backstop_denies: bool,

    /// How registries are asked what images run.
    #[command(flatten)]
    pub images: ImageArguments,

    /// Which log lines are written, in the syntax of RUST_LOG.
    #[arg(long, env = "PICKET_LOG", default_value = "info")]
    pub log: String,
}

/// Who keeps the webhook's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum CertificateMode {
    /// The operator: its own authority, renewed by itself.
    #[default]
    SelfManaged,
    /// cert-manager, by objects of the chart.
    CertManager,
    /// The user.
    External,
}

impl Arguments {
    /// Whose the things are that the operator makes for itself.
    #[must_use]
    pub fn installation(&self, client: &Client) -> Installation {
        Installation::new(client.clone(), &self.namespace, &self.role_binding)
    }

    /// The namespaces in which nothing is ever injected.
    #[must_use]
    pub fn excluded_namespaces(&self) -> Vec<String> {
        vec![
            self.namespace.clone(),
            Settings::SYSTEM_NAMESPACE.to_owned(),
        ]
    }

    /// The names by which agents reach the relay, for the certificate.
    #[must_use]
    pub fn relay_names(&self) -> Vec<String> {
        let Some(address) = &self.relay_address else {
            return Vec::new();
        };
        let host = address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ServerNames::of_service(&self.relay_service, &self.namespace, [host.to_owned()])
            .as_slice()
            .to_vec()
    }

    /// The sidecar images of some namespaces.
    ///
    /// # Errors
    /// When they are not such a list.
    pub fn canaries(&self) -> Result<Vec<Canary>, ArgumentError> {
        let Some(text) = self.canaries.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(Vec::new());
        };
        serde_json::from_str(text).map_err(|error| ArgumentError {
            flag: "canaries",
            problem: format!("it is no list of canaries: {error}"),
            remedy: "give a JSON list such as [{\"revision\":\"2\",\"image\":\"registry.example/sidecar:2\",\"namespaces\":[\"staging\"]}]",
        })
    }

    /// How long the webhook goes on taking requests after SIGTERM.
    #[must_use]
    pub fn drain_delay(&self) -> Duration {
        Duration::from_secs(self.drain_delay_seconds.into())
    }
}

/// Kubernetes sets a container's HOSTNAME to its pod's name.
fn default_identity() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| format!("process-{}", std::process::id()))
}
