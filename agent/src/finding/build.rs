//! Puts findings together.

use picket_events::file::FileFault;
use picket_events::finding::Meaning;
use picket_events::{Event, EventKind, File, Outcome};
use picket_rules::Rule;
use serde_json::{Map, Value};

use super::{
    AgentSection, ContainerSection, DestinationSection, EventSection, FileSection, Finding,
    MeaningSection, RuleAction, RuleContext, UserSection, details, process, rfc3339,
};
use crate::context::{ContainerInfo, Scene};
use crate::identity::{Identity, Mode};

/// EPERM and EACCES: the kernel, or we, said no.
const REFUSALS: [i64; 2] = [-1, -13];

/// Tags that say what a finding means.
const MEANING_TAGS: [&str; 5] = ["finding", "severity", "title", "remediation", "technique"];

/// Names of the flags of an open, by bit; access modes and combined bits are apart.
const OPEN_FLAGS: &[(u32, &str)] = &[
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o10000, "O_DSYNC"),
    (0o20000, "FASYNC"),
    #[cfg(not(target_arch = "aarch64"))]
    (0o40000, "O_DIRECT"),
    #[cfg(target_arch = "aarch64")]
    (0o200000, "O_DIRECT"),
    #[cfg(not(target_arch = "aarch64"))]
    (0o200000, "O_DIRECTORY"),
    #[cfg(target_arch = "aarch64")]
    (0o40000, "O_DIRECTORY"),
    #[cfg(not(target_arch = "aarch64"))]
    (0o400000, "O_NOFOLLOW"),
    #[cfg(target_arch = "aarch64")]
    (0o100000, "O_NOFOLLOW"),
    (0o1000000, "O_NOATIME"),
    (0o2000000, "O_CLOEXEC"),
    (0o10000000, "O_PATH"),
    (0o20000000, "O_TMPFILE"),
];

/// What a finding needs beside the event.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The pod and the agent.
    pub identity: &'a Identity,
    /// The container, where it is about one.
    pub container: Option<&'a ContainerInfo>,
}

/// What a rule said of an event.
#[derive(Debug)]
pub struct RuleOutcome<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What was done.
    pub actions: Vec<RuleAction>,
    /// Variables that are set.
    pub variables: Map<String, Value>,
}

/// The finding for a rule that matched an event.
pub fn finding(scene: &Scene<'_>, outcome: RuleOutcome<'_>) -> Finding {
    let RuleOutcome {
        rule,
        actions,
        variables,
    } = outcome;
    let meaning = rule.meaning();
    let event = scene.event;
    let context = Context {
        identity: scene.identity,
        container: Some(scene.container),
    };
    let mut finding = envelope(&context, &rule.id, event.time);
    finding.title = meaning.title.clone();
    let mut description = rule.description.clone();
    if description == meaning.title {
        description.clear();
    }
    finding.finding = Some(MeaningSection {
        meaning,
        description,
        sample: false,
    });
    finding.agent.rule_version = rule.version.clone();
    finding.agent.policy_name = rule.policy.clone();
    finding.agent.policy_version = rule.policy_version.clone();
    finding.agent.rule_actions = actions;
    finding.evt = EventSection {
        name: scene.name.to_owned(),
        category: details::category(scene),
        outcome: outcome_word(event.outcome),
        retval: known_retval(event.outcome),
        sequence: Some(event.sequence),
        rule_context: Some(RuleContext {
            expression: rule.expression.clone(),
        }),
        tags: other_tags(rule),
        variables,
    };
    let process = match event.kind {
        EventKind::Exec(_) => scene.executed,
        _ => scene.process,
    };
    finding.usr = process.map(|process| UserSection {
        id: name_or_number(
            scene.container.accounts.user(process.credentials.uid),
            process.credentials.uid,
        ),
        group: name_or_number(
            scene.container.accounts.group(process.credentials.gid),
            process.credentials.gid,
        ),
    });
    finding.file = event_file(scene);
    finding.take_hashes();
    finding.process = process.map(|process| process::section(scene, process));
    finding.details = details::details(scene);
    finding
}

/// An event about Picket itself: `name` is its rule id, under which `body` stands too.
pub fn internal(
    context: &Context<'_>,
    name: &'static str,
    meaning: Option<Meaning>,
    body: Value,
    time: u64,
) -> Finding {
    let mut finding = envelope(context, name, time);
    finding.title = meaning
        .as_ref()
        .map_or_else(|| name.replace('_', " "), |meaning| meaning.title.clone());
    finding.finding = meaning.map(|meaning| MeaningSection {
        meaning,
        description: String::new(),
        sample: false,
    });
    finding.evt.name = name.to_owned();
    finding.evt.category = "Agent";
    finding.details.insert(name.to_owned(), body);
    finding
}

fn envelope(context: &Context<'_>, rule_id: &str, time: u64) -> Finding {
    let identity = context.identity;
    Finding {
        date: rfc3339(time),
        agent: AgentSection {
            rule_id: rule_id.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            os: "linux",
            arch: std::env::consts::ARCH,
            origin: "ebpfless",
            mode: match identity.mode {
                Mode::Monitor => "Monitor".to_owned(),
                Mode::Enforce => "Enforce".to_owned(),
            },
            protection_policy: identity.policy.clone(),
            revision: identity.revision.clone(),
            ..AgentSection::default()
        },
        container: context.container.map(|container| ContainerSection {
            name: container.name.clone(),
            id: container.id.clone(),
            created_at: rfc3339(container.started_at),
        }),
        pod: (!identity.is_local()).then(|| identity.pod.clone()),
        ..Finding::default()
    }
}

/// The rule's tags, without those that `finding` shows.
fn other_tags(rule: &Rule) -> Vec<String> {
    let tags = rule
        .tags
        .iter()
        .filter(|(key, _)| !MEANING_TAGS.contains(&key.as_str()));
    tags.map(|(key, value)| format!("{key}:{value}")).collect()
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Denied(_) => "Refused",
        Outcome::Returned(value) if REFUSALS.contains(&value) => "Refused",
        Outcome::Returned(value) if value < 0 => "Error",
        Outcome::Returned(_) | Outcome::Succeeded => "Success",
        Outcome::Unconfirmed => "Unconfirmed",
    }
}

fn known_retval(outcome: Outcome) -> Option<i64> {
    match outcome {
        Outcome::Returned(_) | Outcome::Denied(_) => Some(outcome.retval()),
        Outcome::Succeeded | Outcome::Unconfirmed => None,
    }
}

fn name_or_number(name: &str, number: u32) -> String {
    if name.is_empty() {
        number.to_string()
    } else {
        name.to_owned()
    }
}

fn event_file(scene: &Scene<'_>) -> Option<FileSection> {
    let Event { kind, .. } = scene.event;
    let mut section = file_section(scene, kind.file()?);
    if let EventKind::Open { flags, .. } = kind {
        section.flags = open_flags(*flags);
    }
    section.destination = destination(scene, kind);
    Some(section)
}

fn destination(scene: &Scene<'_>, kind: &EventKind) -> Option<DestinationSection> {
    let accounts = &scene.container.accounts;
    Some(match kind {
        EventKind::Rename { to: file, .. } | EventKind::Link { link: file, .. } => {
            DestinationSection::File(Box::new(file_section(scene, file)))
        }
        EventKind::Chmod { mode, .. } | EventKind::Mkdir { mode, .. } => {
            DestinationSection::Mode { mode: *mode }
        }
        EventKind::Open { mode, .. } if *mode != 0 => DestinationSection::Mode { mode: *mode },
        EventKind::Chown { uid, gid, .. } => DestinationSection::Owner {
            uid: *uid,
            user: uid
                .map(|id| accounts.user(id).to_owned())
                .unwrap_or_default(),
            gid: *gid,
            group: gid
                .map(|id| accounts.group(id).to_owned())
                .unwrap_or_default(),
        },
        EventKind::SetXattr { name, .. } | EventKind::RemoveXattr { name, .. } => {
            let namespace = name.split_once('.').map_or("", |(namespace, _)| namespace);
            DestinationSection::Attribute {
                name: name.clone(),
                namespace: namespace.to_owned(),
            }
        }
        _ => return None,
    })
}

/// A file as a finding shows it.
pub(super) fn file_section(scene: &Scene<'_>, file: &File) -> FileSection {
    // Without metadata, owner 0 would read as root.
    let seen = file.inode != 0;
    let accounts = &scene.container.accounts;
    FileSection {
        path: file.path.clone(),
        name: file.name.to_string(),
        extension: file.extension().to_owned(),
        inode: file.inode,
        mode: file.mode.into(),
        mount_id: file.mount_id,
        in_upper_layer: scene.is_changed(file),
        filesystem: file.filesystem.to_string(),
        uid: seen.then_some(file.uid),
        gid: seen.then_some(file.gid),
        user: if seen {
            accounts.user(file.uid).to_owned()
        } else {
            String::new()
        },
        group: if seen {
            accounts.group(file.gid).to_owned()
        } else {
            String::new()
        },
        hashes: scene.derived.hashes(file).to_vec(),
        hash_state: scene.derived.hash_state(file),
        flags: Vec::new(),
        modification_time: rfc3339(file.modification_time),
        change_time: rfc3339(file.change_time),
        path_resolution_error: file.fault.map(|fault| match fault {
            FileFault::Unreadable => "unreadable",
            FileFault::Unresolved => "unresolved",
            FileFault::NoMetadata => "no_metadata",
        }),
        destination: None,
    }
}

/// Names of the flags that an open was called with.
fn open_flags(flags: u32) -> Vec<&'static str> {
    let access = match flags & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        _ => "O_RDWR",
    };
    let named = OPEN_FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    std::iter::once(access)
        .chain(named.map(|(_, name)| *name))
        .collect()
}
