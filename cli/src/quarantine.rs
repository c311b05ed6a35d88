//! `picket quarantine` and `picket unquarantine`: the annotation that the operator acts on.

use std::io::Write;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use picket_crds::annotations;
use serde_json::json;

use crate::arguments;

/// Sets or removes the annotation.
///
/// # Errors
/// When the cluster cannot be reached, or refuses.
pub(crate) fn set(arguments: &arguments::Quarantine, on: bool) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()
        .context("cannot start")?
        .block_on(annotate(arguments, on))
}

async fn annotate(arguments: &arguments::Quarantine, on: bool) -> anyhow::Result<()> {
    let (namespace, name) = (&arguments.namespace, &arguments.pod);
    let client = Client::try_default()
        .await
        .context("no cluster: set KUBECONFIG, or run this where a service account is mounted")?;
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let value = on.then_some("true");
    let patch = json!({"metadata": {"annotations": {annotations::QUARANTINE: value}}});
    pods.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .with_context(|| {
            format!("cannot change pod {name} in namespace {namespace}; the right needed is patch on pods")
        })?;
    let done = if on {
        "will be cut off; `kubectl describe pod` tells how it goes"
    } else {
        "will be let go again; its ReplicaSet takes it back and may end one of its pods"
    };
    writeln!(std::io::stdout(), "pod/{name} {done}")?;
    Ok(())
}
