//! What a trace is asked to do.

use std::ffi::{CString, OsString};

use picket_events::Interest;
use picket_events::wire::Engine;

/// Which engines may trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    /// User notification, and ptrace where that is not to be had.
    #[default]
    Auto,
    /// This one or none.
    Only(Engine),
}

impl Choice {
    /// From the word of the command line.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "auto" => Choice::Auto,
            "notification" => Choice::Only(Engine::UserNotification),
            "ptrace" => Choice::Only(Engine::Ptrace),
            _ => return None,
        })
    }
}

/// Everything that `trace` was told, ready for use.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The agent's socket, `None` for none.
    pub(crate) socket: Option<CString>,
    /// Name of the container.
    pub(crate) container: String,
    /// What is traced.
    pub(crate) interest: Interest,
    /// Patterns of files that are watched for reads from the start, until the agent says which.
    pub(crate) watched: Vec<String>,
    /// Which engines may trace.
    pub(crate) engine: Choice,
    /// Keep the next worker ready above the application.
    pub(crate) spare: bool,
    /// Do without what kernels after 5.10 have for a tracer: waits that only a fatal signal ends (5.19),
    /// wake-ups on the same processor (6.6), short turns (6.12). For tests and benchmarks on later ones.
    pub(crate) like_old_kernels: bool,
    /// Fail rather than run the program untraced.
    pub(crate) require_tracing: bool,
    /// Descriptors above standard error that we were started with.
    pub(crate) inherited: Vec<i32>,
    /// The program and its arguments.
    pub(crate) command: Vec<OsString>,
    /// Of a session that somebody opened in the container: who says who that is. Not read here.
    pub(crate) session_token: Option<String>,
    /// Key that binds this container's connections together.
    pub(crate) session_key: [u8; 32],
    /// Nanoseconds since the epoch.
    pub(crate) started_at: u64,
    /// Nanoseconds since the epoch at boot.
    pub(crate) boot_time: u64,
    /// Id of the container as the runtime gave it, or empty.
    pub(crate) container_id: String,
}

/// Yama's `ptrace_scope`, where the kernel has Yama.
pub(crate) fn yama_scope() -> Option<u32> {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?;
    scope.trim().parse().ok()
}

/// Whether Yama lets us read our descendants only.
pub(crate) fn yama_restricts() -> bool {
    const SYS_PTRACE: u64 = 1 << 19;
    let is_restricted = yama_scope() == Some(1);
    let has_right = crate::proc::status(std::process::id(), Some(0))
        .is_ok_and(|status| status.credentials.cap_effective & SYS_PTRACE != 0);
    is_restricted && !has_right
}

/// The container's id: 64 hex digits (or ECS' shorter form) in the names of control groups or
/// of the container's own mounts.
pub(crate) fn container_id() -> String {
    ["/proc/self/cgroup", "/proc/self/mountinfo"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .find_map(|text| find_container_id(&text))
        .unwrap_or_default()
}

fn find_container_id(text: &str) -> Option<String> {
    let is_hex = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .find(is_hex)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_id_is_found_between_whatever_surrounds_it() {
        let id = "0123456789abcdef".repeat(4);
        let line = format!("0::/kubepods/pod1234/cri-containerd-{id}.scope\n");
        assert_eq!(super::find_container_id(&line), Some(id));
        assert_eq!(super::find_container_id("0::/\n"), None);
    }
}
