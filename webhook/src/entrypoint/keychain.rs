//! Which credentials there are for an image, in the order in which they are tried: those of the
//! pod's pull secrets, of its service account's, of a static file, of the cloud, and none.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::docker_config::{Credential, DockerConfig, MAX_DOCUMENT};
use super::ecr::Ecr;

/// Pull secrets of a pod that are looked at; more than anybody has.
const MAX_SECRETS: usize = 16;

/// A future that a trait object gives.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whose credentials may be used: what a pod says about pulling its images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PullScope {
    /// The pod's namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Names of its pull secrets.
    pub pull_secrets: Vec<String>,
}

impl PullScope {
    /// What a pod says.
    pub fn of_pod(pod: &Value, namespace: &str) -> Self {
        let spec = &pod["spec"];
        let secrets = spec["imagePullSecrets"].as_array().into_iter().flatten();
        let mut pull_secrets: Vec<String> = secrets
            .filter_map(|secret| secret["name"].as_str())
            .take(MAX_SECRETS)
            .map(str::to_owned)
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        pull_secrets.retain(|name| seen.insert(name.clone()));
        let account = spec["serviceAccountName"]
            .as_str()
            .filter(|name| !name.is_empty());
        Self {
            namespace: namespace.to_owned(),
            service_account: account.unwrap_or("default").to_owned(),
            pull_secrets,
        }
    }
}

/// Why a cluster's object gives no credentials. Holds nothing of the object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// There is none of that name.
    #[error("does not exist")]
    Missing,
    /// We may not read it.
    #[error("Picket may not read it (imageResolution.pullSecrets of the chart)")]
    Forbidden,
    /// It is no pull secret.
    #[error("is no pull secret: {0}")]
    Malformed(String),
    /// The API server does not answer.
    #[error("cannot be read: {0}")]
    Unavailable(String),
}

/// Reads pull secrets of a cluster.
pub trait ClusterCredentials: Send + Sync + 'static {
    /// The credentials in a Secret.
    fn pull_secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<DockerConfig, ObjectError>>;

    /// Names of the pull secrets of a service account.
    fn service_account<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, ObjectError>>;
}

/// Where credentials come from.
#[derive(Default, Clone)]
pub struct Keychain {
    /// Pull secrets of the cluster.
    pub cluster: Option<Arc<dyn ClusterCredentials>>,
    /// Files in the form of `~/.docker/config.json`, read anew each time, so that a mounted
    /// Secret may change.
    pub files: Vec<PathBuf>,
    /// Whether the programs that those files name are run: on a person's own machine.
    pub run_helpers: bool,
    /// Amazon's registries.
    pub ecr: Option<Arc<Ecr>>,
}

impl fmt::Debug for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keychain")
            .field("cluster", &self.cluster.is_some())
            .field("files", &self.files)
            .field("ecr", &self.ecr.is_some())
            .finish()
    }
}

/// One source of credentials after the other; the next is only asked when the one before does
/// not open the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    PodSecrets,
    ServiceAccount,
    Files,
    Cloud,
    Anonymous,
}

impl Stage {
    pub(super) const ALL: [Self; 5] = [
        Self::PodSecrets,
        Self::ServiceAccount,
        Self::Files,
        Self::Cloud,
        Self::Anonymous,
    ];
}

/// What a stage offers for a repository.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// Credentials with where they come from; `None` is anonymous access.
    pub(super) candidates: Vec<(String, Option<Credential>)>,
    /// What did not work on the way.
    pub(super) notes: Vec<String>,
}

impl Keychain {
    pub(super) async fn offer(
        &self,
        stage: Stage,
        scope: &PullScope,
        registry: &str,
        repository: &str,
    ) -> Offer {
        let mut offer = Offer::default();
        match stage {
            Stage::PodSecrets => {
                self.secrets(
                    &scope.namespace,
                    &scope.pull_secrets,
                    registry,
                    repository,
                    &mut offer,
                )
                .await;
            }
            Stage::ServiceAccount => {
                let Some(cluster) = &self.cluster else {
                    return offer;
                };
                let (namespace, name) = (&scope.namespace, &scope.service_account);
                match cluster.service_account(namespace, name).await {
                    Ok(mut names) => {
                        names.retain(|name| !scope.pull_secrets.contains(name));
                        names.truncate(MAX_SECRETS);
                        self.secrets(namespace, &names, registry, repository, &mut offer)
                            .await;
                    }
                    Err(error) => offer
                        .notes
                        .push(format!("service account {namespace}/{name} {error}")),
                }
            }
            Stage::Files => self.files(registry, repository, &mut offer).await,
            Stage::Cloud => {
                if let Some(ecr) = &self.ecr {
                    match ecr.credential(registry).await {
                        None => {}
                        Some(Ok(credential)) => {
                            offer.candidates.push(("ECR".to_owned(), Some(credential)));
                        }
                        Some(Err(error)) => offer.notes.push(format!("ECR: {error}")),
                    }
                }
            }
            Stage::Anonymous => offer.candidates.push(("anonymous access".to_owned(), None)),
        }
        offer
    }

    async fn secrets(
        &self,
        namespace: &str,
        names: &[String],
        registry: &str,
        repository: &str,
        offer: &mut Offer,
    ) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        for name in names {
            match cluster.pull_secret(namespace, name).await {
                Ok(config) => {
                    let before = offer.candidates.len();
                    let candidates = config.candidates(registry, repository).cloned();
                    let source = format!("secret {namespace}/{name}");
                    offer
                        .candidates
                        .extend(candidates.map(|credential| (source.clone(), Some(credential))));
                    if offer.candidates.len() == before {
                        offer.notes.push(format!("{source} is not for {registry}"));
                    }
                }
                // Kubelet passes over missing ones too.
                Err(error) => offer
                    .notes
                    .push(format!("secret {namespace}/{name} {error}")),
            }
        }
    }

    async fn files(&self, registry: &str, repository: &str, offer: &mut Offer) {
        for path in &self.files {
            let source = path.display().to_string();
            let config = match read_config(path).await {
                Ok(config) => config,
                Err(error) => {
                    offer.notes.push(format!("{source} {error}"));
                    continue;
                }
            };
            let candidates = config.candidates(registry, repository).cloned();
            offer
                .candidates
                .extend(candidates.map(|credential| (source.clone(), Some(credential))));
            if let Some(helper) = config.helper(registry).filter(|_| self.run_helpers) {
                match ask_helper(helper, registry).await {
                    Ok(Some(credential)) => {
                        let source = format!("docker-credential-{helper}");
                        offer.candidates.push((source, Some(credential)));
                    }
                    Ok(None) => {}
                    Err(error) => offer
                        .notes
                        .push(format!("docker-credential-{helper}: {error}")),
                }
            }
        }
    }
}

async fn read_config(path: &Path) -> Result<DockerConfig, String> {
    let size = tokio::fs::metadata(path)
        .await
        .map_err(|error| error.to_string())?
        .len();
    if size > MAX_DOCUMENT as u64 {
        return Err("is larger than 1 MiB".to_owned());
    }
    let bytes = tokio::fs::read(path)
        .await
        .map_err(|error| error.to_string())?;
    DockerConfig::parse_json(&bytes).map_err(|error| format!("is {error}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Asks a docker credential helper: the registry on its standard input, JSON on its output.
/// `None` when it knows nothing, which it says by failing.
async fn ask_helper(name: &str, registry: &str) -> Result<Option<Credential>, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("not a name of a helper".to_owned());
    }
    let server = match registry {
        "docker.io" => "https://index.docker.io/v1/",
        other => other,
    };
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that reads nothing answers all the same.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Ok(None);
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&output.stdout).map_err(|_| "answers no JSON".to_owned())?;
    Ok(Some(if answer.username == "<token>" {
        Credential::IdentityToken(answer.secret)
    } else {
        Credential::Basic {
            username: answer.username,
            password: answer.secret,
        }
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_says_whose_credentials_it_uses() {
        let pod = json!({"spec": {
            "serviceAccountName": "web",
            "imagePullSecrets": [{"name": "a"}, {"name": "b"}, {"name": "a"}, {}],
        }});
        let scope = PullScope::of_pod(&pod, "shop");
        assert_eq!(scope.service_account, "web");
        assert_eq!(scope.pull_secrets, ["a", "b"]);
        assert_eq!(
            PullScope::of_pod(&json!({}), "shop").service_account,
            "default"
        );
    }
}
