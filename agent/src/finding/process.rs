//! The process part of a finding.

use picket_events::process;
use serde::Serialize;

use super::session::UserSessionSection;
use super::{FileSection, build::file_section, rfc3339};
use crate::context::Scene;
use crate::scrub;
use crate::tree::ProcessNode;

/// Most ancestors that a finding shows.
const MAX_ANCESTORS: usize = 32;
/// Most bytes of arguments that a finding shows of the process itself.
const MAX_ARGUMENT_BYTES: usize = 4096;
/// Most bytes of arguments that a finding shows of each ancestor.
const MAX_ANCESTOR_ARGUMENT_BYTES: usize = 512;
/// Bytes behind the limit that are scrubbed too, so that a token which the limit cuts in two is
/// still long enough to be known as one.
const SCRUB_MARGIN: usize = 256;
/// Most environment variables that a finding shows.
const MAX_VARIABLES: usize = 64;

/// Names of capabilities by number.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The process that did it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProcessSection {
    /// What every process of the lineage shows.
    #[serde(flatten)]
    pub process: AncestorSection,
    /// Thread.
    pub tid: u32,
    /// All ids and capabilities.
    pub credentials: Credentials,
    /// Interpreter of a script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<FileSection>,
    /// The session that it belongs to, where somebody opened one in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_session: Option<UserSessionSection>,
    /// Working directory when it executed its program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cwd: String,
    /// Names of environment variables, with values only of the few that matter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub envs: Vec<String>,
    /// True when variables were left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub envs_truncated: bool,
    /// The first of the ancestors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<AncestorSection>,
    /// What it descends from, nearest first. A process that executed one program after
    /// another is there once for each that it ran before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<AncestorSection>,
    /// True when there are more ancestors than are shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated_ancestors: bool,
}

/// A process of the lineage.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AncestorSection {
    /// Process id.
    pub pid: u32,
    /// Parent's process id when it was made.
    pub ppid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// User name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Group name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The kernel's name of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comm: String,
    /// Controlling terminal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tty: String,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork_time: Option<String>,
    /// When it executed its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_time: Option<String>,
    /// When it ended, or executed another program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_time: Option<String>,
    /// Program file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<FileSection>,
    /// First argument.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub argv0: String,
    /// The other arguments, secrets masked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// True when arguments were cut or left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_truncated: bool,
    /// True when it inherited its program and did not execute one itself.
    pub is_thread: bool,
}

/// Ids and capabilities.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// User name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Group id.
    pub gid: u32,
    /// Group name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Effective user id.
    pub euid: u32,
    /// Effective user name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub euser: String,
    /// Effective group id.
    pub egid: u32,
    /// Effective group name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub egroup: String,
    /// File system user id.
    pub fsuid: u32,
    /// File system group id.
    pub fsgid: u32,
    /// Login user id of the audit system, where one is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auid: Option<u32>,
    /// Effective capabilities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_effective: Vec<&'static str>,
    /// Permitted capabilities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_permitted: Vec<&'static str>,
}

/// Names of the capabilities in a set; numbers newer than this list are left out.
pub(super) fn capability_names(set: u64) -> Vec<&'static str> {
    let numbered = CAPABILITIES.iter().enumerate();
    numbered
        .filter(|(bit, _)| set & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect()
}

/// The process of an event with its lineage.
pub(super) fn section(scene: &Scene<'_>, node: &ProcessNode) -> ProcessSection {
    let image = &node.program.image;
    let nodes = scene
        .ancestors
        .iter()
        .filter_map(|&key| scene.tree.get(key));
    let ancestors: Vec<AncestorSection> = nodes
        .take(MAX_ANCESTORS)
        .map(|ancestor| brief(scene, ancestor, MAX_ANCESTOR_ARGUMENT_BYTES))
        .collect();
    ProcessSection {
        process: brief(scene, node, MAX_ARGUMENT_BYTES),
        tid: scene.event.tid,
        credentials: credentials(scene, &node.credentials),
        interpreter: image
            .interpreter
            .as_ref()
            .map(|file| file_section(scene, file)),
        user_session: scene.container.user_session.as_ref().map(Into::into),
        cwd: image.cwd.clone(),
        envs: image
            .envs
            .iter()
            .take(MAX_VARIABLES)
            .map(|variable| shown(variable))
            .collect(),
        envs_truncated: image.envs_truncated || image.envs.len() > MAX_VARIABLES,
        parent: ancestors.first().cloned(),
        truncated_ancestors: scene.ancestors.len() > ancestors.len(),
        ancestors,
    }
}

/// A process without its lineage.
pub(super) fn brief(scene: &Scene<'_>, node: &ProcessNode, limit: usize) -> AncestorSection {
    let accounts = &scene.container.accounts;
    let image = &node.program.image;
    let Shown { argv0, args, cut } = shown_arguments(&image.argv, limit);
    let has_file = !image.file.path.is_empty() || !image.file.name.is_empty();
    AncestorSection {
        pid: node.pid,
        ppid: node.parent_pid,
        uid: node.credentials.uid,
        gid: node.credentials.gid,
        user: accounts.user(node.credentials.uid).to_owned(),
        group: accounts.group(node.credentials.gid).to_owned(),
        comm: node.comm().to_owned(),
        tty: image.tty.clone(),
        fork_time: rfc3339(node.started_at),
        exec_time: rfc3339(node.executed_at),
        exit_time: node.ended_at.and_then(rfc3339),
        executable: has_file.then(|| file_section(scene, &image.file)),
        argv0,
        args,
        args_truncated: cut || image.argv_truncated,
        is_thread: !node.is_exec(),
    }
}

/// Arguments as they may be shown.
struct Shown {
    argv0: String,
    args: Vec<String>,
    /// True when not all is shown.
    cut: bool,
}

/// Scrubs arguments and cuts them to a limit in bytes. What is far behind the limit is not
/// even scrubbed: an argument vector can be long, and a lineage has many.
fn shown_arguments(argv: &[String], limit: usize) -> Shown {
    let (near, mut cut) = prefix(argv, limit + SCRUB_MARGIN);
    let mut room = limit;
    let mut args = Vec::with_capacity(near.len());
    for argument in scrub::arguments(&near) {
        let end = argument.floor_char_boundary(room.min(argument.len()));
        cut |= end < argument.len();
        if room == 0 {
            cut = true;
            break;
        }
        args.push(argument[..end].to_owned());
        room = room.saturating_sub(end + 1);
    }
    let argv0 = if args.is_empty() {
        String::new()
    } else {
        args.remove(0)
    };
    Shown { argv0, args, cut }
}

/// The first arguments, up to so many bytes, and whether that is not all of them.
fn prefix(argv: &[String], limit: usize) -> (Vec<String>, bool) {
    let mut room = limit;
    let mut first = Vec::new();
    for argument in argv {
        let end = argument.floor_char_boundary(room.min(argument.len()));
        first.push(argument[..end].to_owned());
        if end < argument.len() {
            return (first, true);
        }
        room = room.saturating_sub(end + 1);
    }
    (first, false)
}

/// A variable as it may be shown: the value of one whose name says that it is secret is not.
fn shown(variable: &str) -> String {
    scrub::arguments(&[String::new(), variable.to_owned()])[1]
        .clone()
        .into_owned()
}

fn credentials(scene: &Scene<'_>, ids: &process::Credentials) -> Credentials {
    let accounts = &scene.container.accounts;
    Credentials {
        uid: ids.uid,
        user: accounts.user(ids.uid).to_owned(),
        gid: ids.gid,
        group: accounts.group(ids.gid).to_owned(),
        euid: ids.euid,
        euser: accounts.user(ids.euid).to_owned(),
        egid: ids.egid,
        egroup: accounts.group(ids.egid).to_owned(),
        fsuid: ids.fsuid,
        fsgid: ids.fsgid,
        auid: (ids.auid != u32::MAX).then_some(ids.auid),
        cap_effective: capability_names(ids.cap_effective),
        cap_permitted: capability_names(ids.cap_permitted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_the_limit_cuts_in_two_does_not_show() {
        let token = format!("ghp_{}", "a".repeat(36));
        for limit in 0..64 {
            let argv = [
                "tool".to_owned(),
                "--x".to_owned(),
                token.clone(),
                "y".to_owned(),
            ];
            let shown = shown_arguments(&argv, limit);
            assert!(
                !shown.args.join(" ").contains("ghp_"),
                "at {limit}: {:?}",
                shown.args
            );
        }
    }

    #[test]
    fn what_is_left_out_is_said() {
        let argv = ["a", "bc", "de"].map(String::from);
        let whole = shown_arguments(&argv, 100);
        assert_eq!(
            (whole.argv0.as_str(), whole.args.len(), whole.cut),
            ("a", 2, false)
        );
        assert!(shown_arguments(&argv, 3).cut);
        assert!(!shown_arguments(&[], 3).cut);
        let endless = vec!["x".repeat(1 << 20); 3];
        let shown = shown_arguments(&endless, 64);
        assert!(shown.cut && shown.argv0.len() == 64 && shown.args.is_empty());
    }
}
