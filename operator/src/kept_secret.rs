//! Secrets that the operator makes and renews by itself.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::installation::{Installation, InstallationError};

/// Why a Secret could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The API server refuses.
    #[error(transparent)]
    Request(#[from] Box<kube::Error>),
    /// It is not known whose the Secret would be.
    #[error(transparent)]
    Installation(#[from] InstallationError),
}

/// A Secret of the operator's namespace.
pub(crate) struct KeptSecret<'a> {
    /// Secrets of that namespace.
    pub(crate) secrets: &'a Api<Secret>,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its type, for example `Opaque`.
    pub(crate) type_: &'static str,
    /// Whose it is.
    pub(crate) installation: &'a Installation,
}

impl KeptSecret<'_> {
    /// Stores its content, unless another replica has changed it since: the watch tells then what
    /// is there. It goes with the installation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn store(
        &self,
        existing: Option<&Secret>,
        data: BTreeMap<String, ByteString>,
    ) -> Result<(), StoreError> {
        let mut secret = existing.cloned().unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(self.name.to_owned()),
                labels: Some(
                    [(
                        "app.kubernetes.io/managed-by".to_owned(),
                        "picket-operator".to_owned(),
                    )]
                    .into(),
                ),
                ..ObjectMeta::default()
            },
            type_: Some(self.type_.to_owned()),
            ..Secret::default()
        });
        secret.data = Some(data);
        if let Some(owner) = self.installation.of_namespace().await? {
            secret.metadata.owner_references = Some(vec![owner]);
        }
        let parameters = PostParams::default();
        let written = match existing {
            Some(_) => self.secrets.replace(self.name, &parameters, &secret).await,
            None => self.secrets.create(&parameters, &secret).await,
        };
        match written {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => Ok(other.map(drop).map_err(Box::new)?),
        }
    }
}
