//! Fields that the acts leave empty, and why.

/// Why a field is empty.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Why {
    /// It is, whatever happens: SECL has the field where it says nothing.
    Never(#[allow(dead_code, reason = "for the reader")] &'static str),
    /// It is on this machine, or may be: what fills it is tested elsewhere.
    NotHere(#[allow(dead_code, reason = "for the reader")] &'static str),
}
use Why::{Never, NotHere};

const CHANGED: &str = "the call changes the time of change that the file is known by; of one that fails there are sums";

/// Names of fields, `*` for anything; the first that fits counts.
pub(crate) const EMPTY: &[(&str, Why)] = &[
    (
        "event.async",
        Never("nothing is reported later than it happened"),
    ),
    (
        "event.hostname",
        NotHere("picket run speaks for no node; agent/src/context/tests.rs"),
    ),
    (
        "event.service",
        NotHere("picket run speaks for no workload"),
    ),
    ("container.id", NotHere("picket run has no container")),
    ("*.container.id", NotHere("picket run has no container")),
    ("cgroup.id", NotHere("picket run has no container")),
    ("*.cgroup.id", NotHere("picket run has no container")),
    (
        "*.user_session.*",
        NotHere("nobody runs kubectl exec; agent/tests/sessions.rs, tests/line.rs"),
    ),
    (
        "*.is_kworker",
        Never("threads of the kernel belong to no container"),
    ),
    (
        "*.retval",
        NotHere("most acts succeed, and 0 is success; tracer/tests/events_ptrace.rs"),
    ),
    ("exec.is_thread", Never("what was executed is a program")),
    (
        "unlink.flags",
        Never("the one flag there is makes it a rmdir"),
    ),
    (
        "unlink.syscall.flags",
        Never("the one flag there is makes it a rmdir"),
    ),
    ("sysctl.name_truncated", Never("names are told as a whole")),
    ("cgroup_write.file.uid", NotHere("cgroups belong to root")),
    (
        "cgroup_write.file.in_upper_layer",
        NotHere("as old as the cgroup is"),
    ),
    ("cgroup_write.file.gid", NotHere("cgroups belong to root")),
    ("chmod.file.hashes", NotHere(CHANGED)),
    ("chown.file.hashes", NotHere(CHANGED)),
    ("utimes.file.hashes", NotHere(CHANGED)),
    ("setxattr.file.hashes", NotHere(CHANGED)),
    ("removexattr.file.hashes", NotHere(CHANGED)),
    ("rename.file.hashes", NotHere(CHANGED)),
    ("link.file.hashes", NotHere(CHANGED)),
    ("unlink.file.hashes", NotHere(CHANGED)),
    ("mkdir.file.hashes", Never("a directory has no sums")),
    ("rmdir.file.hashes", Never("a directory has no sums")),
    ("chdir.file.hashes", Never("a directory has no sums")),
    ("chroot.file.hashes", Never("a directory has no sums")),
];

pub(crate) fn reason(field: &str) -> Option<(&'static str, Why)> {
    let fits = |pattern: &str| {
        let mut parts = pattern.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = field.strip_prefix(first) else {
            return false;
        };
        let mut last = None;
        for part in parts {
            last = Some(part);
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        match last {
            None => rest.is_empty(),
            Some(end) => end.is_empty() || field.ends_with(end),
        }
    };
    EMPTY.iter().copied().find(|(pattern, _)| fits(pattern))
}
