//! `picket crds`: the CustomResourceDefinitions.

use std::io::{Write, stdout};

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams};

use crate::arguments;

/// Who owns the definitions' fields for server-side apply.
const FIELD_MANAGER: &str = "picket-crds";

/// Prints them, writes one file each, applies or removes them.
///
/// # Errors
/// When the folder or standard output cannot be written, or the API server refuses.
pub(crate) fn crds(arguments: &arguments::Crds) -> anyhow::Result<()> {
    if let Some(action) = &arguments.action {
        return tokio::runtime::Runtime::new()
            .context("cannot start")?
            .block_on(act(action));
    }
    for (name, yaml) in picket_crds::manifests() {
        match &arguments.write {
            Some(folder) => {
                std::fs::create_dir_all(folder)?;
                std::fs::write(folder.join(name), yaml)?;
            }
            None => write!(stdout(), "---\n{yaml}")?,
        }
    }
    Ok(())
}

async fn act(action: &arguments::CrdsAction) -> anyhow::Result<()> {
    let client = kube::Client::try_default()
        .await
        .context("no cluster: set KUBECONFIG, or run this where a service account is mounted")?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    match action {
        arguments::CrdsAction::Apply { dry_run } => apply(&definitions, *dry_run).await,
        // clap wants `--yes`.
        arguments::CrdsAction::Delete { .. } => delete(&definitions).await,
    }
}

/// Removes all of them; what is not there is no fault.
async fn delete(definitions: &Api<CustomResourceDefinition>) -> anyhow::Result<()> {
    for (file, _) in picket_crds::manifests() {
        let name = name_of(file)?;
        let parameters = DeleteParams::default();
        let done = match definitions.delete(&name, &parameters).await {
            Ok(_) => "deleted",
            Err(kube::Error::Api(status)) if status.code == 404 => "not there",
            Err(error) => {
                return Err(error).with_context(|| format!("cannot delete {name}"));
            }
        };
        writeln!(stdout(), "{name} {done}")?;
    }
    Ok(())
}

/// The name of the definition in a file of [`picket_crds::manifests`].
fn name_of(file: &str) -> anyhow::Result<String> {
    let kind = file
        .strip_prefix("picket.dev_")
        .and_then(|rest| rest.strip_suffix(".yaml"));
    let kind = kind.with_context(|| format!("{file} is no definition of this program"))?;
    Ok(format!("{kind}.picket.dev"))
}

async fn apply(definitions: &Api<CustomResourceDefinition>, dry_run: bool) -> anyhow::Result<()> {
    // Forced: `helm install` made them and would own their fields for ever.
    let mut parameters = PatchParams::apply(FIELD_MANAGER).force();
    parameters.dry_run = dry_run;
    for (file, yaml) in picket_crds::manifests() {
        let definition: serde_json::Value =
            serde_saphyr::from_str(&yaml).with_context(|| format!("{file} of this program"))?;
        let name = definition["metadata"]["name"].as_str().unwrap_or(file);
        let before = definitions
            .get_opt(name)
            .await
            .with_context(|| format!("cannot read {name}"))?;
        let applied = definitions
            .patch(name, &parameters, &Patch::Apply(&definition))
            .await
            .with_context(|| {
                format!("the API server refuses {name}; the rights needed are create, get and patch on customresourcedefinitions")
            })?;
        let done = match before {
            None => "created",
            Some(before) if before.metadata.generation == applied.metadata.generation => {
                "unchanged"
            }
            Some(_) => "updated",
        };
        let suffix = if dry_run { " (dry run)" } else { "" };
        writeln!(stdout(), "{name} {done}{suffix}")?;
    }
    Ok(())
}
