//! Every field of the catalogue, and whether a real event fills it: a program does each thing that
//! rules can be about ([`acts.py`]), with a rule for each field that it is not empty.
//!
//! A field that no event fills has to be said to be empty, here or in the catalogue.

mod empty;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use picket_rules::{Catalogue, ValueType};

/// Fields that every event has are asked of these: of a new program, and of a process that has
/// not run one of its own.
const ASKED_OF: [&str; 2] = ["exec.file.path != \"\"", "chdir.file.path != \"\""];

#[test]
fn every_field_is_filled_or_said_to_stay_empty() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes mount and network namespaces and has to run as root"
    );
    let fields = fields();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let filled = filled(&fields, folder.path());
    let mut wrong = String::new();
    let mut used = BTreeSet::new();
    for field in &fields {
        let reason = empty::reason(field);
        if let Some((pattern, _)) = reason {
            used.insert(pattern);
        }
        let is_filled = filled.contains(field);
        let is_wrong = match reason {
            Some((_, empty::Why::Never(_))) => is_filled,
            Some((_, empty::Why::NotHere(_))) => false,
            None => !is_filled,
        };
        if is_wrong {
            let _ = writeln!(wrong, "{field}: filled: {is_filled}");
        }
    }
    for (pattern, _) in empty::EMPTY {
        if !used.contains(pattern) {
            let _ = writeln!(wrong, "{pattern}: there is no such field");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The fields that can have a value here, as the catalogue has it.
fn fields() -> Vec<String> {
    let catalogue = Catalogue::standard();
    let happens = |event| {
        let event = catalogue.event_info(event);
        event.never.is_none()
    };
    catalogue
        .fields()
        .filter(|(_, field)| field.zero.is_none() && field.event.is_none_or(happens))
        .map(|(_, field)| field.name.clone())
        .collect()
}

/// Does everything, and gives back the fields that were not empty.
fn filled(fields: &[String], folder: &Path) -> BTreeSet<String> {
    let catalogue = Catalogue::standard();
    let mut policy = String::from("rules:\n");
    for (number, field) in fields.iter().enumerate() {
        let field = catalogue.info(catalogue.field(field).expect("a field"));
        let condition = is_not_empty(&catalogue, field);
        let conditions = match field.event {
            Some(_) => vec![condition],
            None => ASKED_OF
                .iter()
                .map(|asked| format!("{asked} && {condition}"))
                .collect(),
        };
        for (at, condition) in conditions.iter().enumerate() {
            let _ = writeln!(
                policy,
                "- {{id: f{number}_{at}, every: 1h, tags: {{a: b}}, expression: '{condition}'}}"
            );
        }
    }
    std::fs::write(folder.join("fields.policy"), policy).expect("write");
    std::fs::write(folder.join("acts.py"), include_str!("acts.py")).expect("write");
    let script = r#"mount -t tmpfs -o mode=755 tmpfs /srv; cd /srv
        exec "$PICKET" run --json --require-tracing --no-default-rules --mode Monitor \
            --rules "$FOLDER/fields.policy" --output "$FOLDER/findings" -- python3 "$FOLDER/acts.py""#;
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--propagation",
            "private",
            "sh",
            "-ec",
            script,
        ])
        .env("PICKET", env!("CARGO_BIN_EXE_picket"))
        .env("FOLDER", folder)
        .output()
        .expect("unshare runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    eprintln!("{errors}");
    let findings = std::fs::read_to_string(folder.join("findings")).expect("findings");
    let rules = findings.lines().filter_map(|line| {
        let finding: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let id = finding["agent"]["rule_id"].as_str()?.to_owned();
        let (number, _) = id.strip_prefix('f')?.split_once('_')?;
        number.parse::<usize>().ok()
    });
    rules.map(|number| fields[number].clone()).collect()
}

fn is_not_empty(catalogue: &Catalogue, field: &picket_rules::catalogue::FieldInfo) -> String {
    let name = match field.iterator {
        Some(iterator) => {
            let list = &catalogue.iterator_info(iterator).name;
            field.name.replacen(list.as_str(), &format!("{list}[A]"), 1)
        }
        None => field.name.clone(),
    };
    match field.value_type {
        ValueType::Bool => format!("{name} == true"),
        ValueType::Int => format!("{name} != 0"),
        ValueType::String => format!("{name} != \"\""),
        ValueType::Ip => format!("{name} != 0.0.0.0/32"),
        _ => format!("{name}.length > 0"),
    }
}
