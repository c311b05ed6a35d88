//! What a container runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use picket_crds::{Entrypoint, EntrypointOverride, Resolve};
use serde_json::Value;

use super::shape::CONTAINER_LISTS;
use super::strip::entries;
use super::wrapper::{find_tracer, strings};
use crate::entrypoint::{Cause, ImageConfig, Images, Platform, Unresolved, Wanted};
use crate::glob;
use crate::reason::Reason;
use crate::status::{ArgvSource, Status};

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
        if !from_image {
            continue;
        }
        let (command, args) = (strings(&container["command"]), strings(&container["args"]));
        if find_tracer(&command, &args) == command.len().checked_sub(1).map(|last| (0, last)) {
            baked.insert(name.to_owned(), args);
        }
    }
    baked
}

/// What a container runs, by Kubernetes' rules: `command` and `args`; without `command` the
/// image's ENTRYPOINT and `args`, or its CMD where there are no `args`.
///
/// # Errors
/// [`Reason::EntrypointUnresolved`] or [`Reason::NoEntrypoint`].
pub(super) fn resolve(container: &Value, source: &ImageSource<'_>) -> Result<Argv, Unknown> {
    let mut command = strings(&container["command"]);
    let args = strings(&container["args"]);
    if !command.is_empty() {
        command.extend(args);
        return Ok(Argv {
            words: command,
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
}
