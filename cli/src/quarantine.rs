//! `picket quarantine` and `picket unquarantine`: the annotation that the operator acts on.

use std::io::Write;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use picket_crds::annotations;
use serde_json::json;

use crate::arguments;
use crate::cluster::Cluster;

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
    let cluster = Cluster::find().await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let value = on.then_some("true");
    let patch = json!({"metadata": {"annotations": {annotations::QUARANTINE: value}}});
    pods.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(|error| cluster.failure(error, "patch on pods", "there is no such pod"))
        .with_context(|| format!("cannot change pod {name} in namespace {namespace}"))?;
    let done = if on {
        "will be cut off; `kubectl describe pod` tells how it goes"
    } else {
        "will be let go again; its ReplicaSet takes it back and may end one of its pods"
    };
    writeln!(std::io::stdout(), "pod/{name} {done}")?;
    Ok(())
}
