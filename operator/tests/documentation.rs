//! What people alert on is documented: metrics, gaps, causes and reasons of conditions.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use picket_crds::Gap;
use picket_operator::suspensions::Cause;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect("a document")
}

/// The text of all files below a folder.
fn texts(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &texts(&path);
        } else {
            text += &fs::read_to_string(&path).unwrap_or_default();
        }
    }
    text
}

/// Words in a text that begin so, up to the first sign that is no part of a metric's name.
fn metrics(text: &str) -> BTreeSet<String> {
    let parts = ["operator", "coverage", "relay", "admission", "entrypoint"];
    let mut found = BTreeSet::new();
    for part in parts {
        let beginning = format!("picket_{part}_");
        for (at, _) in text.match_indices(&beginning) {
            let rest = &text[at..];
            let end = rest.find(|sign: char| !(sign.is_ascii_lowercase() || sign == '_'));
            let name = &rest[..end.unwrap_or(rest.len())];
            // What Prometheus adds to the name of a counter or histogram.
            let suffixes = ["_total", "_bucket", "_count", "_sum"];
            let plain = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
            let name = plain.unwrap_or(name);
            if !name.ends_with('_') {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

/// Metrics that the program registers: under their whole name, or under one that is put together
/// of a prefix and the text behind `register(`.
fn registered() -> BTreeSet<String> {
    let mut all = metrics(&texts(&root().join("operator/src")));
    for (file, prefix) in [
        ("admission/metrics.rs", "picket_admission"),
        ("entrypoint/metrics.rs", "picket_entrypoint"),
    ] {
        let text = fs::read_to_string(root().join("webhook/src").join(file)).expect("a source");
        assert!(text.contains(&format!("sub_registry_with_prefix(\"{prefix}\")")));
        let calls = text.split(".register(").skip(1);
        all.extend(calls.filter_map(|call| Some(format!("{prefix}_{}", call.split('"').nth(1)?))));
    }
    all.extend(metrics(&texts(&root().join("webhook/src"))));
    all
}

#[test]
fn every_metric_is_documented_and_what_is_named_exists() {
    let registered = registered();
    let documented = metrics(&(document("operations.md") + &document("coverage.md")));
    let untold: Vec<_> = registered.difference(&documented).collect();
    assert!(untold.is_empty(), "no document has {untold:?}");
    let named = texts(&root().join("docs")) + &texts(&root().join("charts/picket"));
    let named = metrics(&named);
    assert!(named.len() > 15, "{named:?}");
    let unknown: Vec<_> = named.difference(&registered).collect();
    assert!(unknown.is_empty(), "nothing registers {unknown:?}");
}

#[test]
fn every_gap_is_documented_and_in_bold_where_it_makes_unhealthy() {
    let text = document("coverage.md");
    for gap in Gap::ALL {
        let word = format!("`{}`", gap.word());
        let row = text
            .lines()
            .filter(|line| line.starts_with("| "))
            .find(|line| {
                let cell = line.split(" | ").next().unwrap_or_default();
                cell.contains(&word)
            });
        let row = row.unwrap_or_else(|| panic!("docs/coverage.md has no row for {word}"));
        assert_eq!(row.starts_with("| **"), gap.is_unhealthy(), "{row}");
    }
}

#[test]
fn every_cause_of_a_suspension_is_documented() {
    let text = document("operations.md");
    for cause in Cause::ALL {
        let row = format!("| `{}` | ", cause.word());
        assert!(text.contains(&row), "docs/operations.md has no row {row}");
    }
}

#[test]
fn every_reason_of_a_condition_is_documented() {
    let text = document("operations.md") + &document("coverage.md");
    let source = fs::read_to_string(root().join("crds/src/conditions.rs")).expect("a source");
    let lines = source.lines().filter(|line| line.starts_with("pub const "));
    let mut seen = 0;
    for word in lines.filter_map(|line| line.split('"').nth(1)) {
        seen += 1;
        let word = format!("`{word}`");
        assert!(text.contains(&word), "no document has {word}");
    }
    assert!(seen > 25, "{seen}");
}

/// What stands in quotation marks in a text and is a reason as Events have it.
fn reasons(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter(|word| {
        let is_word = word.chars().all(|sign| sign.is_ascii_alphanumeric());
        is_word && word.starts_with(|sign: char| sign.is_ascii_uppercase())
    })
}

#[test]
fn every_event_is_documented() {
    let text = document("operations.md");
    let section = text.split("\n## Events\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("its text");
    let sources = texts(&root().join("operator/src"));
    let calls = sources.split(".tell(").skip(1);
    let calls = calls.filter_map(|rest| rest.split(';').next());
    let mut told: BTreeSet<&str> = calls.flat_map(reasons).collect();
    told.extend(["CoverageHealthy", "CoverageUnhealthy", "ExecUntraced"]);
    assert!(told.len() > 9, "{told:?}");
    for reason in told {
        assert!(
            section.contains(&format!("`{reason}`")),
            "docs/operations.md has no Event {reason}"
        );
    }
}
