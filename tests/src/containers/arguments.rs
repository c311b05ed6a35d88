//! What podman is told so that a container gets what its manifest says.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, PodSecurityContext, PodSpec, SecurityContext,
};

use super::environment::expand;
use super::volumes::Volumes;
use super::{ContainersError, Surroundings};

/// Arguments of `podman create`, all but the names of container and pod.
///
/// `image_user` is the user that the image asks for (may be empty).
pub(super) fn create(
    spec: &PodSpec,
    container: &Container,
    variables: &[(String, String)],
    image_user: &str,
    volumes: &Volumes,
    surroundings: &Surroundings,
) -> Result<Vec<String>, ContainersError> {
    refuse_unsupported(container)?;
    let mut arguments: Vec<String> = [
        "--pull=never",
        // Podman's own additions, which no kubelet makes.
        "--unsetenv=container",
        "--read-only-tmpfs=false",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(security(spec, container, image_user)?);
    arguments.extend(seccomp(spec, container, volumes, surroundings)?);
    arguments.extend(limits(container)?);
    for (name, value) in variables {
        arguments.push(format!("--env={name}={value}"));
    }
    if let Some(folder) = &container.working_dir {
        arguments.push(format!("--workdir={folder}"));
    }
    for mount in container.volume_mounts.iter().flatten() {
        let source = match &mount.sub_path {
            Some(path) => volumes.sub_path(&mount.name, path)?,
            None => volumes.folder(&mount.name),
        };
        let access = match mount.read_only {
            Some(true) => "ro",
            _ => "rw",
        };
        arguments.push(format!(
            "--volume={}:{}:{access}",
            source.display(),
            mount.mount_path
        ));
    }

    let known: BTreeMap<_, _> = variables.iter().cloned().collect();
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        let words = words.iter().flatten();
        words.map(|word| expand(word, &known)).collect()
    };
    let command = expanded(&container.command);
    if !command.is_empty() {
        // With an entrypoint given, podman leaves out the image's CMD too.
        arguments.push(format!("--entrypoint={}", serde_json::json!(command)));
    }
    arguments.push(container.image.clone().unwrap_or_default());
    arguments.extend(expanded(&container.args));
    Ok(arguments)
}

fn refuse_unsupported(container: &Container) -> Result<(), ContainersError> {
    let privileged = container
        .security_context
        .as_ref()
        .and_then(|context| context.privileged);
    let sub_path_expression = container
        .volume_mounts
        .iter()
        .flatten()
        .any(|mount| mount.sub_path_expr.is_some());
    for (present, what) in [
        (privileged == Some(true), "privileged"),
        (container.lifecycle.is_some(), "lifecycle"),
        (container.volume_devices.is_some(), "volumeDevices"),
        (container.tty == Some(true), "tty"),
        (container.stdin == Some(true), "stdin"),
        (sub_path_expression, "subPathExpr"),
    ] {
        if present {
            return Err(ContainersError::Unsupported(format!(
                "{what} of container {}",
                container.name
            )));
        }
    }
    Ok(())
}

fn security(
    spec: &PodSpec,
    container: &Container,
    image_user: &str,
) -> Result<Vec<String>, ContainersError> {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let mut arguments = identity(&pod, &own, &container.name, image_user)?;
    if own.read_only_root_filesystem == Some(true) {
        arguments.push("--read-only".to_owned());
    }
    if own.allow_privilege_escalation == Some(false) {
        arguments.push("--security-opt=no-new-privileges".to_owned());
    }
    let Capabilities { add, drop } = own.capabilities.clone().unwrap_or_default();
    let each = |option: &'static str, names: Option<Vec<String>>| {
        let names = names.unwrap_or_default().into_iter();
        names.map(move |name| format!("--cap-{option}={name}"))
    };
    arguments.extend(each("drop", drop));
    arguments.extend(each("add", add));
    Ok(arguments)
}

/// User and groups, and kubelet's check that the user is not root.
fn identity(
    pod: &PodSecurityContext,
    own: &SecurityContext,
    container: &str,
    image_user: &str,
) -> Result<Vec<String>, ContainersError> {
    let user = own.run_as_user.or(pod.run_as_user);
    let group = own.run_as_group.or(pod.run_as_group);
    let mut arguments = Vec::new();
    match (user, group) {
        (Some(user), Some(group)) => arguments.push(format!("--user={user}:{group}")),
        (Some(user), None) => arguments.push(format!("--user={user}")),
        (None, Some(_)) => {
            return Err(ContainersError::Unsupported(format!(
                "runAsGroup without runAsUser of container {container}"
            )));
        }
        (None, None) => {}
    }
    if own.run_as_non_root.or(pod.run_as_non_root) == Some(true) {
        let named = image_user.split(':').next().unwrap_or_default();
        // A name that is not a number cannot be told from root, and kubelet
        // does not try.
        let user = user.or_else(|| named.parse().ok()).unwrap_or(0);
        if user == 0 {
            return Err(ContainersError::WouldRunAsRoot(container.to_owned()));
        }
    }
    let groups = pod.supplemental_groups.iter().flatten().copied();
    for group in groups.chain(pod.fs_group) {
        arguments.push(format!("--group-add={group}"));
    }
    Ok(arguments)
}

fn seccomp(
    spec: &PodSpec,
    container: &Container,
    volumes: &Volumes,
    surroundings: &Surroundings,
) -> Result<Option<String>, ContainersError> {
    let own = container
        .security_context
        .as_ref()
        .and_then(|context| context.seccomp_profile.as_ref());
    let pod = spec
        .security_context
        .as_ref()
        .and_then(|context| context.seccomp_profile.as_ref());
    match own.or(pod).map(|profile| profile.type_.as_str()) {
        // Kubelet's default without `seccompDefault`.
        None | Some("Unconfined") => Ok(Some("--security-opt=seccomp=unconfined".to_owned())),
        Some("RuntimeDefault") => Ok(surroundings
            .node
            .write_profile(volumes.root())?
            .map(|file| format!("--security-opt=seccomp={}", file.display()))),
        Some(other) => Err(ContainersError::Unsupported(format!(
            "seccompProfile {other} of container {}",
            container.name
        ))),
    }
}

fn limits(container: &Container) -> Result<Vec<String>, ContainersError> {
    let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
    let mut arguments = Vec::new();
    for (resource, quantity) in limits.into_iter().flatten() {
        let amount = || {
            amount(&quantity.0).ok_or_else(|| {
                ContainersError::Unsupported(format!(
                    "limit {resource}: {} of container {}",
                    quantity.0, container.name
                ))
            })
        };
        match resource.as_str() {
            "memory" => arguments.push(format!("--memory={:.0}b", amount()?)),
            "cpu" => arguments.push(format!("--cpus={}", amount()?)),
            // Kubelet enforces it by eviction only.
            "ephemeral-storage" => {}
            _ => {
                return Err(ContainersError::Unsupported(format!(
                    "limit {resource} of container {}",
                    container.name
                )));
            }
        }
    }
    Ok(arguments)
}

/// A Kubernetes quantity as a number: bytes, or cores.
fn amount(quantity: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 9] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
    ];
    let (digits, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((quantity.strip_suffix(suffix)?, *factor)))
        .unwrap_or((quantity, 1.0));
    Some(digits.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    fn arguments(pod_context: Value, container: Value, image_user: &str) -> Result<String, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-0"},
            "spec": {"securityContext": pod_context, "containers": [container]}
        }))
        .unwrap();
        let surroundings = Surroundings::default();
        let volumes = Volumes::make(&pod, &surroundings).unwrap();
        let spec = pod.spec.as_ref().unwrap();
        let variables =
            super::super::environment::variables(&pod, &spec.containers[0], &surroundings)
                .map_err(|error| error.to_string())?;
        create(
            spec,
            &spec.containers[0],
            &variables,
            image_user,
            &volumes,
            &surroundings,
        )
        .map(|arguments| arguments[3..].join(" "))
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_restricted_profile_reaches_podman_whole() {
        let container = json!({
            "name": "web", "image": "i:1", "command": ["/bin/web", "--name=$(NAME)"], "args": ["$$HOME"],
            "env": [{"name": "NAME", "value": "shop"}],
            "workingDir": "/srv",
            "resources": {"limits": {"memory": "64Mi", "cpu": "250m"}},
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "runAsUser": 1000, "runAsGroup": 1001, "capabilities": {"drop": ["ALL"]}}
        });
        let pod = json!({"runAsNonRoot": true, "runAsUser": 5, "fsGroup": 2000,
                         "supplementalGroups": [3000], "seccompProfile": {"type": "RuntimeDefault"}});
        assert_eq!(
            arguments(pod, container, "").unwrap(),
            "--user=1000:1001 --group-add=3000 --group-add=2000 --read-only \
             --security-opt=no-new-privileges --cap-drop=ALL --cpus=0.25 --memory=67108864b \
             --env=NAME=shop --workdir=/srv --entrypoint=[\"/bin/web\",\"--name=shop\"] i:1 $HOME"
        );
    }

    #[test]
    fn what_a_manifest_does_not_say_is_as_on_a_node() {
        assert_eq!(
            arguments(json!({}), json!({"name": "web", "image": "i:1"}), "").unwrap(),
            "--security-opt=seccomp=unconfined i:1"
        );
    }

    #[test]
    fn root_is_refused_where_the_pod_says_so() {
        let container =
            |context: Value| json!({"name": "web", "image": "i:1", "securityContext": context});
        let non_root = json!({"runAsNonRoot": true});
        let refused = "container web: runAsNonRoot is set, and it would run as root";
        for (context, user, expected) in [
            (json!({}), "", Err(refused)),
            (json!({}), "nginx", Err(refused)),
            (json!({"runAsUser": 0}), "1000", Err(refused)),
            (json!({}), "1000:1000", Ok(())),
            (json!({"runAsUser": 1}), "", Ok(())),
            (json!({"runAsNonRoot": false}), "", Ok(())),
        ] {
            let outcome = arguments(non_root.clone(), container(context.clone()), user);
            assert_eq!(
                outcome.map(|_| ()).as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|e| *e),
                "{context} in an image of user {user:?}"
            );
        }
    }

    #[test]
    fn what_is_not_acted_on_is_refused() {
        for (field, value) in [
            ("securityContext", json!({"privileged": true})),
            ("tty", json!(true)),
            (
                "lifecycle",
                json!({"preStop": {"exec": {"command": ["true"]}}}),
            ),
            ("envFrom", json!([{"configMapRef": {"name": "c"}}])),
            ("resources", json!({"limits": {"nvidia.com/gpu": "1"}})),
        ] {
            let mut container = json!({"name": "web", "image": "i:1"});
            container[field] = value;
            let error = arguments(json!({}), container, "").unwrap_err();
            assert!(
                error.ends_with("not supported by the container harness"),
                "{error}"
            );
        }
    }

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("128974848", Some(128_974_848.0)),
            ("129M", Some(129e6)),
            ("1Ki", Some(1024.0)),
            ("1.5Gi", Some(1_610_612_736.0)),
            ("100m", Some(0.1)),
            ("much", None),
        ] {
            assert_eq!(amount(text), expected, "{text}");
        }
    }
}
