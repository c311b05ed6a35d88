//! A condition that a controller wants to be seen, and how a status is written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// What is said of an object: a condition but for its generation and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The condition's type.
    pub type_: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// Why, as one of the stable words of [`picket_crds::conditions`].
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

impl Statement {
    /// The condition for this generation of the object. Its time is when the status last flipped,
    /// not when it was written: `before` is what the object says already.
    #[must_use]
    pub fn condition(
        &self,
        generation: Option<i64>,
        before: &[Condition],
        now: Timestamp,
    ) -> Condition {
        let old = before.iter().find(|old| old.type_ == self.type_);
        Condition {
            type_: self.type_.to_owned(),
            status: self.status.to_owned(),
            reason: self.reason.clone(),
            message: self.message.clone(),
            observed_generation: generation,
            last_transition_time: match old {
                Some(old) if old.status == self.status => old.last_transition_time.clone(),
                _ => Time(now),
            },
        }
    }
}

/// The object whose status is written. Untyped, because one that cannot be understood has a status
/// too.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Its kind.
    pub resource: &'a ApiResource,
    /// Its namespace, if it has one.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Its uid; with one, another object of the same name is left alone (409).
    pub uid: Option<&'a str>,
}

impl Target<'_> {
    /// The objects of this kind and namespace.
    #[must_use]
    pub fn api(&self, client: &Client) -> Api<DynamicObject> {
        match self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, self.resource),
            None => Api::all_with(client.clone(), self.resource),
        }
    }

    /// Sets what this field manager has of the status by server-side apply.
    ///
    /// # Errors
    /// Whatever the API server answers.
    pub async fn apply(
        &self,
        client: &Client,
        manager: &str,
        status: &Value,
    ) -> Result<(), kube::Error> {
        let mut patch = json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": {"name": self.name},
            "status": status,
        });
        if let Some(uid) = self.uid {
            patch["metadata"]["uid"] = json!(uid);
        }
        let parameters = PatchParams::apply(manager).force();
        self.api(client)
            .patch_status(self.name, &parameters, &Patch::Apply(patch))
            .await?;
        Ok(())
    }
}
