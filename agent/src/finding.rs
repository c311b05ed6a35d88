//! The JSON line: the event as Datadog's agent would report it, what it means, and where it
//! happened.
//!
//! Every field is described for users in `docs/findings.md`. Empty parts are left out.

mod build;
mod date;
mod details;
mod process;
mod session;

use picket_events::finding::{Meaning, PodIdentity};
use serde::Serialize;
use serde_json::{Map, Value};

pub use build::{Context, RuleOutcome, finding, internal};
pub use date::rfc3339;
pub use process::{AncestorSection, Credentials, ProcessSection};
pub use session::UserSessionSection;

/// A finding, or an event about Picket itself: one line of output.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Finding {
    /// One line for people.
    pub title: String,
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// What it means; not there for events that only inform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<MeaningSection>,
    /// The rule, and who evaluated it.
    pub agent: AgentSection,
    /// The event.
    pub evt: EventSection,
    /// User and group of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usr: Option<UserSection>,
    /// The file of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSection>,
    /// The process, with what it descends from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSection>,
    /// What belongs to one event type, under its name.
    #[serde(flatten)]
    pub details: Map<String, Value>,
    /// The container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerSection>,
    /// The pod; not there outside a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodIdentity>,
}

impl Finding {
    /// Copies what `hash` actions have found out about the event's file to the file.
    pub(crate) fn take_hashes(&mut self) {
        let Some(file) = &mut self.file else { return };
        let actions = self.agent.rule_actions.iter();
        let mut about =
            actions.filter(|action| action.action == "hash" && action.path == file.path);
        if let Some(action) = about.next() {
            if file.hashes.is_empty() {
                file.hashes.clone_from(&action.hashes);
            }
            if !file.hash_state.is_empty() || !action.hash_state.is_empty() {
                file.hash_state = if file.hashes.is_empty() {
                    action.hash_state
                } else {
                    crate::hashes::DONE
                };
            }
        }
    }

    /// The finding as one line of JSON, without a line break at its end.
    pub fn to_line(&self) -> String {
        // Every key is text and no value can fail: writing to memory always succeeds.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a finding means.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MeaningSection {
    /// Type, severity, title, remediation, technique.
    #[serde(flatten)]
    pub meaning: Meaning,
    /// The rule's own description.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// True when it was asked for and tells of nothing that happened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sample: bool,
}

/// The rule that matched, and the agent that evaluated it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AgentSection {
    /// Id of the rule, or name of the internal event.
    pub rule_id: String,
    /// Version of the rule.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule_version: String,
    /// Name of the rule's policy file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy_name: String,
    /// Version of that file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy_version: String,
    /// Version of the agent.
    pub version: &'static str,
    /// Operating system.
    pub os: &'static str,
    /// Processor architecture.
    pub arch: &'static str,
    /// How events are got; `ebpfless` as Datadog calls it.
    pub origin: &'static str,
    /// `Monitor` or `Enforce`.
    pub mode: String,
    /// `namespace/name` of the protection policy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protection_policy: String,
    /// Revision of the injection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// What was done, or would have been.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule_actions: Vec<RuleAction>,
}

/// An action of the rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RuleAction {
    /// `kill`, `deny`, `quarantine`, `hash` or `log`.
    #[serde(rename = "type")]
    pub action: &'static str,
    /// `kill_queued`: the tracer was told; `monitor_only`: it would have been in Enforce mode;
    /// `performed`; `error`.
    pub status: &'static str,
    /// Signal that is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// `process` or `container`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'static str>,
    /// Processes that it reaches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pids: Vec<u32>,
    /// File that was hashed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Its sums, as `sha256:…` and `sha1:…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<String>,
    /// `done`, or why it could not be hashed.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub hash_state: &'static str,
    /// The text of a `log` action, or why nothing was done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The event.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EventSection {
    /// Type, as SECL names it.
    pub name: String,
    /// `File Activity`, `Process Activity`, `Network Activity`, `Kernel Activity`, `Agent`.
    pub category: &'static str,
    /// `Success`, `Refused`, `Error` or `Unconfirmed`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub outcome: &'static str,
    /// What the system call returned, where that is known; a failure is a negative errno.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retval: Option<i64>,
    /// Number of the event in its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The rule's expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_context: Option<RuleContext>,
    /// The rule's tags as `key:value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Variables that rules set.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub variables: Map<String, Value>,
}

/// What the rule looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RuleContext {
    /// Its expression.
    pub expression: String,
}

/// User and group of a process.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UserSection {
    /// User name, or the number where the container has no name for it.
    pub id: String,
    /// Group name, or the number.
    pub group: String,
}

/// The container.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ContainerSection {
    /// Name in the pod.
    pub name: String,
    /// The runtime's id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// When its tracer started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

/// A file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FileSection {
    /// Canonical path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Last part of the path, or `memfd:NAME`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Extension with its dot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub extension: String,
    /// Inode number.
    #[serde(skip_serializing_if = "is_zero")]
    pub inode: u64,
    /// Type and permission bits.
    #[serde(skip_serializing_if = "is_zero")]
    pub mode: u64,
    /// Mount.
    #[serde(skip_serializing_if = "is_zero")]
    pub mount_id: u64,
    /// True when the file was changed since the container started.
    pub in_upper_layer: bool,
    /// File system type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filesystem: String,
    /// Owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Owner's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Group's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its sums, where a rule compared them or had them made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<String>,
    /// Where sums were asked for: `done`, or why there are none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub hash_state: &'static str,
    /// Names of the flags of an open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<&'static str>,
    /// Last modification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modification_time: Option<String>,
    /// Last status change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_time: Option<String>,
    /// Why path or metadata is incomplete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_resolution_error: Option<&'static str>,
    /// New name, mode or owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationSection>,
}

/// What a file was turned into.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DestinationSection {
    /// Its new name.
    File(Box<FileSection>),
    /// Its new mode.
    Mode {
        /// Permission bits.
        mode: u32,
    },
    /// Its new owner; what is not there was left alone.
    Owner {
        /// User id.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
        /// User name.
        #[serde(skip_serializing_if = "String::is_empty")]
        user: String,
        /// Group id.
        #[serde(skip_serializing_if = "Option::is_none")]
        gid: Option<u32>,
        /// Group name.
        #[serde(skip_serializing_if = "String::is_empty")]
        group: String,
    },
    /// An extended attribute.
    Attribute {
        /// Full name.
        name: String,
        /// The part before the first dot.
        namespace: String,
    },
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    /// Names of the fields that are written, from the sources: those of a struct that is
    /// flattened into another stand beside the other's.
    fn fields() -> Vec<&'static str> {
        let sources = [
            include_str!("finding.rs"),
            include_str!("finding/process.rs"),
            include_str!("finding/session.rs"),
        ];
        let mut fields = Vec::new();
        for source in sources {
            let mut is_flattened = false;
            let mut lines = source.lines().map(str::trim_start);
            // What stands before is public and no field, what stands behind are no structs.
            lines.by_ref().find(|line| line.starts_with("pub struct "));
            for line in lines.take_while(|line| *line != "#[cfg(test)]") {
                let renamed = line.split("rename = \"").nth(1);
                if let Some(name) = renamed {
                    fields.extend(name.split('"').next());
                }
                is_flattened |= line.contains("(flatten)") || renamed.is_some();
                let name = line
                    .strip_prefix("pub ")
                    .and_then(|line| line.split(':').next());
                let Some(name) = name.filter(|name| !name.contains(' ')) else {
                    continue;
                };
                if !std::mem::take(&mut is_flattened) {
                    fields.push(name);
                }
            }
        }
        fields
    }

    #[test]
    fn every_field_is_documented() {
        let text = include_str!("../../docs/findings.md");
        let fields = fields();
        assert!(fields.len() > 80 && fields.contains(&"rule_actions"));
        // A field of fields is told by what is in it.
        let ends = ["`", "[]`", ".", "{"];
        let is_told = |field: &&str| {
            ends.iter()
                .any(|end| text.contains(&format!("`{field}{end}")))
        };
        let untold: Vec<_> = fields.into_iter().filter(|field| !is_told(field)).collect();
        assert!(untold.is_empty(), "docs/findings.md has no {untold:?}");
    }

    #[test]
    fn what_actions_do_is_documented() {
        let text = include_str!("../../docs/findings.md");
        let source = include_str!("pipeline/actions.rs");
        let mut seen = 0;
        for written in [
            "action: \"",
            "status: \"",
            "=> \"",
            ") => (\"",
            "status = \"",
        ] {
            for word in source.split(written).skip(1) {
                let word = word.split('"').next().unwrap_or_default();
                // Sentences are messages, and these are no states.
                if word.contains(' ') || ["pending", "process", "container"].contains(&word) {
                    continue;
                }
                seen += 1;
                assert!(
                    text.contains(&format!("`{word}`")),
                    "no `{word}` ({written})"
                );
            }
        }
        assert!(seen > 10, "{seen}");
    }
}
