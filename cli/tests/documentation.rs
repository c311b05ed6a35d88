//! Every command of the documentation is one that the program takes, and those of the README
//! that need no cluster work.

use std::path::{Path, PathBuf};
use std::process::Command;

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
