//! `picket ecs`: task definitions of ECS on Fargate.

use std::io::{Write, stderr, stdout};

use anyhow::Context as _;
use picket_crds::ProtectionPolicySpec;
use picket_webhook::Settings;
use picket_webhook::ecs::{inject_task_definition, uninject_task_definition};
use picket_webhook::inject::policies_from_yaml;

use crate::arguments::{Ecs, EcsInject};

/// Writes the task definition to standard output, and what was decided to standard error. False
/// when nothing in it is traced.
///
/// # Errors
/// When a file cannot be read, or is not what it should be.
pub(crate) fn ecs(command: &Ecs) -> anyhow::Result<bool> {
    match command {
        Ecs::Inject(arguments) => inject(arguments),
        Ecs::Uninject { file } => {
            let text = uninject_task_definition(&crate::inject::read(file)?)
                .with_context(|| file.display().to_string())?;
            stdout().write_all(text.as_bytes())?;
            Ok(true)
        }
    }
}

fn inject(arguments: &EcsInject) -> anyhow::Result<bool> {
    let spec = match &arguments.policy {
        None => ProtectionPolicySpec::default(),
        Some(path) => {
            let policies = policies_from_yaml(&crate::inject::read(path)?, "default")
                .with_context(|| path.display().to_string())?;
            let mut policies = policies.into_iter();
            match (policies.next(), policies.next()) {
                (Some(policy), None) => policy.spec,
                _ => anyhow::bail!("{}: expected exactly one policy", path.display()),
            }
        }
    };
    let mut settings = Settings::new(&arguments.sidecar_image, env!("CARGO_PKG_VERSION"));
    settings.interest = crate::rules::default_interest().to_string();
    let injected = inject_task_definition(&crate::inject::read(&arguments.file)?, &settings, &spec)
        .with_context(|| arguments.file.display().to_string())?;
    stdout().write_all(injected.text.as_bytes())?;
    stderr().write_all(injected.to_string().as_bytes())?;
    Ok(injected
        .containers
        .iter()
        .any(|container| container.skipped.is_none()))
}
