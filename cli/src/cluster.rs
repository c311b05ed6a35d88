//! The cluster that a command is about: where its API server is, and what its answers mean to a
//! person.

use anyhow::{Context as _, anyhow};
use kube::{Client, Config};

/// What to do where no API server answers.
pub(crate) const REMEDY: &str =
    "set KUBECONFIG to the file of a cluster that answers `kubectl version`";

/// A cluster, as `KUBECONFIG` or the service account of this pod names it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// Address of its API server.
    pub(crate) server: String,
}

impl Cluster {
    /// Reads where it is. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When nothing names a cluster, or what does cannot be used.
    pub(crate) async fn find() -> anyhow::Result<Self> {
        let configuration = Config::infer().await.context(
            "no cluster: set KUBECONFIG, or run this where a service account is mounted",
        )?;
        let server = configuration.cluster_url.to_string();
        let client = Client::try_from(configuration)
            .with_context(|| format!("the credentials for {server} cannot be used"))?;
        Ok(Self { client, server })
    }

    /// What has become of a question: `right` is what it takes to ask it, `missing` what it means
    /// that there is no such thing.
    pub(crate) fn failure(&self, error: kube::Error, right: &str, missing: &str) -> anyhow::Error {
        match error {
            kube::Error::Api(status) => match status.code {
                401 => anyhow!(
                    "{} does not know who asks ({}); the credentials in KUBECONFIG may have expired",
                    self.server,
                    status.message
                ),
                403 => anyhow!("{}; the right needed is {right}", status.message),
                404 => anyhow!("{missing}"),
                _ => anyhow!("{}: {}", self.server, status.message),
            },
            error => {
                let silence = format!("no API server answers at {}; {REMEDY}", self.server);
                anyhow::Error::new(error).context(silence)
            }
        }
    }
}

/// An error with its causes, each told once: some of them tell their cause themselves.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.fold(String::new(), |told, cause| {
        let cause = cause.to_string();
        match told.as_str() {
            "" => cause,
            _ if told.contains(&cause) => told,
            _ => format!("{told}: {cause}"),
        }
    })
}
