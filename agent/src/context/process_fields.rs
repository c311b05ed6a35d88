//! Fields of a process.

use picket_events::file::base_name;
use picket_rules::Value;

use super::{Scene, clock};
use crate::sessions::UserSession;
use crate::tree::ProcessNode;

/// Answers a field of a process.
pub(super) type ProcessField = for<'a> fn(&'a Scene<'a>, &'a ProcessNode) -> Value<'a>;

const FIELDS: &[(&str, ProcessField)] = &[
    ("pid", |_, process| Value::Int(process.pid.into())),
    ("tid", |scene, process| {
        Value::Int(thread(scene, process).into())
    }),
    ("ppid", |_, process| Value::Int(process.parent_pid.into())),
    ("sid", |_, process| Value::Int(process.session.into())),
    ("cgroup.id", |scene, _| Value::Str(&scene.container.id)),
    ("cgroup.created_at", |scene, _| {
        Value::Int(clock(scene.container.started_at))
    }),
    ("container.id", |scene, _| Value::Str(&scene.container.id)),
    ("container.created_at", |scene, _| {
        Value::Int(clock(scene.container.started_at))
    }),
    ("container.tags", |scene, _| {
        Value::Strs(&scene.container.tags)
    }),
    ("tty_name", |_, process| {
        Value::Str(&process.program.image.tty)
    }),
    ("comm", |_, process| Value::Str(process.comm())),
    ("cwd", |_, process| Value::Str(&process.program.image.cwd)),
    ("called.path", |_, process| {
        Value::Str(&process.program.image.called)
    }),
    ("called.name", |_, process| {
        Value::Str(base_name(&process.program.image.called))
    }),
    ("created_at", |_, process| {
        Value::Int(clock(process.started_at))
    }),
    ("uid", |_, process| {
        Value::Int(process.credentials.uid.into())
    }),
    ("gid", |_, process| {
        Value::Int(process.credentials.gid.into())
    }),
    ("euid", |_, process| {
        Value::Int(process.credentials.euid.into())
    }),
    ("egid", |_, process| {
        Value::Int(process.credentials.egid.into())
    }),
    ("fsuid", |_, process| {
        Value::Int(process.credentials.fsuid.into())
    }),
    ("fsgid", |_, process| {
        Value::Int(process.credentials.fsgid.into())
    }),
    ("auid", |_, process| {
        Value::Int(process.credentials.auid.into())
    }),
    ("user", |scene, process| {
        Value::Str(scene.container.accounts.user(process.credentials.uid))
    }),
    ("group", |scene, process| {
        Value::Str(scene.container.accounts.group(process.credentials.gid))
    }),
    ("euser", |scene, process| {
        Value::Str(scene.container.accounts.user(process.credentials.euid))
    }),
    ("egroup", |scene, process| {
        Value::Str(scene.container.accounts.group(process.credentials.egid))
    }),
    ("fsuser", |scene, process| {
        Value::Str(scene.container.accounts.user(process.credentials.fsuid))
    }),
    ("fsgroup", |scene, process| {
        Value::Str(scene.container.accounts.group(process.credentials.fsgid))
    }),
    ("cap_effective", |_, process| {
        Value::Int(process.credentials.cap_effective as i64)
    }),
    ("cap_permitted", |_, process| {
        Value::Int(process.credentials.cap_permitted as i64)
    }),
    ("argv0", |_, process| Value::Str(process.program.argv0())),
    ("args", |_, process| Value::Str(&process.program.args)),
    ("argv", |_, process| {
        Value::Strs(process.program.arguments())
    }),
    ("args_flags", |_, process| {
        Value::Strs(&process.program.flags)
    }),
    ("args_options", |_, process| {
        Value::Strs(&process.program.options)
    }),
    ("args_truncated", |_, process| {
        Value::Bool(process.program.image.argv_truncated)
    }),
    ("envs", |_, process| {
        Value::Strs(process.program.environment())
    }),
    ("envp", |_, process| {
        Value::Strs(&process.program.image.envs)
    }),
    ("envs_truncated", |_, process| {
        Value::Bool(process.program.image.envs_truncated)
    }),
    ("is_thread", |_, process| Value::Bool(!process.is_exec())),
    ("user_session.id", |scene, _| {
        Value::Str(session(scene).map_or("", |session| &session.id))
    }),
    ("user_session.session_type", |scene, _| {
        Value::Int(session(scene).map_or(0, |_| K8S_SESSION))
    }),
    ("user_session.k8s_username", |scene, _| {
        Value::Str(session(scene).map_or("", |session| &session.username))
    }),
    ("user_session.k8s_uid", |scene, _| {
        Value::Str(session(scene).map_or("", |session| &session.uid))
    }),
    ("user_session.k8s_groups", |scene, _| {
        Value::Strs(session(scene).map_or(&[], |session| &session.groups))
    }),
    // Kernel threads belong to no container.
    ("is_kworker", |_, _| Value::Bool(false)),
    ("is_exec", |_, process| Value::Bool(process.is_exec())),
];

/// SECL's number for a session that came through Kubernetes.
const K8S_SESSION: i64 = 1;

fn session<'a>(scene: &Scene<'a>) -> Option<&'a UserSession> {
    scene.container.user_session.as_ref()
}

pub(super) fn find(name: &str) -> Option<ProcessField> {
    FIELDS
        .iter()
        .find(|(field, _)| *field == name)
        .map(|(_, get)| *get)
}

/// The thread that did it; for any other process than the event's, its first.
fn thread(scene: &Scene<'_>, process: &ProcessNode) -> u32 {
    if process.pid == scene.event.pid {
        scene.event.tid
    } else {
        process.pid
    }
}
