//! How findings look: a table for people, lines of JSON for programs. What pods sent is shown
//! without control characters.

use picket_events::text::printable;
use serde_json::Value;

use crate::columns::{columns, or_dash};

const HEAD: [&str; 7] = [
    "TIME",
    "SEVERITY",
    "NAMESPACE",
    "WORKLOAD",
    "POD/CONTAINER",
    "RULE",
    "FINDING",
];

/// All of them, in columns.
pub(super) fn table(findings: &[Value]) -> String {
    match findings {
        [] => "No findings.\n".to_owned(),
        findings => columns(HEAD, findings.iter().map(cells)),
    }
}

/// One, as a line of its own.
pub(super) fn row(finding: &Value) -> String {
    format!("{}\n", cells(finding).join("  "))
}

/// One as JSON, as the agent wrote it and with the pod that it came from.
pub(super) fn json(finding: &Value) -> String {
    let text = finding.to_string();
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        // JSON itself escapes those below 0x20; some terminals obey the others too.
        match character.is_control() {
            true => line.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => line.push(character),
        }
    }
    line.push('\n');
    line
}

fn cells(finding: &Value) -> [String; 7] {
    let text = |pointer: &str| {
        let value = finding.pointer(pointer).and_then(Value::as_str);
        printable(value.unwrap_or_default())
    };
    let (pod, container) = (text("/pod/name"), text("/container/name"));
    let place = match container.as_str() {
        "" => pod,
        container => format!("{pod}/{container}"),
    };
    // To the second, as in `kubectl get events`.
    let date = text("/date");
    let date = date
        .split_once('.')
        .map_or(date.clone(), |(second, _)| format!("{second}Z"));
    [
        or_dash(&date),
        or_dash(&text("/finding/severity")),
        or_dash(&text("/pod/namespace")),
        or_dash(&text("/pod/workload")),
        or_dash(&place),
        or_dash(&text("/agent/rule_id")),
        or_dash(&text("/title")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finding() -> Value {
        json!({
            "title": "A shell\u{1b}[2J was started", "date": "2026-01-01T00:00:00.200Z",
            "finding": {"severity": "high", "type": "Execution:Runtime/SuspiciousShellCreated"},
            "agent": {"rule_id": "web_shell"}, "container": {"name": "web"},
            "pod": {"namespace": "shop", "name": "web-1", "workload": "Deployment/web"},
        })
    }

    #[test]
    fn a_table_says_when_how_bad_where_and_what() {
        assert_eq!(
            table(&[finding(), json!({})]),
            "\
TIME                  SEVERITY  NAMESPACE  WORKLOAD        POD/CONTAINER  RULE       FINDING
2026-01-01T00:00:00Z  high      shop       Deployment/web  web-1/web      web_shell  A shell [2J was started
-                     -         -          -               -              -          -
"
        );
        assert_eq!(table(&[]), "No findings.\n");
        assert!(row(&finding()).starts_with("2026-01-01T00:00:00Z  high  shop  Deployment/web"));
    }

    #[test]
    fn json_is_one_line_that_no_terminal_obeys() {
        let mut finding = finding();
        finding["title"] = json!("a\u{9b}2J\n");
        let line = json(&finding);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.trim_end().contains(char::is_control));
        let again: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(again, finding);
    }
}
