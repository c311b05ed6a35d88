//! Whose the things are that the operator makes for itself.
//!
//! They belong to the bindings that give the operator its rights, which whoever installed it made:
//! `helm uninstall` deletes those, Kubernetes then collects what belongs to them, and the operator,
//! should it still run, has no right left to make it anew. What people made stays.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tracing::debug;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Why it is not known whose something would be; whoever wants to make it tries again.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// The API server does not answer in time.
    #[error("the API server does not say whose this is")]
    Timeout(#[from] tokio::time::error::Elapsed),
    /// It answers something else.
    #[error(transparent)]
    Request(#[from] Box<kube::Error>),
}

/// The bindings of an installation.
#[derive(Clone)]
pub struct Installation {
    client: Client,
    namespace: String,
    bindings: String,
}

impl Installation {
    /// The installation in this namespace, with the name that its bindings have.
    #[must_use]
    pub fn new(client: Client, namespace: &str, bindings: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            bindings: bindings.to_owned(),
        }
    }

    /// The owner of objects of any namespace and of none. Nobody where the binding is not there
    /// or may not be asked for: such objects outlive the installation.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn of_cluster(&self) -> Result<Option<OwnerReference>, InstallationError> {
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        owner(&bindings, &self.bindings).await
    }

    /// The owner of objects of the operator's namespace.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn of_namespace(&self) -> Result<Option<OwnerReference>, InstallationError> {
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), &self.namespace);
        owner(&bindings, &self.bindings).await
    }
}

async fn owner<K>(api: &Api<K>, name: &str) -> Result<Option<OwnerReference>, InstallationError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match timeout(PATIENCE, api.get_metadata_opt(name)).await? {
        Ok(binding) => Ok(binding.and_then(|binding| {
            let metadata = binding.metadata;
            Some(OwnerReference {
                api_version: K::api_version(&()).into_owned(),
                kind: K::kind(&()).into_owned(),
                name: metadata.name?,
                uid: metadata.uid?,
                ..OwnerReference::default()
            })
        })),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            debug!(
                name,
                "what the operator makes will outlive its installation"
            );
            Ok(None)
        }
        Err(error) => Err(InstallationError::Request(Box::new(error))),
    }
}
