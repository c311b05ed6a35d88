//! The volumes of a pod, as folders that live as long as the pod.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Volume,
};

use super::environment::field;
use super::{ContainersError, Surroundings};

/// The folders behind a pod's volumes.
#[derive(Debug)]
pub(super) struct Volumes {
    root: tempfile::TempDir,
}

/// Files of a volume that Kubernetes fills: path within it, and content.
type Files = Vec<(String, String)>;

impl Volumes {
    /// Makes and fills every volume of the pod.
    pub(super) fn make(pod: &Pod, surroundings: &Surroundings) -> Result<Self, ContainersError> {
        let root = tempfile::Builder::new()
            .prefix("picket-pod-")
            .tempdir()
            .map_err(ContainersError::io("making the folder of the volumes"))?;
        // tempfile makes it 0700; the containers' users have to get through.
        set_mode(root.path(), 0o755)?;
        let volumes = Self { root };
        let Some(spec) = &pod.spec else {
            return Ok(volumes);
        };
        let group = spec.security_context.as_ref().and_then(|c| c.fs_group);
        for volume in spec.volumes.iter().flatten() {
            let folder = volumes.folder(&volume.name);
            std::fs::create_dir(&folder).map_err(ContainersError::io(format!(
                "making volume {}",
                volume.name
            )))?;
            match files(pod, volume, surroundings)? {
                Some(files) => publish(&folder, &files)?,
                // emptyDir: writable by everyone, as kubelet leaves it.
                None => set_mode(&folder, 0o777)?,
            }
            if let Some(group) = group {
                let group = u32::try_from(group)
                    .map_err(|_| ContainersError::Unsupported(format!("fsGroup {group}")))?;
                chown(&folder, None, Some(group)).map_err(ContainersError::io("fsGroup"))?;
                set_mode(&folder, 0o2777)?;
            }
        }
        Ok(volumes)
    }

    /// The folder they are all in, for whatever else lives as long as the pod.
    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    /// A word that no other pod of this machine has.
    pub(super) fn unique(&self) -> String {
        let name = self.root.path().file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        name.rsplit('-').next().unwrap_or_default().to_lowercase()
    }

    /// Where the volume of this name is on the machine.
    pub(super) fn folder(&self, volume: &str) -> PathBuf {
        self.root.path().join(volume)
    }

    /// Where a `subPath` of the volume is; made as a folder if nothing is there.
    pub(super) fn sub_path(&self, volume: &str, path: &str) -> Result<PathBuf, ContainersError> {
        let path = self.folder(volume).join(path);
        if !path.exists() {
            std::fs::create_dir_all(&path).map_err(ContainersError::io("making a subPath"))?;
            set_mode(&path, 0o777)?;
        }
        Ok(path)
    }
}

/// The files of the volume; `None` for an empty, writable one.
fn files(
    pod: &Pod,
    volume: &Volume,
    surroundings: &Surroundings,
) -> Result<Option<Files>, ContainersError> {
    if volume.empty_dir.is_some() {
        return Ok(None);
    }
    let files = if let Some(projected) = &volume.projected {
        projected_files(pod, projected, surroundings)?
    } else if let Some(source) = &volume.config_map {
        chosen(
            "ConfigMap",
            &surroundings.config_maps,
            &source.name,
            &source.items,
            source.optional,
        )?
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        chosen(
            "Secret",
            &surroundings.secrets,
            &name,
            &source.items,
            source.optional,
        )?
    } else if let Some(source) = &volume.downward_api {
        downward(pod, &source.items)?
    } else {
        return Err(ContainersError::Unsupported(format!(
            "the kind of volume {}",
            volume.name
        )));
    };
    Ok(Some(files))
}

fn projected_files(
    pod: &Pod,
    projected: &ProjectedVolumeSource,
    surroundings: &Surroundings,
) -> Result<Files, ContainersError> {
    let mut files = Vec::new();
    for source in projected.sources.iter().flatten() {
        if let Some(token) = &source.service_account_token {
            files.push((
                token.path.clone(),
                surroundings.service_account_token.clone(),
            ));
        } else if let Some(s) = &source.config_map {
            files.extend(chosen(
                "ConfigMap",
                &surroundings.config_maps,
                &s.name,
                &s.items,
                s.optional,
            )?);
        } else if let Some(s) = &source.secret {
            files.extend(chosen(
                "Secret",
                &surroundings.secrets,
                &s.name,
                &s.items,
                s.optional,
            )?);
        } else if let Some(s) = &source.downward_api {
            files.extend(downward(pod, &s.items)?);
        } else {
            return Err(ContainersError::Unsupported(
                "a source of a projected volume".to_owned(),
            ));
        }
    }
    Ok(files)
}

/// The entries of a ConfigMap or Secret, renamed where `items` says so.
fn chosen(
    kind: &str,
    maps: &BTreeMap<String, BTreeMap<String, String>>,
    name: &str,
    items: &Option<Vec<KeyToPath>>,
    optional: Option<bool>,
) -> Result<Files, ContainersError> {
    let missing = |what: String| ContainersError::Unresolved(format!("{kind} {what}"));
    let Some(data) = maps.get(name) else {
        return match optional {
            Some(true) => Ok(Vec::new()),
            _ => Err(missing(name.to_owned())),
        };
    };
    match items {
        None => Ok(data.clone().into_iter().collect()),
        Some(items) => items
            .iter()
            .map(|item| match data.get(&item.key) {
                Some(value) => Ok((item.path.clone(), value.clone())),
                None => Err(missing(format!("{name}, key {}", item.key))),
            })
            .collect(),
    }
}

fn downward(
    pod: &Pod,
    items: &Option<Vec<DownwardAPIVolumeFile>>,
) -> Result<Files, ContainersError> {
    items
        .iter()
        .flatten()
        .map(|item| match &item.field_ref {
            Some(reference) => Ok((item.path.clone(), field(pod, &reference.field_path)?)),
            None => Err(ContainersError::Unsupported(
                "resourceFieldRef of a volume".to_owned(),
            )),
        })
        .collect()
}

/// Writes the files as kubelet does: a dated folder, a link `..data` to it, and
/// a link through that for each file. What reads `token` opens a file of
/// another path, and rules have to cope with it.
fn publish(folder: &Path, files: &Files) -> Result<(), ContainersError> {
    const DATED: &str = "..2026_01_02_03_04_05.1234567890";
    let failed = |path: &Path| ContainersError::io(format!("writing {}", path.display()));
    set_mode(folder, 0o755)?;
    let dated = folder.join(DATED);
    for (path, content) in files {
        let file = dated.join(path);
        let parent = file.parent().unwrap_or(&dated);
        std::fs::create_dir_all(parent).map_err(failed(parent))?;
        std::fs::write(&file, content).map_err(failed(&file))?;
        set_mode(&file, 0o644)?;
    }
    std::fs::create_dir_all(&dated).map_err(failed(&dated))?;
    let data = folder.join("..data");
    symlink(DATED, &data).map_err(failed(&data))?;
    for (path, _) in files {
        let first = path.split('/').next().unwrap_or(path);
        let link = folder.join(first);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(first), &link).map_err(failed(&link))?;
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), ContainersError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(ContainersError::io(format!("chmod {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(volumes: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-0", "namespace": "shop"},
            "spec": {"containers": [], "volumes": volumes}
        }))
        .unwrap()
    }

    #[test]
    fn the_service_account_token_lies_where_kubelet_puts_it() {
        let pod = pod(
            json!([{"name": "kube-api-access-x", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}
            ]}}]),
        );
        let surroundings = Surroundings::default();
        let volumes = Volumes::make(&pod, &surroundings).unwrap();
        let folder = volumes.folder("kube-api-access-x");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("token"), surroundings.service_account_token);
        assert_eq!(read("namespace"), "shop");
        assert!(read("ca.crt").contains("CERTIFICATE"));
        assert_eq!(
            folder.join("token").read_link().unwrap(),
            Path::new("..data/token")
        );
    }

    #[test]
    fn an_empty_dir_is_writable_by_all() {
        let volumes = Volumes::make(
            &pod(json!([{"name": "picket", "emptyDir": {}}])),
            &Surroundings::default(),
        )
        .unwrap();
        let mode = volumes
            .folder("picket")
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o777);
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        for (volume, message) in [
            (
                json!({"name": "data", "hostPath": {"path": "/"}}),
                "the kind of volume data: not supported by the container harness",
            ),
            (
                json!({"name": "c", "configMap": {"name": "settings"}}),
                "ConfigMap settings: no such thing in the pod's surroundings",
            ),
        ] {
            let error = Volumes::make(&pod(json!([volume])), &Surroundings::default()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
