//! What a container runs, and how the tracer is put before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use picket_crds::{Entrypoint, EntrypointOverride, MOUNT_PATH, Resolve};
use serde_json::Value;

use super::shape::CONTAINER_LISTS;
use super::strip::entries;
use crate::entrypoint::{Cause, ImageConfig, Images, Platform, Unresolved, Wanted};
use crate::glob;
use crate::reason::Reason;
use crate::status::{ArgvSource, ContainerStatus, Status};

/// What a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argv {
    /// Program and arguments, as Kubernetes has to be told them.
    pub(super) words: Vec<String>,
    /// Where they came from.
    pub(super) source: ArgvSource,
    /// The image that was asked, if one was.
    pub(super) image: Option<Arc<ImageConfig>>,
    /// The image that would have to be known for a fresher answer.
    pub(super) wanted: Option<Wanted>,
}

/// What a container runs is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) reason: Reason,
    pub(super) detail: Option<String>,
    /// The image that would have to be known.
    pub(super) wanted: Option<Wanted>,
}

impl Unknown {
    /// For this reason alone.
    pub(super) fn because(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            wanted: None,
        }
    }
}

/// Where to look for what a container without `command` runs.
#[derive(Debug)]
pub(super) struct ImageSource<'a> {
    pub(super) entrypoint: &'a Entrypoint,
    pub(super) images: &'a Images,
    pub(super) platform: Platform,
    pub(super) baked: &'a Baked,
}

/// By container: what our tracer runs in a pod that comes by injected already, where that came
/// from the image.
pub(super) type Baked = BTreeMap<String, Vec<String>>;

/// What is baked into a pod. Whoever makes a pod can forge it, and gains nothing by that: it is
/// the pod's author who decides what its containers run.
pub(super) fn baked(pod: &Value, claimed: Option<&Status>) -> Baked {
    let mut baked = Baked::new();
    for container in CONTAINER_LISTS
        .into_iter()
        .flat_map(|list| entries(&pod["spec"], list))
    {
        let name = container["name"].as_str().unwrap_or_default();
        let from_image = claimed
            .and_then(|status| status.container(name)?.argv_source)
            .is_some_and(|source| source != ArgvSource::Spec);
        let (command, args) = (strings(&container["command"]), strings(&container["args"]));
        if from_image
            && find_tracer(&command, &args) == command.len().checked_sub(1).map(|last| (0, last))
        {
            baked.insert(name.to_owned(), args);
        }
    }
    baked
}

/// The tracer in the shared volume.
fn tracer() -> String {
    format!("{MOUNT_PATH}/picket-tracer")
}

/// Datadog's tracer in the shared volume.
fn datadog_tracer() -> String {
    format!("{MOUNT_PATH}/cws-instrumentation")
}

/// What a container runs, by Kubernetes' rules: `command` and `args`; without `command` the
/// image's ENTRYPOINT and `args`, or its CMD where there are no `args`.
///
/// # Errors
/// [`Reason::EntrypointUnresolved`] or [`Reason::NoEntrypoint`].
pub(super) fn resolve(container: &Value, source: &ImageSource<'_>) -> Result<Argv, Unknown> {
    let command = strings(&container["command"]);
    let args = strings(&container["args"]);
    if !command.is_empty() {
        return Ok(Argv {
            words: [command, args].concat(),
            source: ArgvSource::Spec,
            image: None,
            wanted: None,
        });
    }
    let name = container["name"].as_str().unwrap_or_default();
    let image = container["image"].as_str().unwrap_or_default();
    if let Some(known) = overriding(&source.entrypoint.overrides, name, image) {
        return Ok(Argv {
            words: words(&known.entrypoint, &known.cmd, args)
                .ok_or(Unknown::because(Reason::NoEntrypoint))?,
            source: ArgvSource::Override,
            image: None,
            wanted: None,
        });
    }
    let unknown = match of_image(image, args, source) {
        Err(unknown) if unknown.reason == Reason::EntrypointUnresolved => unknown,
        resolved => return resolved,
    };
    // A look-up that was made when the manifest was written is as good, if not as fresh.
    match source.baked.get(name) {
        Some(baked) if !baked.is_empty() => Ok(Argv {
            words: baked.clone(),
            source: ArgvSource::Image,
            image: None,
            wanted: unknown.wanted,
        }),
        _ => Err(unknown),
    }
}

/// The first override that fits a container.
pub(crate) fn overriding<'o>(
    overrides: &'o [EntrypointOverride],
    name: &str,
    image: &str,
) -> Option<&'o EntrypointOverride> {
    let fits = |pattern: &Option<String>, text: &str| {
        pattern
            .as_ref()
            .is_none_or(|pattern| glob::matches(pattern, text))
    };
    overrides
        .iter()
        .find(|known| fits(&known.container, name) && fits(&known.image, image))
}

/// What an image's registry says.
fn of_image(image: &str, args: Vec<String>, source: &ImageSource<'_>) -> Result<Argv, Unknown> {
    let unresolved = |detail: Option<String>, wanted: Option<Wanted>| Unknown {
        reason: Reason::EntrypointUnresolved,
        detail,
        wanted,
    };
    if source.entrypoint.resolve == Resolve::SpecOnly {
        let detail = Unresolved::new(Cause::NotAsked, "").to_string();
        return Err(unresolved(Some(detail), None));
    }
    let wanted = Wanted {
        image: image.to_owned(),
        platform: source.platform.clone(),
    };
    match source.images.get(&wanted) {
        None => Err(unresolved(None, Some(wanted))),
        Some(Err(why)) => Err(unresolved(Some(format!("{image}: {why}")), None)),
        Some(Ok(config)) => Ok(Argv {
            words: words(&config.entrypoint, &config.cmd, args).ok_or_else(|| Unknown {
                detail: Some(format!("{image} has neither ENTRYPOINT nor CMD")),
                ..Unknown::because(Reason::NoEntrypoint)
            })?,
            source: ArgvSource::Image,
            image: Some(Arc::clone(config)),
            wanted: None,
        }),
    }
}

/// ENTRYPOINT and `args`, or CMD where there are no `args`; `None` when that is nothing.
fn words(entrypoint: &[String], cmd: &[String], args: Vec<String>) -> Option<Vec<String>> {
    // Container runtimes take an ENTRYPOINT of one empty word for none.
    let entrypoint = if entrypoint == [""] { &[] } else { entrypoint };
    let mut words: Vec<String> = entrypoint.iter().map(|word| doubled(word)).collect();
    if args.is_empty() {
        words.extend(cmd.iter().map(|word| doubled(word)));
    } else {
        words.extend(args);
    }
    Some(words).filter(|words| !words.is_empty())
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

/// First and last index of our tracer and its flags in `command` followed by `args`.
fn find_tracer(command: &[String], args: &[String]) -> Option<(usize, usize)> {
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

    fn nginx() -> EntrypointOverride {
        EntrypointOverride {
            image: Some("nginx*".into()),
            entrypoint: vec!["/entry.sh".into(), "$HOME".into()],
            cmd: vec!["nginx".into()],
            ..EntrypointOverride::default()
        }
    }

    fn looked_up(
        container: &Value,
        entrypoint: &Entrypoint,
        images: &Images,
        baked: &Baked,
    ) -> Result<Argv, Unknown> {
        let source = ImageSource {
            entrypoint,
            images,
            platform: Platform::amd64(),
            baked,
        };
        resolve(container, &source)
    }

    #[test]
    fn kubernetes_rules_by_table() {
        let entrypoint = Entrypoint {
            overrides: vec![nginx()],
            ..Entrypoint::default()
        };
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
            let words = looked_up(&container, &entrypoint, Images::NONE, &Baked::new())
                .map(|argv| argv.words.join(" "));
            assert_eq!(
                words.as_deref().map_err(|unknown| unknown.reason),
                expected,
                "{container}"
            );
        }
    }

    fn web(entrypoint: &[&str], cmd: &[&str]) -> Images {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let config = ImageConfig {
            entrypoint: owned(entrypoint),
            cmd: owned(cmd),
            ..ImageConfig::default()
        };
        Images::from_iter([(wanted("web:1"), Ok(Arc::new(config)))])
    }

    fn wanted(image: &str) -> Wanted {
        Wanted {
            image: image.into(),
            platform: Platform::amd64(),
        }
    }

    #[test]
    fn image_values_by_kubernetes_rules() {
        let image = json!({"name": "web", "image": "web:1"});
        let args = json!({"name": "web", "image": "web:1", "args": ["-v", "$(X)"]});
        for (container, entrypoint, cmd, expected) in [
            (
                &image,
                &["/e", "$(A)"][..],
                &["$$b"][..],
                Some("/e $$(A) $$$$b"),
            ),
            (&args, &["/e"], &["c"], Some("/e -v $(X)")),
            (&image, &[], &["c", "$X"], Some("c $$X")),
            (&args, &[], &["c"], Some("-v $(X)")),
            (&image, &[""], &["c"], Some("c")),
            (
                &image,
                &["/bin/sh", "-c", "run $HOME"],
                &[],
                Some("/bin/sh -c run $$HOME"),
            ),
            (&image, &[], &[], None),
        ] {
            let images = web(entrypoint, cmd);
            let argv = looked_up(container, &Entrypoint::default(), &images, &Baked::new());
            match expected {
                Some(words) => {
                    let argv = argv.unwrap();
                    assert_eq!(argv.words.join(" "), words);
                    assert_eq!(argv.source, ArgvSource::Image);
                }
                None => assert_eq!(argv.unwrap_err().reason, Reason::NoEntrypoint),
            }
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let container = json!({"name": "web", "image": "web:1"});
        let none = Baked::new();
        let asked = looked_up(&container, &Entrypoint::default(), Images::NONE, &none);
        assert_eq!(asked.unwrap_err().wanted, Some(wanted("web:1")));

        let spec_only = Entrypoint {
            resolve: Resolve::SpecOnly,
            ..Entrypoint::default()
        };
        let unknown = looked_up(&container, &spec_only, Images::NONE, &none).unwrap_err();
        assert_eq!(unknown.wanted, None);
        assert!(unknown.detail.unwrap().starts_with("NotAsked: "));

        let failed = Unresolved::new(Cause::Unauthorized, "tried anonymous access");
        let failed = Images::from_iter([(wanted("web:1"), Err(failed))]);
        let unknown = looked_up(&container, &Entrypoint::default(), &failed, &none).unwrap_err();
        let detail = unknown.detail.unwrap();
        assert!(detail.starts_with("web:1: Unauthorized: "), "{detail}");
        assert!(detail.ends_with("tried anonymous access"), "{detail}");

        // What was looked up when the manifest was written counts as long as nobody knows better.
        let baked = Baked::from([("web".to_owned(), vec!["/baked".to_owned()])]);
        for images in [Images::NONE, &failed] {
            let argv = looked_up(&container, &Entrypoint::default(), images, &baked).unwrap();
            assert_eq!(argv.words, ["/baked"]);
        }
        let fresh = web(&["/fresh"], &[]);
        let argv = looked_up(&container, &Entrypoint::default(), &fresh, &baked).unwrap();
        assert_eq!(argv.words, ["/fresh"]);
    }

    #[test]
    fn a_known_empty_entrypoint_is_said() {
        let empty = EntrypointOverride {
            container: Some("*".into()),
            ..EntrypointOverride::default()
        };
        let entrypoint = Entrypoint {
            overrides: vec![empty],
            ..Entrypoint::default()
        };
        let container = json!({"name": "web"});
        let argv = looked_up(&container, &entrypoint, Images::NONE, &Baked::new());
        assert_eq!(argv.unwrap_err().reason, Reason::NoEntrypoint);
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
