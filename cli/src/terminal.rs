//! How findings look in a terminal.
//!
//! Rendered from a finding's JSON, so that what a person sees in `picket run` and `picket demo`
//! is what the agent writes, and nothing else.

use std::fmt::Write as _;
use std::io::IsTerminal;

use picket_events::text::printable;
use serde_json::Value;

/// Whether to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    /// Colour on a terminal, unless `NO_COLOR` is set.
    pub(crate) fn detect(stream: &impl IsTerminal) -> Self {
        Self {
            colour: stream.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Never colour.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false };

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn severity(self, word: &str) -> String {
        let code = match word {
            "critical" => "1;37;41",
            "high" => "1;31",
            "medium" => "1;33",
            "low" => "1;36",
            _ => "1",
        };
        self.paint(code, &word.to_uppercase())
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A finding with its process tree, several lines, the last one ended.
pub(crate) fn finding(finding: &Value, style: Style) -> String {
    let meaning = &finding["finding"];
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}  {}  {}",
        style.severity(text(&meaning["severity"])),
        style.bold(text(&meaning["title"])),
        style.dim(&joined(
            &[text(&meaning["type"]), text(&meaning["technique"])],
            " "
        )),
    );
    let pod = joined(
        &[
            text(&finding["pod"]["namespace"]),
            text(&finding["pod"]["name"]),
        ],
        "/",
    );
    let place = joined(
        &[
            &labelled("rule", text(&finding["agent"]["rule_id"])),
            &labelled("pod", &pod),
            &labelled("container", text(&finding["container"]["name"])),
        ],
        " · ",
    );
    let _ = writeln!(out, "  {}", style.dim(&place));
    match &finding["process"] {
        // Of an event about Picket, only the programs are told.
        Value::Null => lineage(&mut out, own(finding), style),
        process => tree(&mut out, process, style),
    }
    let _ = writeln!(out, "  {} {}", style.dim("what:"), what(finding));
    let remediation = text(&meaning["remediation"]);
    if !remediation.is_empty() {
        let _ = writeln!(out, "  {} {remediation}", style.dim("do:  "));
    }
    out
}

/// One line for an event of the agent's own (`ruleset_loaded`, `lost_events`, …).
pub(crate) fn internal(event: &Value, style: Style) -> String {
    let mut line = format!("picket: {}", text(&event["agent"]["rule_id"]));
    let title = text(&event["title"]);
    if !title.is_empty() {
        let _ = write!(line, ": {title}");
    }
    format!("{}\n", style.dim(&line))
}

fn tree(out: &mut String, process: &Value, style: Style) {
    let none = Vec::new();
    let ancestors = process["ancestors"].as_array().unwrap_or(&none);
    // Nearest first in the JSON, as in SECL; a tree is read from the top.
    for (depth, process) in ancestors.iter().rev().chain([process]).enumerate() {
        let branch = branch(depth);
        let last = depth == ancestors.len();
        let command = shorten(&command(process), 100);
        let command = if last { style.bold(&command) } else { command };
        let pid = style.dim(&format!("({})", process["pid"]));
        let _ = writeln!(out, "  {branch}{command} {pid}");
    }
}

/// What stands before a process that has so many above it.
fn branch(depth: usize) -> String {
    match depth {
        0 => String::new(),
        _ => "   ".repeat(depth - 1) + "└─ ",
    }
}

/// The programs of a process and of what it descends from.
fn lineage(out: &mut String, own: &Value, style: Style) {
    let none = Vec::new();
    let programs = own["lineage"].as_array().unwrap_or(&none);
    for (depth, program) in programs.iter().rev().enumerate() {
        let path = shorten(&printable(text(program)), 100);
        let last = depth + 1 == programs.len();
        let path = if last { style.bold(&path) } else { path };
        let _ = writeln!(out, "  {}{path}", branch(depth));
    }
}

/// What an event has of its own: its body has its name.
fn own(finding: &Value) -> &Value {
    &finding[text(&finding["evt"]["name"])]
}

fn command(process: &Value) -> String {
    let path = text(&process["executable"]["path"]);
    let name = match path {
        "" => text(&process["comm"]),
        path => path,
    };
    let mut words = vec![printable(name)];
    for argument in process["args"].as_array().into_iter().flatten() {
        words.push(quote(text(argument)));
    }
    words.join(" ")
}

fn what(finding: &Value) -> String {
    let event = text(&finding["evt"]["name"]);
    // A program in a memory file has a name, but no path.
    let file = match text(&finding["file"]["path"]) {
        "" => text(&finding["file"]["name"]),
        path => path,
    };
    let destination = text(&finding["file"]["destination"]["path"]);
    let own = own(finding);
    let mut what = joined(&[event, file], " ");
    if finding["process"].is_null() {
        what = joined(&[&what, text(&own["path"]), text(&own["syscall"])], " ");
        if let Some(pid) = own["pid"].as_u64() {
            let _ = write!(what, " ({pid})");
        }
    }
    if !destination.is_empty() {
        let _ = write!(what, " → {destination}");
    }
    let address = &own["addr"];
    if let Some(ip) = address["ip"].as_str() {
        let _ = write!(what, " {ip}:{}", address["port"]);
    }
    let outcome = text(&finding["evt"]["outcome"]);
    if !outcome.is_empty() && outcome != "Success" {
        let _ = write!(what, " ({outcome})");
    }
    // Names of files are the attacker's to choose.
    printable(&what)
}

fn labelled(label: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else {
        format!("{label} {value}")
    }
}

fn joined(parts: &[&str], separator: &str) -> String {
    let parts: Vec<&str> = parts
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(separator)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// An argument as a shell would need it; control characters never reach the terminal.
pub(crate) fn quote(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    let escaped: String = argument
        .chars()
        .flat_map(|c| {
            let control = c.is_control();
            let (escaped, kept) = (control.then(|| c.escape_default()), (!control).then_some(c));
            escaped.into_iter().flatten().chain(kept)
        })
        .collect();
    format!("'{escaped}'")
}

fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_finding_shows_the_tree_from_the_top() {
        let shown = finding(
            &json!({
                "agent": {"rule_id": "shell_from_network_service"},
                "evt": {"name": "exec", "outcome": "Success"},
                "file": {"path": "/usr/bin/dash"},
                "finding": {"type": "Execution:Runtime/X", "severity": "high", "title": "A shell",
                            "remediation": "Look."},
                "pod": {"namespace": "shop", "name": "shop-1"},
                "container": {"name": "shop"},
                "process": {"pid": 9, "executable": {"path": "/usr/bin/dash"},
                            "args": ["-c", "echo \u{1b}[2J hi"],
                            "ancestors": [{"pid": 7, "executable": {"path": "/shop"}, "args": []},
                                          {"pid": 1, "comm": "picket-tracer"}]},
            }),
            Style::PLAIN,
        );
        assert_eq!(
            shown,
            "HIGH  A shell  Execution:Runtime/X\n\
             \x20 rule shell_from_network_service · pod shop/shop-1 · container shop\n\
             \x20 picket-tracer (1)\n\
             \x20 └─ /shop (7)\n\
             \x20    └─ /usr/bin/dash -c 'echo \\u{1b}[2J hi' (9)\n\
             \x20 what: exec /usr/bin/dash\n\
             \x20 do:   Look.\n"
        );
    }

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        let hostile = "/tmp/\u{1b}[2J\nHIGH";
        let shown = finding(
            &json!({"evt": {"name": "exec"}, "file": {"path": hostile},
                    "process": {"pid": 3, "executable": {"path": hostile},
                                "ancestors": [{"pid": 1, "comm": "\u{1b}c"}]}}),
            Style::PLAIN,
        );
        let is_control = |c: char| c.is_control() && c != '\n';
        assert!(
            !shown.contains(is_control) && !shown.contains("\nHIGH"),
            "{shown:?}"
        );
    }

    #[test]
    fn an_event_about_picket_shows_what_it_is_about() {
        let shown = finding(
            &json!({"evt": {"name": "privilege_lost"},
                    "privilege_lost": {"pid": 9, "path": "/usr/bin/su\u{1b}c",
                                       "lineage": ["/usr/bin/dash", "/shop"]}}),
            Style::PLAIN,
        );
        let expected = "  /shop\n  └─ /usr/bin/dash\n  what: privilege_lost /usr/bin/su";
        assert!(
            shown.contains(expected) && shown.contains("c (9)\n"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "{shown}");
        let shown = finding(
            &json!({"evt": {"name": "tampering"}, "tampering": {"pid": 9, "syscall": "kill"}}),
            Style::PLAIN,
        );
        assert!(shown.contains("what: tampering kill (9)\n"), "{shown}");
        assert!(!shown.contains("null"), "{shown}");
    }

    #[test]
    fn a_memory_file_shows_its_name() {
        let shown = finding(
            &json!({"evt": {"name": "exec"}, "file": {"name": "memfd:x"}, "process": {"pid": 3}}),
            Style::PLAIN,
        );
        assert!(shown.contains("what: exec memfd:x\n"), "{shown}");
    }

    #[test]
    fn a_connection_shows_its_peer_and_a_refusal() {
        let shown = finding(
            &json!({"evt": {"name": "connect", "outcome": "Refused"},
                    "connect": {"addr": {"ip": "10.0.0.1", "port": 443}},
                    "process": {"pid": 3, "comm": "nc"}}),
            Style::PLAIN,
        );
        assert!(
            shown.contains("what: connect 10.0.0.1:443 (Refused)\n"),
            "{shown}"
        );
    }
}
