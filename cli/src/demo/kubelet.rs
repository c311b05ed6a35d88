//! The part of a kubelet that the demo needs: from a pod's JSON to containers to run.
//!
//! What it understands is what the demo's pods use (and what Picket adds): commands with
//! `$(VAR)`, environment with fieldRef, emptyDir and the projected service-account volume,
//! security contexts. Anything else in the pod is an error, never silently left out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sandbox::{Container, Mount};

/// Files that an image would bring, and whether it has a distribution's programs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    /// File on the host → path in the container.
    pub(crate) files: Vec<(PathBuf, PathBuf)>,
    /// See [`Container::userland`].
    pub(crate) userland: bool,
}

/// What is wrong with a pod that the demo should run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    /// A field that the demo's kubelet does not know.
    #[error("{path}: the demo does not support {what}")]
    Unsupported {
        /// Where.
        path: String,
        /// What.
        what: String,
    },
    /// A field is missing or of the wrong type.
    #[error("{0}: missing or not of the expected type")]
    Malformed(String),
    /// The host refused.
    #[error("{path}: {source}")]
    Host {
        /// Host path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// Containers in the order in which a kubelet starts them.
#[derive(Debug)]
pub(crate) struct Containers {
    /// Init containers; `true` marks a native sidecar, which is started and kept.
    pub(crate) init: Vec<(Container, bool)>,
    /// Application containers.
    pub(crate) main: Vec<Container>,
}

/// Prepares folders below `state` and describes every container of the pod.
///
/// # Errors
/// Names the field of the pod that could not be honoured.
pub(crate) fn containers(
    pod: &Value,
    state: &Path,
    image: impl Fn(&str) -> Image,
) -> Result<Containers, PodError> {
    let volumes = make_volumes(pod, state)?;
    let kubelet = Kubelet {
        pod,
        state,
        volumes,
        image: &image,
    };
    let mut init = Vec::new();
    for (index, container) in list(pod, "/spec/initContainers").iter().enumerate() {
        let sidecar = container["restartPolicy"] == "Always";
        let path = format!("spec.initContainers[{index}]");
        init.push((kubelet.container(container, &path)?, sidecar));
    }
    let mut main = Vec::new();
    for (index, container) in list(pod, "/spec/containers").iter().enumerate() {
        main.push(kubelet.container(container, &format!("spec.containers[{index}]"))?);
    }
    Ok(Containers { init, main })
}

struct Kubelet<'a> {
    pod: &'a Value,
    state: &'a Path,
    volumes: BTreeMap<String, PathBuf>,
    image: &'a dyn Fn(&str) -> Image,
}

impl Kubelet<'_> {
    fn container(&self, container: &Value, path: &str) -> Result<Container, PodError> {
        let name = string(container, "name", path)?;
        let image = (self.image)(string(container, "image", path)?);
        let env = self.environment(container, path)?;
        let mut argv = Vec::new();
        for field in ["command", "args"] {
            for word in list(container, &format!("/{field}")) {
                let word = word.as_str().ok_or_else(|| malformed(path, field))?;
                argv.push(expand(word, &env));
            }
        }
        let root = self.state.join("roots").join(name);
        make_folder(&root, 0o755)?;
        let mut mounts: Vec<Mount> = (image.files.iter())
            .map(|(source, target)| Mount {
                source: source.clone(),
                target: target.clone(),
                read_only: true,
            })
            .collect();
        for mount in list(container, "/volumeMounts") {
            mounts.push(self.mount(mount, path)?);
        }
        let security = |field: &str| {
            let own = &container["securityContext"][field];
            if own.is_null() {
                &self.pod["spec"]["securityContext"][field]
            } else {
                own
            }
        };
        let uid = security("runAsUser").as_u64().unwrap_or(0) as u32;
        Ok(Container {
            name: name.to_owned(),
            argv,
            env,
            working_directory: container["workingDir"].as_str().map(PathBuf::from),
            uid,
            gid: security("runAsGroup").as_u64().unwrap_or(0) as u32,
            userland: image.userland,
            read_only_root: security("readOnlyRootFilesystem")
                .as_bool()
                .unwrap_or(false),
            mounts,
            root,
        })
    }

    fn mount(&self, mount: &Value, path: &str) -> Result<Mount, PodError> {
        let path = format!("{path}.volumeMounts");
        let volume = string(mount, "name", &path)?;
        let source = self
            .volumes
            .get(volume)
            .ok_or_else(|| malformed(&path, volume))?;
        if !mount["subPath"].is_null() {
            return Err(PodError::Unsupported {
                path,
                what: "subPath".into(),
            });
        }
        Ok(Mount {
            source: source.clone(),
            target: string(mount, "mountPath", &path)?.into(),
            read_only: mount["readOnly"].as_bool().unwrap_or(false),
        })
    }

    fn environment(
        &self,
        container: &Value,
        path: &str,
    ) -> Result<BTreeMap<String, String>, PodError> {
        let mut env = BTreeMap::new();
        env.insert(
            "PATH".into(),
            "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into(),
        );
        for entry in list(container, "/env") {
            let path = format!("{path}.env");
            let name = string(entry, "name", &path)?;
            let field = entry
                .pointer("/valueFrom/fieldRef/fieldPath")
                .and_then(Value::as_str);
            let value = match (field, entry.get("valueFrom")) {
                (Some(field), _) => self.field(field, &path)?,
                (None, Some(_)) => {
                    let what = format!("valueFrom of {name}");
                    return Err(PodError::Unsupported { path, what });
                }
                (None, None) => expand(entry["value"].as_str().unwrap_or(""), &env),
            };
            env.insert(name.to_owned(), value);
        }
        Ok(env)
    }

    fn field(&self, field: &str, path: &str) -> Result<String, PodError> {
        let pointer = format!("/{}", field.replace('.', "/"));
        match self.pod.pointer(&pointer).and_then(Value::as_str) {
            Some(value) => Ok(value.to_owned()),
            None => Err(malformed(path, field)),
        }
    }
}

/// Kubernetes' expansion: `$(NAME)` is the variable, `$$` is `$`, an unknown name stays.
pub(crate) fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        if let Some(behind) = behind.strip_prefix('$') {
            expanded.push('$');
            rest = behind;
            continue;
        }
        let reference = behind
            .strip_prefix('(')
            .and_then(|name| name.split_once(')'));
        match reference.and_then(|(name, behind)| Some((env.get(name)?, behind))) {
            Some((value, behind)) => {
                expanded.push_str(value);
                rest = behind;
            }
            None => {
                expanded.push('$');
                rest = behind;
            }
        }
    }
    expanded.push_str(rest);
    expanded
}

fn make_volumes(pod: &Value, state: &Path) -> Result<BTreeMap<String, PathBuf>, PodError> {
    let mut volumes = BTreeMap::new();
    for (index, volume) in list(pod, "/spec/volumes").iter().enumerate() {
        let path = format!("spec.volumes[{index}]");
        let name = string(volume, "name", &path)?;
        let folder = state.join("volumes").join(name);
        if volume["emptyDir"].is_object() {
            make_folder(&folder, 0o777)?;
        } else if volume["projected"].is_object() {
            make_folder(&folder, 0o755)?;
            make_account(&folder, pod)?;
        } else {
            return Err(PodError::Unsupported {
                path,
                what: "this kind of volume".into(),
            });
        }
        volumes.insert(name.to_owned(), folder);
    }
    Ok(volumes)
}

/// The files of a projected service-account volume, laid out as a kubelet's atomic writer
/// does: `token` → `..data/token`, `..data` → a folder named after the time. The token is no
/// real one.
fn make_account(folder: &Path, pod: &Value) -> Result<(), PodError> {
    const VERSION: &str = "..2026_01_01_00_00_00.0000000001";
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default");
    make_folder(&folder.join(VERSION), 0o755)?;
    host(&folder.join("..data"), |path| symlink(VERSION, path))?;
    for (name, text) in [
        ("token", "demo.token.that-opens-nothing"),
        ("namespace", namespace),
    ] {
        host(&folder.join(VERSION).join(name), |path| {
            fs::write(path, text)
        })?;
        host(&folder.join(name), |path| {
            symlink(Path::new("..data").join(name), path)
        })?;
    }
    Ok(())
}

fn host(path: &Path, action: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), PodError> {
    action(path).map_err(|source| PodError::Host {
        path: path.into(),
        source,
    })
}

fn make_folder(path: &Path, mode: u32) -> Result<(), PodError> {
    host(path, |path| {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    })
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn string<'a>(value: &'a Value, field: &str, path: &str) -> Result<&'a str, PodError> {
    value[field].as_str().ok_or_else(|| malformed(path, field))
}

fn malformed(path: &str, field: &str) -> PodError {
    PodError::Malformed(format!("{path}.{field}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_expanded_as_a_kubelet_does() {
        let env = BTreeMap::from([("PORT".to_owned(), "81".to_owned())]);
        for (text, expected) in [
            ("127.0.0.1:$(PORT)", "127.0.0.1:81"),
            ("$$(PORT)", "$(PORT)"),
            ("$(OTHER) $PORT $", "$(OTHER) $PORT $"),
            ("$(PORT", "$(PORT"),
        ] {
            assert_eq!(expand(text, &env), expected);
        }
    }

    #[test]
    fn what_the_demo_cannot_run_is_named() {
        let state = tempfile::tempdir().unwrap();
        let pod = json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}});
        let error = containers(&pod, state.path(), |_| Image::default()).unwrap_err();
        assert!(
            error.to_string().starts_with("spec.volumes[0]: "),
            "{error}"
        );
    }

    #[test]
    fn a_container_inherits_the_pods_identity_and_keeps_order() {
        let state = tempfile::tempdir().unwrap();
        let pod = json!({
            "metadata": {"name": "web-1", "namespace": "shop"},
            "spec": {
                "securityContext": {"runAsUser": 7},
                "initContainers": [
                    {"name": "setup", "image": "s", "command": ["/setup"]},
                    {"name": "agent", "image": "s", "command": ["/agent"], "restartPolicy": "Always"},
                ],
                "containers": [{
                    "name": "web", "image": "w", "command": ["/web"], "args": ["--name=$(NAME)"],
                    "env": [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "securityContext": {"runAsUser": 8},
                }],
            },
        });
        let containers = containers(&pod, state.path(), |_| Image::default()).unwrap();
        let kept: Vec<bool> = containers
            .init
            .iter()
            .map(|(_, sidecar)| *sidecar)
            .collect();
        assert_eq!(kept, [false, true]);
        assert_eq!(containers.init[0].0.uid, 7);
        assert_eq!(containers.main[0].uid, 8);
        assert_eq!(containers.main[0].argv, ["/web", "--name=web-1"]);
    }
}
