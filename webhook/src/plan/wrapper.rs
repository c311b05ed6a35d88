//! How the tracer is put before a command, and how it is taken out again.

use picket_crds::{Engine, MOUNT_PATH};
use serde_json::Value;

use crate::sessions::Issued;
use crate::status::{ArgvSource, ContainerStatus};

/// The tracer's word for a command that somebody runs in a container.
const SESSION: &str = "exec-session";

/// The tracer in the shared volume.
fn tracer() -> String {
    format!("{MOUNT_PATH}/picket-tracer")
}

/// Datadog's tracer in the shared volume.
fn datadog_tracer() -> String {
    format!("{MOUNT_PATH}/cws-instrumentation")
}

/// The `command` that runs the tracer; what it traces goes into `args`.
pub(super) fn traced_command(container: &str, interest: &str, engine: Engine) -> Vec<String> {
    let engine: &[&str] = match engine {
        Engine::Auto => &[],
        Engine::Ptrace => &["--engine", "ptrace"],
    };
    let tracer = tracer();
    let flags = ["--container", container, "--interest", interest];
    [tracer.as_str(), "trace"]
        .iter()
        .chain(&flags)
        .chain(engine)
        .chain(&["--"])
        .map(|word| (*word).to_owned())
        .collect()
}

/// What stands before a command that somebody runs in a container.
pub(super) fn session_command(container: &str, interest: &str, session: &Issued) -> Vec<String> {
    [
        &tracer(),
        SESSION,
        "--container",
        &format!("{container}:{}", session.name),
        "--interest",
        interest,
        "--session",
        &session.token,
        "--",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A command without what [`session_command`] puts before it, however often.
pub(super) fn without_session(mut words: Vec<String>) -> Vec<String> {
    while words.len() > 2 && words[0] == tracer() && words[1] == SESSION {
        match words.iter().position(|word| word == "--") {
            Some(end) if end + 1 < words.len() => drop(words.drain(..=end)),
            _ => break,
        }
    }
    words
}

/// The `command` that runs Datadog's tracer.
pub(super) fn datadog_command(waits_for_nobody: bool) -> Vec<String> {
    let flags = ["--async"].into_iter().take(usize::from(waits_for_nobody));
    [datadog_tracer().as_str(), "trace"]
        .into_iter()
        .chain(flags)
        .chain(["--"])
        .map(str::to_owned)
        .collect()
}

/// A command without our tracer; `None` when that is not in it.
pub(super) fn without_tracer(mut words: Vec<String>) -> Option<Vec<String>> {
    let mut found = false;
    while let Some((from, to)) = find_tracer(&words, &[]) {
        found = true;
        words.drain(from..=to);
    }
    found.then_some(words)
}

/// `command` and `args` of a container without our tracer: `None` where there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) command: Option<Vec<String>>,
    pub(super) args: Option<Vec<String>>,
}

/// Takes our tracer out of a container's `command` and `args`, wherever it stands there
/// (another webhook may have put a wrapper of its own before it). `None` when it is not there.
///
/// `recorded` tells where `command` ended; if it does not fit, everything becomes `command`,
/// which runs the same.
pub(super) fn unwrap(container: &Value, recorded: Option<&ContainerStatus>) -> Option<Own> {
    if ![&container["command"], &container["args"]]
        .into_iter()
        .any(names_tracer)
    {
        return None;
    }
    let mut command = strings(&container["command"]);
    let mut args = strings(&container["args"]);
    let mut found = false;
    let mut first = false;
    while let Some((from, to)) = find_tracer(&command, &args) {
        found = true;
        first = from == 0;
        let boundary = command.len();
        args.drain(from.saturating_sub(boundary)..(to + 1).saturating_sub(boundary));
        command.drain(from.min(boundary)..(to + 1).min(boundary));
    }
    if !found {
        return None;
    }
    if !first || !command.is_empty() {
        return Some(Own {
            command: present(command),
            args: present(args),
        });
    }
    Some(split(args, recorded))
}

fn split(words: Vec<String>, recorded: Option<&ContainerStatus>) -> Own {
    let Some(ContainerStatus {
        argv_source: Some(source),
        command,
        args,
        ..
    }) = recorded
    else {
        return Own {
            command: present(words),
            args: None,
        };
    };
    let at = match (source, command, args) {
        (ArgvSource::Spec, Some(command), args) if command + args.unwrap_or(0) == words.len() => {
            *command
        }
        (ArgvSource::Override | ArgvSource::Image, None, Some(args)) if *args <= words.len() => {
            let own = words[words.len() - args..].to_vec();
            return Own {
                command: None,
                args: present(own),
            };
        }
        (ArgvSource::Override | ArgvSource::Image, None, None) => {
            return Own {
                command: None,
                args: None,
            };
        }
        _ => words.len(),
    };
    let (command, args) = words.split_at(at);
    Own {
        command: present(command.to_vec()),
        args: present(args.to_vec()),
    }
}

/// Whether a tracer is among the words of a list. Most containers come without, and need not be
/// looked at any closer.
pub(super) fn names_tracer(words: &Value) -> bool {
    let words = words.as_array().into_iter().flatten();
    let mut words = words.filter_map(Value::as_str);
    let programs = [tracer(), datadog_tracer()];
    words.any(|word| programs.iter().any(|program| program == word))
}

/// First and last index of our tracer and its flags in `command` followed by `args`.
pub(super) fn find_tracer(command: &[String], args: &[String]) -> Option<(usize, usize)> {
    let words: Vec<&str> = command.iter().chain(args).map(String::as_str).collect();
    let programs = [tracer(), datadog_tracer()];
    let from = words
        .windows(2)
        .position(|pair| pair[1] == "trace" && programs.iter().any(|program| program == pair[0]))?;
    let flags = words[from..].iter().position(|word| *word == "--")?;
    Some((from, from + flags))
}

fn present(words: Vec<String>) -> Option<Vec<String>> {
    Some(words).filter(|words| !words.is_empty())
}

/// The strings of a list; empty when it is none.
pub(super) fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn recorded(
        source: ArgvSource,
        command: Option<usize>,
        args: Option<usize>,
    ) -> ContainerStatus {
        ContainerStatus {
            name: "web".into(),
            argv_source: Some(source),
            command,
            args,
            image: None,
            pinned: false,
            skipped: None,
        }
    }

    fn own(command: &[&str], args: &[&str]) -> Own {
        let owned = |words: &[&str]| present(words.iter().map(|word| (*word).to_owned()).collect());
        Own {
            command: owned(command),
            args: owned(args),
        }
    }

    #[test]
    fn what_was_wrapped_comes_back() {
        let container = |words: &[&str]| json!({"command": traced_command("web", "all", Engine::Auto), "args": words});
        use ArgvSource::*;
        for (words, status, expected) in [
            (
                &["a", "b"][..],
                Some(recorded(Spec, Some(1), Some(1))),
                own(&["a"], &["b"]),
            ),
            (
                &["a", "b"],
                Some(recorded(Spec, Some(2), None)),
                own(&["a", "b"], &[]),
            ),
            (
                &["a", "b"],
                Some(recorded(Spec, Some(7), None)),
                own(&["a", "b"], &[]),
            ),
            (&["a", "b"], None, own(&["a", "b"], &[])),
            (
                &["a", "b"],
                Some(recorded(Override, None, Some(1))),
                own(&[], &["b"]),
            ),
            (
                &["a", "b"],
                Some(recorded(Override, None, None)),
                own(&[], &[]),
            ),
        ] {
            assert_eq!(
                unwrap(&container(words), status.as_ref()),
                Some(expected),
                "{status:?}"
            );
        }
    }

    #[test]
    fn a_wrapper_of_someone_else_stays() {
        let mut args = traced_command("web", "all", Engine::Auto);
        args.extend(["app".to_owned(), "-v".to_owned()]);
        let container = json!({"command": ["/vault/vault-env"], "args": args});
        let status = recorded(ArgvSource::Spec, Some(1), Some(1));
        assert_eq!(
            unwrap(&container, Some(&status)),
            Some(own(&["/vault/vault-env"], &["app", "-v"]))
        );
    }

    #[test]
    fn a_container_without_our_tracer_is_not_touched() {
        assert_eq!(unwrap(&json!({"command": ["a", "--"]}), None), None);
        assert_eq!(
            unwrap(
                &json!({"command": ["/picket/picket-tracer", "trace", "a"]}),
                None
            ),
            None
        );
    }
}
