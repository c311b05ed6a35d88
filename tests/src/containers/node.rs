//! Nodes differ in what `RuntimeDefault` lets a container do.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ContainersError;

/// Where podman's package keeps its profile, the base of all of ours.
const PODMANS_PROFILE: &str = "/usr/share/containers/seccomp.json";

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// What `seccompProfile: RuntimeDefault` stands for on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Node {
    /// podman's own profile.
    #[default]
    Podman,
    /// As containerd before 2.0 on an older kernel: another process' memory and
    /// descriptors are out of reach through `process_vm_*` and `pidfd_getfd`,
    /// `clone3` does not exist, `io_uring` is allowed, and what is unknown is
    /// refused with EPERM. podman lets everybody unshare, enter and mount; containerd
    /// those who have CAP_SYS_ADMIN (`contrib/seccomp/seccomp_default.go` of its sources).
    Containerd,
    /// As [`Node::Containerd`], with `ptrace` refused as well.
    WithoutPtrace,
}

impl Node {
    /// Writes the node's profile into the folder; `None` where the engine's
    /// own is meant.
    pub(super) fn write_profile(self, folder: &Path) -> Result<Option<PathBuf>, ContainersError> {
        if self == Self::Podman {
            return Ok(None);
        }
        let text = std::fs::read_to_string(PODMANS_PROFILE)
            .map_err(ContainersError::io(format!("reading {PODMANS_PROFILE}")))?;
        let profile = self.profile(serde_json::from_str(&text)?);
        let file = folder.join("seccomp.json");
        std::fs::write(&file, profile.to_string())
            .map_err(ContainersError::io("writing a seccomp profile"))?;
        Ok(Some(file))
    }

    fn profile(self, mut profile: Value) -> Value {
        let mut refused = vec![
            "process_vm_readv",
            "process_vm_writev",
            "pidfd_getfd",
            "kcmp",
            "process_madvise",
            "unshare",
            "setns",
            "mount",
            "umount",
            "umount2",
            "pivot_root",
            "move_mount",
            "mount_setattr",
            "open_tree",
            "fsopen",
            "fsconfig",
            "fsmount",
            "fspick",
            "name_to_handle_at",
        ];
        if self == Self::WithoutPtrace {
            refused.push("ptrace");
        }
        profile["defaultErrnoRet"] = json!(EPERM);
        profile["defaultErrno"] = json!("EPERM");
        let rules = profile["syscalls"].as_array_mut();
        for rule in rules.into_iter().flatten() {
            if let Some(names) = rule["names"].as_array_mut() {
                names.retain(|name| {
                    name.as_str()
                        .is_none_or(|name| name != "clone3" && !refused.contains(&name))
                });
            }
        }
        if let Some(rules) = profile["syscalls"].as_array_mut() {
            rules.retain(|rule| {
                rule["names"]
                    .as_array()
                    .is_none_or(|names| !names.is_empty())
            });
            rules.push(json!({
                "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS
            }));
            rules.push(json!({
                "names": ["io_uring_setup", "io_uring_enter", "io_uring_register"],
                "action": "SCMP_ACT_ALLOW"
            }));
        }
        profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(profile: &Value, call: &str) -> Option<(String, Option<u64>)> {
        profile["syscalls"].as_array()?.iter().find_map(|rule| {
            let names = rule["names"].as_array()?;
            names.contains(&json!(call)).then(|| {
                let action = rule["action"].as_str().unwrap_or_default().to_owned();
                (action, rule["errnoRet"].as_u64())
            })
        })
    }

    #[test]
    fn a_profile_changes_what_it_says_and_nothing_else() {
        let base = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
            "syscalls": [
                {"names": ["read", "ptrace", "clone3", "process_vm_readv", "unshare"],
                 "action": "SCMP_ACT_ALLOW"},
                {"names": ["kcmp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
            ]
        });
        let containerd = Node::Containerd.profile(base.clone());
        let allowed = Some(("SCMP_ACT_ALLOW".to_owned(), None));
        assert_eq!(action(&containerd, "read"), allowed);
        assert_eq!(action(&containerd, "ptrace"), allowed);
        assert_eq!(action(&containerd, "io_uring_setup"), allowed);
        assert_eq!(action(&containerd, "process_vm_readv"), None);
        assert_eq!(action(&containerd, "unshare"), None);
        assert_eq!(
            action(&containerd, "clone3"),
            Some(("SCMP_ACT_ERRNO".to_owned(), Some(38)))
        );
        assert_eq!(containerd["defaultErrnoRet"], 1);
        assert_eq!(action(&Node::WithoutPtrace.profile(base), "ptrace"), None);
    }
}
