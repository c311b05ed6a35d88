//! Every command of the documentation is one that the program takes, and those of the README
//! that need no cluster work. What the program can say of an installation, and what the default
//! rules find, is in the documentation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the repository.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents that people read.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::fs::read_dir(root.join("docs")).expect("docs");
    let mut documents: Vec<PathBuf> = folder
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    documents.push(root.join("README.md"));
    documents.push(root.join("charts/picket/templates/NOTES.txt"));
    documents
}

/// Calls of `picket` in a document: lines of its code blocks, and what stands in backticks.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            let line = line.trim_start();
            commands.push(line.strip_prefix("dist/bin/").unwrap_or(line));
        } else {
            commands.extend(line.split('`').skip(1).step_by(2));
        }
    }
    let calls = commands
        .into_iter()
        .filter(|line| line.starts_with("picket "));
    calls
        .map(|line| {
            let line = line.split(" #").next().unwrap_or_default();
            let words = line.split_whitespace().skip(1);
            // What is traced, what reads the output and what stands for more are not ours.
            let words = words.take_while(|word| !["--", "|", ">", "…"].contains(word));
            words.map(str::to_owned).collect()
        })
        .collect()
}

#[test]
fn every_command_of_the_documentation_is_taken() {
    let mut seen = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document");
        for words in commands(&text) {
            seen += 1;
            // An unknown word or flag is refused before the help is shown.
            let output = Command::new(env!("CARGO_BIN_EXE_picket"))
                .args(&words)
                .arg("--help")
                .output()
                .expect("picket starts");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{}: {words:?}: {said}",
                document.display()
            );
        }
    }
    assert!(seen > 30, "{seen} commands were found");
}

#[test]
fn what_the_readme_says_to_try_without_a_cluster_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("README.md")).expect("the README");
    let scratch = tempfile::tempdir().expect("a folder");
    let copy = scratch.path().join("x").to_string_lossy().into_owned();
    let mut tried = Vec::new();
    for line in text.lines() {
        let Some(words) = line.strip_prefix("dist/bin/picket ") else {
            continue;
        };
        let what = words.split(' ').next().unwrap_or_default();
        if ["doctor", "status"].contains(&what) {
            continue;
        }
        // The program of this build, and no name that another test may use as well.
        let program = env!("CARGO_BIN_EXE_picket");
        let line = format!("{program} {}", words.replace("/tmp/x", &copy));
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(&root)
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        if words.contains("/tmp/x") {
            assert!(said.contains("NewBinaryExecuted"), "{line}: {said}");
        }
        tried.push(what.to_owned());
    }
    assert_eq!(tried, ["run", "inject", "explain", "rules", "rules", "run"]);
}

#[test]
fn whatever_the_doctor_finds_is_in_the_documentation_with_its_severity() {
    let text = file("docs/operations.md");
    let source = file("cli/src/doctor/fault.rs");
    let names = source.split("pub(crate) enum Fault {").nth(1);
    let names = names.and_then(|rest| rest.split('}').next());
    let names = names.expect("the names").lines().map(str::trim);
    let names = names.filter_map(|line| line.strip_suffix(','));
    let warnings = source.split("-> Severity {").nth(1);
    let warnings = warnings.and_then(|rest| rest.split("=> Severity::Warning").next());
    let warnings: Vec<&str> = warnings.expect("the warnings").split_whitespace().collect();
    let mut seen = 0;
    for name in names {
        seen += 1;
        let is_warning = warnings.contains(&format!("Fault::{name}").as_str());
        let is_told = text.contains(&format!("`{name}` (warning)"));
        assert!(
            text.contains(&format!("`{name}`")),
            "docs/operations.md has no {name}"
        );
        assert_eq!(is_told, is_warning, "{name}");
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_finding_of_the_default_rules_is_in_the_documentation_with_its_severity() {
    let text = file("docs/rules.md");
    let text = text.split("\n| | high | medium | low |\n").nth(1);
    let rows = text.expect("a table").lines().skip(1);
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with("| ")).collect();
    // Each finding of a cell, with its threat and severity.
    let mut told = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let threat = cells[0].split(' ').next().unwrap_or_default();
        for (severity, cell) in ["high", "medium", "low"].into_iter().zip(&cells[1..]) {
            let findings = cell.split(" · ").map(|name| name.trim_end_matches('*'));
            let findings = findings.filter(|name| *name != "–");
            told.extend(findings.map(|name| format!("{severity} {threat}:Runtime/{name}")));
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/picket/rules");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("rules") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "policy") {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("a policy");
        let mut finding = "";
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("finding: ") {
                finding = name;
            } else if let Some(severity) = line.strip_prefix("severity: ") {
                found.insert(format!("{severity} {finding}"));
            }
        }
    }
    assert!(found.len() > 40, "{found:?}");
    assert_eq!(told, found);
}
