//! What a container runs, and how the tracer is put before it.

use picket_crds::{EntrypointOverride, MOUNT_PATH};
use serde_json::Value;

use crate::glob;
use crate::reason::Reason;
use crate::status::{ArgvSource, ContainerStatus};

/// What a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argv {
    /// Program and arguments, as Kubernetes has to be told them.
    pub(super) words: Vec<String>,
    /// Where they came from.
    pub(super) source: ArgvSource,
}

/// The tracer in the shared volume.
fn tracer() -> String {
    format!("{MOUNT_PATH}/picket-tracer")
}

/// What a container runs, by Kubernetes' rules: `command` and `args`; without `command` the
/// image's ENTRYPOINT and `args`, or its CMD where there are no `args`.
///
/// # Errors
/// [`Reason::EntrypointUnresolved`] or [`Reason::NoEntrypoint`].
pub(super) fn resolve(container: &Value, overrides: &[EntrypointOverride]) -> Result<Argv, Reason> {
    let command = strings(&container["command"]);
    let args = strings(&container["args"]);
    if !command.is_empty() {
        return Ok(Argv {
            words: [command, args].concat(),
            source: ArgvSource::Spec,
        });
    }
    let name = container["name"].as_str().unwrap_or_default();
    let image = container["image"].as_str().unwrap_or_default();
    let fits = |pattern: &Option<String>, text: &str| {
        pattern
            .as_ref()
            .is_none_or(|pattern| glob::matches(pattern, text))
    };
    let known = overrides
        .iter()
        .find(|known| fits(&known.container, name) && fits(&known.image, image))
        .ok_or(Reason::EntrypointUnresolved)?;
    let mut words: Vec<String> = known.entrypoint.iter().map(|word| doubled(word)).collect();
    if args.is_empty() {
        words.extend(known.cmd.iter().map(|word| doubled(word)));
    } else {
        words.extend(args);
    }
    if words.is_empty() {
        return Err(Reason::NoEntrypoint);
    }
    Ok(Argv {
        words,
        source: ArgvSource::Override,
    })
}

/// Kubelet expands `$(VAR)` and `$$` in `command` and `args`, but never in an image's own
/// values, so every `$` of those has to be doubled when they move.
fn doubled(word: &str) -> String {
    word.replace('$', "$$")
}

/// The `command` that runs the tracer; what it traces goes into `args`.
pub(super) fn traced_command(container: &str, interest: &str) -> Vec<String> {
    [
        &tracer(),
        "trace",
        "--container",
        container,
        "--interest",
        interest,
        "--",
    ]
    .map(str::to_owned)
    .to_vec()
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
        (ArgvSource::Override, None, Some(args)) if *args <= words.len() => {
            let own = words[words.len() - args..].to_vec();
            return Own {
                command: None,
                args: present(own),
            };
        }
        (ArgvSource::Override, None, None) => {
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

/// First and last index of our tracer and its flags in `command` followed by `args`.
fn find_tracer(command: &[String], args: &[String]) -> Option<(usize, usize)> {
    let words: Vec<&str> = command.iter().chain(args).map(String::as_str).collect();
    let program = tracer();
    let from = words
        .windows(2)
        .position(|pair| pair == [program.as_str(), "trace"])?;
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

    fn nginx() -> EntrypointOverride {
        EntrypointOverride {
            image: Some("nginx*".into()),
            entrypoint: vec!["/entry.sh".into(), "$HOME".into()],
            cmd: vec!["nginx".into()],
            ..EntrypointOverride::default()
        }
    }

    #[test]
    fn kubernetes_rules_by_table() {
        let overrides = [nginx()];
        for (container, expected) in [
            (json!({"command": ["a"], "args": ["$(B)"]}), Ok("a $(B)")),
            (json!({"command": ["a"]}), Ok("a")),
            (json!({"command": ["a"], "image": "nginx:1"}), Ok("a")),
            (
                json!({"args": ["-v", "$(X)"], "image": "nginx:1"}),
                Ok("/entry.sh $$HOME -v $(X)"),
            ),
            (json!({"image": "nginx:1"}), Ok("/entry.sh $$HOME nginx")),
            (
                json!({"command": [], "args": [], "image": "nginx:1"}),
                Ok("/entry.sh $$HOME nginx"),
            ),
            (json!({"image": "redis"}), Err(Reason::EntrypointUnresolved)),
        ] {
            let words = resolve(&container, &overrides).map(|argv| argv.words.join(" "));
            assert_eq!(
                words.as_deref().map_err(|reason| *reason),
                expected,
                "{container}"
            );
        }
    }

    #[test]
    fn a_known_empty_entrypoint_is_said() {
        let empty = EntrypointOverride {
            container: Some("*".into()),
            ..EntrypointOverride::default()
        };
        assert_eq!(
            resolve(&json!({"name": "web"}), &[empty]),
            Err(Reason::NoEntrypoint)
        );
    }

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
        let container =
            |words: &[&str]| json!({"command": traced_command("web", "all"), "args": words});
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
        let mut args = traced_command("web", "all");
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
