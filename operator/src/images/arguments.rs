//! The part of the command line that is about images.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use ipnet::IpNet;
use picket_webhook::entrypoint::Mirror;

/// How registries are asked what images run.
#[derive(Clone, Debug, Args)]
pub struct ImageArguments {
    /// Whether registries are asked what images run, for containers without
    /// `command`.
    #[arg(long, env = "PICKET_RESOLVE_IMAGES", default_value_t = true, action = ArgAction::Set)]
    pub resolve_images: bool,

    /// Whether pull secrets of pods and service accounts are read; the roles of
    /// the operator decide in which namespaces that works.
    #[arg(long, env = "PICKET_READ_PULL_SECRETS", default_value_t = false, action = ArgAction::Set)]
    pub read_pull_secrets: bool,

    /// Whether images of workloads are looked up before their pods come.
    #[arg(long, env = "PICKET_WARM_IMAGES", default_value_t = false, action = ArgAction::Set)]
    pub warm_images: bool,

    /// File with credentials in the form of ~/.docker/config.json, used for
    /// pods of all namespaces; may be given several times, or separated by
    /// commas.
    #[arg(long, env = "PICKET_REGISTRY_CREDENTIALS", value_delimiter = ',')]
    pub registry_credentials: Vec<PathBuf>,

    /// PEM file with certificate authorities of registries, trusted beside
    /// those that browsers trust.
    #[arg(long, env = "PICKET_REGISTRY_CA", value_delimiter = ',')]
    pub registry_ca: Vec<PathBuf>,

    /// Where images of a registry are looked for first:
    /// registry=host/prefix, for example docker.io=mirror.example/hub.
    #[arg(
        long,
        env = "PICKET_REGISTRY_MIRRORS",
        value_delimiter = ',',
        value_name = "REGISTRY=HOST/PREFIX"
    )]
    pub registry_mirror: Vec<Mirror>,

    /// Network (CIDR) in which registries may be although it would be refused:
    /// loopback, link-local, or the cluster's own.
    #[arg(
        long,
        env = "PICKET_REGISTRY_ALLOW_NETWORKS",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    pub registry_allow_network: Vec<IpNet>,

    /// Network (CIDR) in which no registry is looked for: the cluster's pods.
    /// Its services are known already.
    #[arg(
        long,
        env = "PICKET_REGISTRY_REFUSE_NETWORKS",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    pub registry_refuse_network: Vec<IpNet>,

    /// Registry (host, or host:port) that is spoken to without TLS.
    #[arg(
        long,
        env = "PICKET_REGISTRY_PLAIN_HTTP",
        value_delimiter = ',',
        value_name = "HOST"
    )]
    pub registry_plain_http: Vec<String>,

    /// Host of a token service that may see credentials of registries of
    /// other domains.
    #[arg(
        long,
        env = "PICKET_REGISTRY_TOKEN_HOSTS",
        value_delimiter = ',',
        value_name = "HOST"
    )]
    pub registry_token_host: Vec<String>,

    /// Milliseconds for which the creation of a pod waits for registries.
    #[arg(
        long,
        env = "PICKET_REGISTRY_TIMEOUT_MILLISECONDS",
        default_value_t = 2000,
        value_parser = clap::value_parser!(u64).range(100..=4000)
    )]
    pub registry_timeout_milliseconds: u64,

    /// Seconds for which a tag is believed to name the same image.
    #[arg(
        long,
        env = "PICKET_REGISTRY_TAG_SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(10..=86_400)
    )]
    pub registry_tag_seconds: u64,
}

impl ImageArguments {
    /// How long the creation of a pod waits for registries.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.registry_timeout_milliseconds)
    }

    /// How long a tag is believed to name the same image.
    #[must_use]
    pub fn tag_lifetime(&self) -> Duration {
        Duration::from_secs(self.registry_tag_seconds)
    }
}
