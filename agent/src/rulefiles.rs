//! Rules from disk, and the interest file that tells tracers what they need.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use picket_events::Interest;
use picket_rules::{
    Catalogue, LoadError, LoadOptions, PolicyReport, PolicySource, RuleSet, Status, defaults,
};

use crate::pipeline::LoadedRules;

/// Largest policy file: 8 MiB.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// Endings of policy files in a directory.
const ENDINGS: [&str; 3] = ["policy", "yaml", "yml"];

/// Which rules to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFiles {
    /// Whether the built-in rules are loaded, before all others.
    pub defaults: bool,
    /// Policy files, and directories of them.
    pub paths: Vec<PathBuf>,
}

impl Default for RuleFiles {
    /// The built-in rules.
    fn default() -> Self {
        Self {
            defaults: true,
            paths: Vec::new(),
        }
    }
}

impl RuleFiles {
    /// Loads the rules. What cannot be read is reported like a policy that does not parse;
    /// the rest is loaded.
    ///
    /// Of a directory, files that end in `.policy`, `.yaml` or `.yml` are taken by name,
    /// `default.policy` first.
    pub fn load(&self) -> LoadedRules {
        let (sources, unreadable) = self.read();
        let catalogue = Catalogue::standard();
        let (rules, mut report) = RuleSet::load(&catalogue, &sources, &LoadOptions::default());
        report.policies.extend(unreadable);
        LoadedRules {
            rules: Arc::new(rules),
            report,
        }
    }

    /// Reads the files without loading their rules; what cannot be read is reported like a
    /// policy that does not parse.
    pub fn read(&self) -> (Vec<PolicySource>, Vec<PolicyReport>) {
        let mut sources = Vec::new();
        let mut unreadable = Vec::new();
        if self.defaults {
            sources.extend(
                defaults::policies()
                    .iter()
                    .map(|(name, text)| PolicySource {
                        name: (*name).to_owned(),
                        text: (*text).to_owned(),
                        origin: "built-in".to_owned(),
                    }),
            );
        }
        for path in &self.paths {
            match files_of(path) {
                Ok(files) => {
                    for file in files {
                        match read(&file) {
                            Ok(text) => sources.push(source(&file, text)),
                            Err(error) => unreadable.push(refused(&file, &error)),
                        }
                    }
                }
                Err(error) => unreadable.push(refused(path, &error)),
            }
        }
        (sources, unreadable)
    }
}

/// Every error of a load as a line for people: file, line, column, rule, what is wrong.
pub fn complaints(loaded: &LoadedRules) -> Vec<String> {
    let policies = loaded.report.policies.iter();
    policies
        .flat_map(|policy| {
            let rules = policy.rules.iter().filter_map(|rule| rule.error.as_ref());
            let file = if policy.origin == "built-in" {
                &policy.name
            } else {
                &policy.origin
            };
            policy
                .errors
                .iter()
                .chain(rules)
                .map(move |error| format!("{file}:{error}"))
        })
        .collect()
}

/// Writes the interest of a rule set where tracers of containers that start later find it;
/// readers see the old content or the new, never a part.
///
/// # Errors
/// When the directory cannot be written.
pub fn publish_interest(path: &Path, interest: &Interest) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        writeln!(file, "{interest}")?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    })
}

fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // A mounted ConfigMap has its content under `..data` too.
        let ending = file.extension().unwrap_or_default().to_string_lossy();
        if !name.starts_with('.') && ENDINGS.contains(&&*ending) && file.is_file() {
            files.push(file);
        }
    }
    files.sort_by_key(|file| (!file.ends_with("default.policy"), file.clone()));
    Ok(files)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!(
            "the file is larger than {MAX_FILE} bytes"
        )));
    }
    Ok(text)
}

fn source(path: &Path, text: String) -> PolicySource {
    PolicySource {
        name: name_of(path),
        text,
        origin: path.display().to_string(),
    }
}

fn refused(path: &Path, error: &io::Error) -> PolicyReport {
    PolicyReport {
        name: name_of(path),
        origin: path.display().to_string(),
        status: Status::Error,
        errors: vec![LoadError {
            message: format!(" {error}"),
            ..LoadError::default()
        }],
        ..PolicyReport::default()
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_policies_in_order() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "b.yaml",
            "default.policy",
            "a.policy",
            "README.md",
            ".hidden.policy",
        ] {
            std::fs::write(directory.path().join(name), "rules: []\n").unwrap();
        }
        let files = files_of(directory.path()).unwrap();
        let names: Vec<String> = files.iter().map(|file| name_of(file)).collect();
        assert_eq!(names, ["default.policy", "a.policy", "b.yaml"]);
    }

    #[test]
    fn a_path_that_cannot_be_read_is_reported_and_named() {
        let files = RuleFiles {
            defaults: false,
            paths: vec!["/nowhere/x.policy".into()],
        };
        let loaded = files.load();
        assert!(!loaded.report.is_ok());
        let complaints = complaints(&loaded);
        assert!(
            complaints[0].starts_with("/nowhere/x.policy: No such file"),
            "{complaints:?}"
        );
    }

    #[test]
    fn the_interest_file_can_be_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("interest");
        let interest: Interest = "open:write,connect".parse().unwrap();
        publish_interest(&path, &Interest::everything()).unwrap();
        publish_interest(&path, &interest).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim_end().parse(), Ok(interest));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
