//! `picket crds`: the CustomResourceDefinitions.

use std::io::{Write, stdout};

use crate::arguments;

/// Prints them, or writes one file each.
///
/// # Errors
/// When the folder or standard output cannot be written.
pub(crate) fn crds(arguments: &arguments::Crds) -> anyhow::Result<()> {
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
