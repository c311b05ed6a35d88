//! Events about Picket itself: their names, and what those mean that somebody should look at.

use picket_events::finding::{Meaning, Severity};
use picket_rules::{LoadReport, RuleSet, Status};
use serde_json::{Value, json};

/// Rules were loaded; body: what became of each.
pub(super) const RULESET_LOADED: &str = "ruleset_loaded";
/// The agent is alive; body: what it did since it started.
pub(super) const HEARTBEAT: &str = "heartbeat";
/// A tracer said hello for a container.
pub(super) const CONTAINER_CONNECTED: &str = "container_connected";
/// A container's application ended.
pub(super) const CONTAINER_ENDED: &str = "container_ended";
/// A container runs untraced.
pub(super) const NOT_TRACED: &str = "not_traced";
/// A tracer's worker died and was replaced.
pub(super) const TRACER_RESTARTED: &str = "tracer_restarted";
/// A process laid hands on the tracer.
pub(super) const TAMPERING: &str = "tampering";
/// A program did not get the privilege that its file gives.
pub(super) const PRIVILEGE_LOST: &str = "privilege_lost";
/// A process keeps the tracer from looking into it.
pub(super) const HIDDEN_PROCESS: &str = "hidden_process";
/// Events never arrived.
pub(super) const LOST_EVENTS: &str = "lost_events";
/// Findings could not be written.
pub(super) const LOST_FINDINGS: &str = "lost_findings";
/// Something spoke to the agent's socket that is no tracer.
pub(super) const MALFORMED_MESSAGE: &str = "malformed_message";
/// Somebody spoke for a container with another key.
pub(super) const FORGED_SESSION: &str = "forged_session";
/// A session was opened in a container, and nobody vouches for who did.
pub(super) const UNIDENTIFIED_SESSION: &str = "unidentified_session";
/// A container's filter does not show what the rules need.
pub(super) const RULES_NEED_RESTART: &str = "rules_need_restart";
/// Files that rules are about are not watched for reads.
pub(super) const READS_UNWATCHED: &str = "reads_unwatched";

/// The pod was cut off from the network, or let go again.
pub(super) const QUARANTINE: &str = "quarantine";
/// Connections that were open when the pod was cut off, and stay open.
pub(super) const OPEN_CONNECTIONS: &str = "open_connections";

/// What an event of this name means; `None` for those that only inform.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    let (finding_type, severity, title, remediation, technique) = match name {
        NOT_TRACED => (
            "Picket:Coverage/NotTraced",
            Severity::High,
            "A container runs untraced",
            "Run `picket doctor` in a pod on the same node type; it says what the sandbox refuses. \
             Until then this container is not protected.",
            "",
        ),
        TRACER_RESTARTED => (
            "Picket:Coverage/TracerRestarted",
            Severity::Medium,
            "The tracer of a container died and was replaced",
            "What happened in between was not seen. Look at what ran at that time, and report it \
             if nobody attacked the tracer.",
            "",
        ),
        TAMPERING => (
            "DefenseEvasion:Picket/Tampering",
            Severity::High,
            "A process tried to signal, trace or write to the tracer",
            "It was refused. No honest program does this: look at the process and at what it \
             descends from, and replace the pod.",
            "T1562.001",
        ),
        PRIVILEGE_LOST => (
            "Picket:Coverage/PrivilegeLost",
            Severity::Info,
            "A setuid or file-capability program runs without its privilege",
            "Tracing sets no_new_privs. If the program needs the privilege, exclude the container \
             or give it the capability in its security context.",
            "",
        ),
        HIDDEN_PROCESS => (
            "DefenseEvasion:Picket/HiddenProcess",
            Severity::Medium,
            "A process keeps the tracer from looking into it",
            "It is not dumpable: it has said so, has changed its user or group, or runs a program \
             that may not be read, or it descends from such a one; or what it names stands in memory \
             that only the kernel shares with it. What its calls name is not known, \
             and rules on paths do not match; reads of watched files are still seen. Look at what it \
             runs and at what it descends from. A server that gives root up and then forks is seen if \
             the container is started as its user (`runAsUser`), or, where the platform gives that, \
             with CAP_SYS_PTRACE.",
            "T1562.001",
        ),
        LOST_EVENTS => (
            "Picket:Coverage/LostEvents",
            Severity::Medium,
            "Events were lost",
            "An attack may hide among them. Give the agent more CPU, or narrow the rules.",
            "",
        ),
        LOST_FINDINGS => (
            "Picket:Coverage/LostFindings",
            Severity::Medium,
            "Findings were lost because the output was full",
            "Find out why the log is not read, and silence the rule that reports too much.",
            "",
        ),
        MALFORMED_MESSAGE => (
            "DefenseEvasion:Picket/MalformedMessage",
            Severity::High,
            "Something that is no tracer spoke to the agent",
            "Tracers refuse their processes this socket, so an untraced process did it: look for \
             one in the pod.",
            "T1562.001",
        ),
        FORGED_SESSION => (
            "DefenseEvasion:Picket/ForgedSession",
            Severity::High,
            "Somebody tried to speak for a container in its tracer's place",
            "Tracers refuse their processes this socket, so an untraced process did it: look for \
             one in the pod.",
            "T1562.001",
        ),
        UNIDENTIFIED_SESSION => (
            "DefenseEvasion:Picket/UnidentifiedSession",
            Severity::Medium,
            "A session was opened in a container, and it is not known by whom",
            "`kubectl exec` runs under the tracer with the operator's word on who the caller is. \
             This one came without, or with one that does not count (`reason`). Look into the \
             cluster's audit log for `pods/exec` at that time; where it has nothing, somebody in \
             the container imitates a session.",
            "T1609",
        ),
        OPEN_CONNECTIONS => (
            "Picket:Response/OpenConnections",
            Severity::Low,
            "Connections stay open in quarantine",
            "New connections are refused, these are not cut: whoever is at their other end can \
             still talk to the pod. Delete the pod once you have what you need of it.",
            "",
        ),
        RULES_NEED_RESTART => (
            "Picket:Coverage/RulesNeedRestart",
            Severity::Low,
            "The rules need events that a container's filter does not show",
            "Restart the pod: filters are built when a container starts.",
            "",
        ),
        READS_UNWATCHED => (
            "Picket:Coverage/ReadsUnwatched",
            Severity::Low,
            "Some reads of files that rules are about are not seen",
            "These files cannot be watched (`reason`), so programs that open them as most do \
             (python3, tar) go unseen, and where `plain_reads_seen` is false grep does too. Remove \
             what is in the way (too many files that fit a rule, inotify limits of the node), then \
             restart the pod; or have a rule for them without a condition on `open.flags`: the \
             tracer then stops for every open.",
            "",
        ),
        RULESET_LOADED => (
            "Picket:Coverage/RulesRefused",
            Severity::Medium,
            "Some rules did not load",
            "Each refused rule is named with file, line and column; `picket rules check` shows \
             the place.",
            "",
        ),
        _ => return None,
    };
    Some(Meaning {
        finding_type: finding_type.to_owned(),
        severity,
        title: title.to_owned(),
        remediation: remediation.to_owned(),
        technique: technique.to_owned(),
    })
}

/// The body of `ruleset_loaded`. Expressions are shown only of rules that did not load.
pub(super) fn ruleset_loaded(rules: &RuleSet, report: &LoadReport) -> Value {
    let policies: Vec<Value> = report
        .policies
        .iter()
        .map(|policy| {
            let rules: Vec<Value> = policy.rules.iter().map(rule_report).collect();
            let mut body = json!({
                "name": policy.name, "source": policy.origin, "version": policy.version,
                "status": policy.status, "rules": rules,
            });
            if !policy.errors.is_empty() {
                body["errors"] = json!(policy.errors.iter().map(fault).collect::<Vec<_>>());
            }
            body
        })
        .collect();
    let mut body = json!({
        "hash": rules.hash(), "rules": rules.rules().len(),
        "interest": rules.interest().to_string(), "policies": policies,
    });
    if !report.lists.is_empty() {
        body["lists"] = report.lists.iter().map(list_report).collect();
    }
    body
}

fn list_report(list: &picket_rules::ListReport) -> Value {
    let mut body = json!({
        "name": list.name, "source": list.origin, "status": list.status, "entries": list.entries,
    });
    if !list.errors.is_empty() {
        body["errors"] = json!(list.errors.iter().map(fault).collect::<Vec<_>>());
    }
    body
}

fn rule_report(rule: &picket_rules::RuleReport) -> Value {
    let mut body = json!({"id": rule.id, "status": rule.status});
    if !rule.version.is_empty() {
        body["version"] = json!(rule.version);
    }
    if let Some(error) = &rule.error {
        body["message"] = json!(error.to_string());
        merge_place(&mut body, error);
    }
    if rule.status == Status::Error {
        body["expression"] = json!(rule.expression);
    }
    if !rule.warnings.is_empty() {
        body["warnings"] = json!(rule.warnings);
    }
    if !rule.modified_by.is_empty() {
        body["modified_by"] = json!(rule.modified_by);
    }
    body
}

fn fault(error: &picket_rules::LoadError) -> Value {
    let mut body = json!({"message": error.to_string()});
    if !error.id.is_empty() {
        body["id"] = json!(error.id);
    }
    merge_place(&mut body, error);
    body
}

fn merge_place(body: &mut Value, error: &picket_rules::LoadError) {
    if let Some(position) = error.file {
        body["line"] = json!(position.line);
        body["column"] = json!(position.column);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of all events about Picket, from this very file.
    fn names() -> Vec<&'static str> {
        let lines = include_str!("internal.rs").lines();
        let constants = lines.filter(|line| line.starts_with("pub(super) const "));
        constants
            .filter_map(|line| line.split('"').nth(1))
            .collect()
    }

    #[test]
    fn every_event_about_picket_is_documented_with_its_severity() {
        let text = include_str!("../../../docs/findings.md");
        assert!(names().len() > 15);
        for name in names() {
            let severity = meaning(name).map(|meaning| meaning.severity);
            let row = match severity {
                Some(severity) => format!("\n| `{name}` | {} | ", severity.name()),
                None => format!("\n| `{name}` | "),
            };
            assert!(text.contains(&row), "docs/findings.md has no row {row}");
        }
    }
}
