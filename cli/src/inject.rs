//! `picket inject`, `uninject` and `explain`: the webhook's planner on manifests in files.

use std::collections::BTreeSet;
use std::io::{self, Read, Write, stderr, stdin, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use picket_events::text::counted;
use picket_webhook::entrypoint::{Images, Wanted};
use picket_webhook::inject::{
    Injected, ManifestError, Options, catch_all, inject_manifest, policies_from_yaml,
    uninject_manifest,
};
use picket_webhook::{Policy, Settings};

use crate::arguments;
use crate::terminal::Style;

/// The sidecar image of this version, as the chart names it by default.
pub(crate) const SIDECAR_IMAGE: &str =
    concat!("picket-dev/picket-sidecar:", env!("CARGO_PKG_VERSION"));

/// Why a manifest could not be injected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InjectError {
    /// A file or stream could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which; `-` for standard input or output.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Images cannot be looked up as wanted.
    #[error(transparent)]
    Images(#[from] crate::images::ImagesError),
    /// A document is not what it should be.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// Where.
        path: PathBuf,
        /// What is wrong, with the document's number.
        source: ManifestError,
    },
}

/// Writes the injected manifest to standard output, and what was decided about each workload
/// to standard error. False when the manifest has no workload at all.
///
/// # Errors
/// [`InjectError`] when a file cannot be read, or a document is malformed.
pub(crate) fn inject(arguments: &arguments::Inject) -> Result<bool, InjectError> {
    let injected = plan(arguments)?;
    write(&mut stdout(), &injected.text)?;
    write(&mut stderr(), &reports(&injected))?;
    Ok(!injected.workloads.is_empty())
}

/// Writes what would happen to each workload, and why.
///
/// # Errors
/// As [`inject`].
pub(crate) fn explain(arguments: &arguments::Explain) -> Result<bool, InjectError> {
    let injected = plan(&arguments.inject)?;
    match arguments.format {
        arguments::Format::Text => write(&mut stdout(), &reports(&injected))?,
        arguments::Format::Json => {
            let text = serde_json::to_string_pretty(&injected.workloads).unwrap_or_default();
            write(&mut stdout(), &(text + "\n"))?;
        }
    }
    Ok(!injected.workloads.is_empty())
}

/// Writes what would change in the manifest, as a diff.
///
/// # Errors
/// As [`inject`].
pub(crate) fn diff(arguments: &arguments::Inject) -> Result<bool, InjectError> {
    let injected = plan(arguments)?;
    let style = Style::detect(&stdout());
    write(
        &mut stdout(),
        &crate::diff::render(&injected.before, &injected.text, style),
    )?;
    Ok(!injected.workloads.is_empty())
}

/// Writes the manifest without what Picket added.
///
/// # Errors
/// As [`inject`].
pub(crate) fn uninject(arguments: &arguments::Uninject) -> Result<bool, InjectError> {
    let text = read(&arguments.filename)?;
    let (text, changed) = uninject_manifest(&text).map_err(in_file(&arguments.filename))?;
    write(&mut stdout(), &text)?;
    write(
        &mut stderr(),
        &format!("{} given back\n", counted(changed, "workload", "workloads")),
    )?;
    Ok(true)
}

fn plan(arguments: &arguments::Inject) -> Result<Injected, InjectError> {
    let text = read(&arguments.filename)?;
    let mut settings = Settings::new(&arguments.sidecar_image, env!("CARGO_PKG_VERSION"));
    settings.interest = crate::rules::default_interest().to_string();
    let plan = |policies: &[Arc<Policy>], images: &Images| {
        let options = Options {
            settings: &settings,
            policies,
            namespace: &arguments.namespace,
            fargate: (!arguments.labelled_only).then_some(true),
            images,
        };
        inject_manifest(&text, &options).map_err(in_file(&arguments.filename))
    };
    let mut policies = Vec::new();
    for path in &arguments.policy {
        let found = policies_from_yaml(&read(path)?, &arguments.namespace);
        policies.extend(found.map_err(in_file(path))?.into_iter().map(Arc::new));
    }
    if arguments.policy.is_empty() {
        // Everything is meant, in whatever namespaces the manifest turns out to name.
        let workloads = plan(&[], Images::NONE)?.workloads;
        let namespaces: BTreeSet<&str> = workloads
            .iter()
            .map(|workload| workload.namespace.as_str())
            .collect();
        policies = namespaces
            .into_iter()
            .map(|name| Arc::new(catch_all(name)))
            .collect();
    }
    let first = plan(&policies, Images::NONE)?;
    let wanted: BTreeSet<Wanted> = first
        .workloads
        .iter()
        .flat_map(|workload| workload.report.wanted.iter().cloned())
        .collect();
    for said in &arguments.images.image_config {
        if !wanted.iter().any(|wanted| wanted.image == said.image) {
            eprintln!(
                "picket: --image-config: no container needs to know what {} runs",
                said.image
            );
        }
    }
    if wanted.is_empty() {
        return Ok(first);
    }
    plan(
        &policies,
        &crate::images::images(&arguments.images, wanted)?,
    )
}

fn reports(injected: &Injected) -> String {
    if injected.workloads.is_empty() {
        return "there is no pod and no workload in this manifest\n".to_owned();
    }
    let mut text: String = injected.workloads.iter().map(ToString::to_string).collect();
    let open = injected
        .workloads
        .iter()
        .flat_map(|workload| &workload.report.wanted);
    let open: BTreeSet<&str> = open.map(|wanted| wanted.image.as_str()).collect();
    if !open.is_empty() {
        text.push_str("what these images run was not looked up (--resolve registry): ");
        text.push_str(&open.into_iter().collect::<Vec<_>>().join(", "));
        text.push('\n');
    }
    text
}

fn in_file(path: &Path) -> impl FnOnce(ManifestError) -> InjectError {
    let path = path.to_owned();
    move |source| InjectError::Manifest { path, source }
}

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// [`InjectError::File`].
pub(crate) fn read(path: &Path) -> Result<String, InjectError> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|source| InjectError::File {
        path: path.into(),
        source,
    })
}

fn write(stream: &mut impl Write, text: &str) -> Result<(), InjectError> {
    match stream.write_all(text.as_bytes()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|source| InjectError::File {
            path: "-".into(),
            source,
        }),
    }
}
