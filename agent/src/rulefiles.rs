//! Rules from disk, and the interest file that tells tracers what they need.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use picket_events::Interest;
use picket_rules::lists::{ListKind, MAX_LIST};
use picket_rules::{
    Catalogue, ListReport, ListSource, LoadError, LoadOptions, LoadReport, PolicyReport,
    PolicySource, RuleSet, Status, defaults,
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
    /// List files, and directories of them.
    pub lists: Vec<PathBuf>,
}

impl Default for RuleFiles {
    /// The built-in rules.
    fn default() -> Self {
        Self {
            defaults: true,
            paths: Vec::new(),
            lists: Vec::new(),
        }
    }
}

/// What was read from disk, before anything of it is loaded.
#[derive(Debug, Default)]
pub struct Sources {
    /// Policies.
    pub policies: Vec<PolicySource>,
    /// Lists.
    pub lists: Vec<ListSource>,
    /// What could not be read, reported like policies and lists that are wrong throughout.
    pub unreadable: LoadReport,
}

impl RuleFiles {
    /// Loads the rules. What cannot be read is reported like a policy that does not parse;
    /// the rest is loaded.
    ///
    /// Of a directory of policies, files that end in `.policy`, `.yaml` or `.yml` are taken by
    /// name, `default.policy` first, but no rule tests (`.test.yaml`); of a directory of lists, those that end in `.ips`,
    /// `.domains`, `.hashes` or `.names`.
    pub fn load(&self) -> LoadedRules {
        let Sources {
            policies,
            lists,
            unreadable,
        } = self.read();
        let options = LoadOptions {
            lists,
            ..LoadOptions::default()
        };
        let (rules, mut report) = RuleSet::load(&Catalogue::standard(), &policies, &options);
        report.policies.extend(unreadable.policies);
        report.lists.extend(unreadable.lists);
        LoadedRules {
            rules: Arc::new(rules),
            report,
        }
    }

    /// Reads the files without loading their rules.
    pub fn read(&self) -> Sources {
        let mut sources = Sources::default();
        if self.defaults {
            sources.policies = defaults::sources();
            sources.lists = defaults::lists();
        }
        for path in &self.paths {
            read_all(path, is_policy, MAX_FILE, |file, read| match read {
                Ok(text) => sources.policies.push(PolicySource {
                    name: name_of(file),
                    text,
                    origin: file.display().to_string(),
                }),
                Err(error) => sources.unreadable.policies.push(PolicyReport {
                    name: name_of(file),
                    origin: file.display().to_string(),
                    status: Status::Error,
                    errors: vec![unreadable(&error)],
                    ..PolicyReport::default()
                }),
            });
        }
        for path in &self.lists {
            read_all(path, is_list, MAX_LIST as u64, |file, read| match read {
                Ok(text) => sources.lists.push(ListSource {
                    name: name_of(file),
                    text,
                    origin: file.display().to_string(),
                }),
                Err(error) => sources.unreadable.lists.push(ListReport {
                    name: name_of(file),
                    origin: file.display().to_string(),
                    status: Status::Error,
                    errors: vec![unreadable(&error)],
                    ..ListReport::default()
                }),
            });
        }
        sources
    }
}

/// Every error of a load as a line for people: file, line, column, rule, what is wrong.
pub fn complaints(loaded: &LoadedRules) -> Vec<String> {
    let line = |name: &str, origin: &str, error: &LoadError| {
        let file = if origin == "built-in" { name } else { origin };
        let gap = if error.file.is_some() { "" } else { " " };
        format!("{file}:{gap}{error}")
    };
    let policies = loaded.report.policies.iter().flat_map(|policy| {
        let rules = policy.rules.iter().filter_map(|rule| rule.error.as_ref());
        let errors = policy.errors.iter().chain(rules);
        errors.map(move |error| line(&policy.name, &policy.origin, error))
    });
    let lists = loaded.report.lists.iter().flat_map(|list| {
        let errors = list.errors.iter();
        errors.map(move |error| line(&list.name, &list.origin, error))
    });
    policies.chain(lists).collect()
}

/// Writes the interest of a rule set where tracers of containers that start later find it;
/// readers see the old content or the new, never a part.
///
/// # Errors
/// When the directory cannot be written.
pub fn publish_interest(path: &Path, interest: &Interest) -> io::Result<()> {
    publish(path, &format!("{interest}\n"))
}

/// Writes the patterns of the files whose reads a rule set waits for where tracers that start
/// later find them, a line for each; such a tracer watches them before the program that it traces
/// runs, and not only once it has reached the agent. Readers see the old content or the new.
///
/// # Errors
/// When the directory cannot be written.
pub fn publish_watched(path: &Path, patterns: &[String]) -> io::Result<()> {
    let lines = patterns.iter().filter(|pattern| !pattern.contains('\n'));
    publish(
        path,
        &lines.map(|line| format!("{line}\n")).collect::<String>(),
    )
}

fn publish(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    })
}

/// Reads a file, or every file of a directory whose name is `wanted`.
fn read_all(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
    limit: u64,
    mut take: impl FnMut(&Path, io::Result<String>),
) {
    match files_of(path, wanted) {
        Ok(files) => {
            for file in files {
                take(&file, read(&file, limit));
            }
        }
        Err(error) => take(path, Err(error)),
    }
}

/// Rule tests lie beside the rules, and are none.
fn is_policy(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    if stem.ends_with(".test") {
        return false;
    }
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

fn is_list(name: &str) -> bool {
    ListKind::of(name).is_some()
}

fn files_of(path: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let name = name_of(&file);
        // A mounted ConfigMap has its content under `..data` too.
        if !name.starts_with('.') && wanted(&name) && file.is_file() {
            files.push(file);
        }
    }
    files.sort_by_key(|file| (!file.ends_with("default.policy"), file.clone()));
    Ok(files)
}

fn read(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(limit + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::other(format!(
            "the file is larger than {limit} bytes"
        )));
    }
    Ok(text)
}

fn unreadable(error: &io::Error) -> LoadError {
    LoadError {
        message: error.to_string(),
        ..LoadError::default()
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
            "a.test.yaml",
        ] {
            std::fs::write(directory.path().join(name), "rules: []\n").unwrap();
        }
        let files = files_of(directory.path(), is_policy).unwrap();
        let names: Vec<String> = files.iter().map(|file| name_of(file)).collect();
        assert_eq!(names, ["default.policy", "a.policy", "b.yaml"]);
    }

    #[test]
    fn a_path_that_cannot_be_read_is_reported_and_named() {
        let files = RuleFiles {
            defaults: false,
            paths: vec!["/nowhere/x.policy".into()],
            lists: vec!["/nowhere/x.ips".into()],
        };
        let loaded = files.load();
        assert!(!loaded.report.is_ok());
        let complaints = complaints(&loaded);
        for (complaint, start) in complaints.iter().zip([
            "/nowhere/x.policy: No such file",
            "/nowhere/x.ips: No such file",
        ]) {
            assert!(complaint.starts_with(start), "{complaint}");
        }
        assert_eq!(complaints.len(), 2);
    }

    #[test]
    fn lists_of_a_directory_are_read_and_a_wrong_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("own.ips", "# ours\n192.0.2.1\n192.0.2.300\n"),
            ("own.txt", "nothing of the kind\n"),
            (
                "own.policy",
                "macros: [{id: OWN, list: own.ips}]\nrules: [{id: own, expression: connect.addr.ip in OWN}]\n",
            ),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let files = RuleFiles {
            defaults: false,
            paths: vec![directory.path().into()],
            lists: vec![directory.path().into()],
        };
        let loaded = files.load();
        assert_eq!(loaded.rules.lists()[0].entries, 1);
        let complaints = complaints(&loaded);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(
            complaints[0].ends_with("own.ips:3:1: \"192.0.2.300\" is not an IP address or network"),
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

    #[test]
    fn the_file_of_what_is_watched_has_a_line_for_each_pattern() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watched");
        let patterns = ["/etc/shadow", "/a\nb", "/run/secrets/**"].map(str::to_owned);
        publish_watched(&path, &patterns).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "/etc/shadow\n/run/secrets/**\n");
    }
}
