//! Pull secrets and service accounts, one at a time: never listed, never watched, never kept.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::{Api, Client, Resource};
use picket_webhook::entrypoint::docker_config::DockerConfig;
use picket_webhook::entrypoint::{BoxFuture, ClusterCredentials, ObjectError};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// How long an API server may take; the webhook's caller waits.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Reads them from the API server.
#[derive(Clone)]
pub struct ClusterSecrets {
    client: Client,
}

impl Debug for ClusterSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterSecrets")
    }
}

impl ClusterSecrets {
    /// With the rights of this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn get<K>(&self, namespace: &str, name: &str) -> Result<K, ObjectError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let unavailable = |what: String| ObjectError::Unavailable(what);
        let answer = timeout(PATIENCE, api.get_opt(name))
            .await
            .map_err(|_| unavailable("no answer in time".to_owned()))?;
        match answer {
            Ok(Some(object)) => Ok(object),
            Ok(None) => Err(ObjectError::Missing),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(ObjectError::Forbidden),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }
}

impl ClusterCredentials for ClusterSecrets {
    fn pull_secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<DockerConfig, ObjectError>> {
        Box::pin(async move { read(&self.get::<Secret>(namespace, name).await?) })
    }

    fn service_account<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, ObjectError>> {
        Box::pin(async move {
            let account: ServiceAccount = self.get(namespace, name).await?;
            let secrets = account.image_pull_secrets.into_iter().flatten();
            let names = secrets.map(|secret| secret.name);
            Ok(names.filter(|name| !name.is_empty()).collect())
        })
    }
}

/// Credentials in either of the two forms; other Secrets are not looked into.
fn read(secret: &Secret) -> Result<DockerConfig, ObjectError> {
    let malformed = |what: String| ObjectError::Malformed(what);
    let data = |key: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        data.map(|bytes| bytes.0.as_slice())
            .ok_or_else(|| malformed(format!("it has no {key}")))
    };
    match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => {
            DockerConfig::parse_json(data(".dockerconfigjson")?)
        }
        Some("kubernetes.io/dockercfg") => DockerConfig::parse_cfg(data(".dockercfg")?),
        _ => return Err(malformed("its type is another".to_owned())),
    }
    .map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(kind: &str, key: &str, text: &str) -> Secret {
        let object = json!({"type": kind, "stringData": {}, "data": {}});
        let mut secret: Secret = serde_json::from_value(object).expect("secret");
        let value = k8s_openapi::ByteString(text.as_bytes().to_vec());
        secret.data = Some([(key.to_owned(), value)].into());
        secret
    }

    #[test]
    fn both_forms_and_nothing_else() {
        let entry = r#"{"r.example": {"username": "u", "password": "p"}}"#;
        let modern = format!(r#"{{"auths": {entry}}}"#);
        let found = |secret: &Secret| {
            read(secret).map(|config| config.candidates("r.example", "a").count())
        };
        for (kind, key, text) in [
            (
                "kubernetes.io/dockerconfigjson",
                ".dockerconfigjson",
                modern.as_str(),
            ),
            ("kubernetes.io/dockercfg", ".dockercfg", entry),
        ] {
            assert_eq!(found(&secret(kind, key, text)), Ok(1), "{kind}");
            assert!(found(&secret(kind, "other", text)).is_err(), "{kind}");
            let broken = found(&secret(kind, key, "{\"hunter2\"")).expect_err("broken");
            assert!(!broken.to_string().contains("hunter2"), "{broken}");
        }
        let opaque = found(&secret("Opaque", ".dockerconfigjson", &modern));
        assert!(matches!(opaque, Err(ObjectError::Malformed(_))));
    }
}
