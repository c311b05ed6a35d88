//! An event as rules see it: fields by name, answered from the event, its process, the
//! process tree, the container and the pod.
//!
//! Which function answers a field is worked out once per catalogue ([`Accessors`]); looking
//! at a field is then an index and a call, and allocates nothing.

mod accessors;
mod event_fields;
mod file_fields;
mod process_fields;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use picket_events::{Event, EventKind, File};
use picket_rules::value::unspecified;
use picket_rules::{Context, FieldId, IteratorId, Scope, Value};

use crate::accounts::Accounts;
use crate::hashes::{DONE, FileId, Unhashed};
use crate::identity::Identity;
use crate::randomness::randomness;
use crate::sessions::UserSession;
use crate::tree::{Key, ProcessNode, ProcessTree};
pub use accessors::Accessors;
use accessors::Lineage;

/// A container as far as rules and findings ask for it.
#[derive(Debug, Clone, Default)]
pub struct ContainerInfo {
    /// Name in the pod.
    pub name: String,
    /// The runtime's id; empty where unknown.
    pub id: String,
    /// When its tracer started, nanoseconds since the epoch.
    pub started_at: u64,
    /// `key:value` tags, as SECL's `container.tags` gives them.
    pub tags: Vec<String>,
    /// Names of its users and groups.
    pub accounts: Accounts,
    /// Distinguishes the processes of one container from those of another.
    pub scope_key: u64,
    /// The session that all of its processes belong to, where it is one.
    pub user_session: Option<UserSession>,
}

/// Values of one event that have to be put into another form before rules can see them.
#[derive(Debug, Default)]
pub struct Derived {
    addresses: Vec<IpNet>,
    arguments: Vec<String>,
    randomness: i64,
    hashes: Vec<(FileId, Result<Vec<String>, Unhashed>)>,
    /// Names that were looked up for the other end of a connection.
    pub(crate) hostnames: Vec<String>,
}

/// An event that is told from another one: whoever opens such a file is about to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Second {
    /// A kernel parameter is read or written.
    Sysctl,
    /// A process or thread is moved to another cgroup.
    CgroupWrite,
}

/// Where kernel parameters are.
const PARAMETERS: &str = "/proc/sys/";

/// Flags of an open that can write.
const WRITES: u32 = 0o3;

impl Second {
    /// What else an event means.
    pub(crate) fn of(kind: &EventKind) -> Option<Self> {
        let EventKind::Open { file, flags, .. } = kind else {
            return None;
        };
        if file.path.starts_with(PARAMETERS) {
            return Some(Self::Sysctl);
        }
        let lists = ["cgroup.procs", "cgroup.threads", "tasks"];
        let moves = file.path.starts_with("/sys/fs/cgroup/") && lists.contains(&&*file.name);
        (moves && flags & WRITES != 0).then_some(Self::CgroupWrite)
    }

    /// The event type's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sysctl => "sysctl",
            Self::CgroupWrite => "cgroup_write",
        }
    }
}

impl Derived {
    /// Works them out for an event. Most events have none, and nothing is allocated then.
    pub fn of(event: &Event) -> Self {
        match &event.kind {
            EventKind::Dns(dns) => {
                let addresses = dns.answers.iter().copied().map(IpNet::from).collect();
                Self {
                    addresses,
                    randomness: randomness(&dns.name),
                    ..Self::default()
                }
            }
            EventKind::LoadModule { arguments, .. } => {
                let arguments = arguments.split_whitespace().map(str::to_owned).collect();
                Self {
                    arguments,
                    ..Self::default()
                }
            }
            _ => Self::default(),
        }
    }

    /// Adds the sums of a file, for rules that compare them.
    pub(crate) fn hashed(&mut self, id: FileId, sums: Result<Vec<String>, Unhashed>) {
        self.hashes.push((id, sums));
    }

    /// The sums of a file; none where it was not hashed.
    pub(crate) fn hashes(&self, file: &File) -> &[String] {
        match self.sums(file) {
            Some(Ok(sums)) => sums,
            _ => &[],
        }
    }

    /// What became of the sums of a file; nothing where nobody asked for them.
    pub(crate) fn hash_state(&self, file: &File) -> &'static str {
        match self.sums(file) {
            Some(Ok(_)) => DONE,
            Some(Err(reason)) => reason.state(),
            None => "",
        }
    }

    fn sums(&self, file: &File) -> Option<&Result<Vec<String>, Unhashed>> {
        if self.hashes.is_empty() {
            return None;
        }
        let id = FileId::of(file);
        let found = self.hashes.iter().find(|(known, _)| Some(*known) == id);
        found.map(|(_, sums)| sums)
    }
}

/// Everything that one event is evaluated against.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// What happened.
    pub event: &'a Event,
    /// The event type that rules see it as, which is mostly its own.
    pub name: &'static str,
    /// The process that did it; `None` where the tree has no place for it.
    pub process: Option<&'a ProcessNode>,
    /// What that process would run now, if the exec had not been refused; the process itself
    /// otherwise.
    pub executed: Option<&'a ProcessNode>,
    /// What the process descends from, nearest first.
    pub ancestors: &'a [Key],
    /// The process that a signal, a trace or a limit is aimed at.
    pub target: Option<&'a ProcessNode>,
    /// What the target descends from, nearest first.
    pub target_ancestors: &'a [Key],
    /// The tree the keys belong to.
    pub tree: &'a ProcessTree,
    /// The container.
    pub container: &'a ContainerInfo,
    /// The pod and the agent.
    pub identity: &'a Identity,
    /// Values in another form.
    pub derived: &'a Derived,
    /// How fields are answered.
    pub accessors: &'a Accessors,
}

impl<'a> Scene<'a> {
    fn ancestor(&self, lineage: Lineage, index: usize) -> Option<&'a ProcessNode> {
        let keys = match lineage {
            Lineage::Process => self.ancestors,
            Lineage::Target => self.target_ancestors,
        };
        keys.get(index).and_then(|&key| self.tree.get(key))
    }

    /// The parent of the process, or what the process ran before.
    pub fn parent(&self) -> Option<&'a ProcessNode> {
        self.ancestor(Lineage::Process, 0)
    }

    /// True when the file was changed since the container started (`in_upper_layer`).
    pub(crate) fn is_changed(&self, file: &picket_events::File) -> bool {
        file_fields::is_changed(self, file)
    }

    fn key_of(&self, process: &ProcessNode) -> u64 {
        process.identity() ^ self.container.scope_key
    }
}

impl Context for Scene<'_> {
    fn value(&self, field: FieldId) -> Value<'_> {
        self.accessors.value(self, field, 0)
    }

    fn length(&self, iterator: IteratorId) -> usize {
        match self.accessors.lineage(iterator) {
            Some(Lineage::Process) => self.ancestors.len(),
            Some(Lineage::Target) => self.target_ancestors.len(),
            None => 0,
        }
    }

    fn element(&self, field: FieldId, index: usize) -> Value<'_> {
        self.accessors.value(self, field, index)
    }

    fn now(&self) -> i64 {
        clock(self.event.time)
    }

    fn scope_key(&self, scope: Scope) -> Option<u64> {
        match scope {
            Scope::Global => Some(0),
            Scope::Process => self.process.map(|process| self.key_of(process)),
            Scope::Container => Some(self.container.scope_key),
        }
    }

    fn ancestor_key(&self, scope: Scope, generation: usize) -> Option<u64> {
        match scope {
            Scope::Process => self
                .ancestor(Lineage::Process, generation)
                .map(|process| self.key_of(process)),
            Scope::Global | Scope::Container => None,
        }
    }

    fn process_key(&self, pid: i64) -> Option<u64> {
        let key = self.tree.find(u32::try_from(pid).ok()?)?;
        self.tree.get(key).map(|process| self.key_of(process))
    }
}

/// Tags of a container in the form that SECL's `container.tags` has.
pub fn container_tags(identity: &Identity, container: &str) -> Vec<String> {
    let pod = &identity.pod;
    let (kind, name) = pod.workload.split_once('/').unwrap_or_default();
    let owner = format!("kube_{}", kind.to_ascii_lowercase());
    let tags = [
        ("kube_namespace", pod.namespace.as_str()),
        ("pod_name", &pod.name),
        ("kube_container_name", container),
        ("kube_ownerref_name", name),
        (&owner, name),
    ];
    let filled = tags.into_iter().filter(|(_, value)| !value.is_empty());
    filled
        .map(|(key, value)| format!("{key}:{value}"))
        .collect()
}

/// A point in time as SECL's integers give it.
fn clock(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

/// True for addresses that are routed on the internet.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let benchmark = a == 198 && (18..20).contains(&b);
            let special = a == 0 || a >= 224 || (a, b, c) == (192, 0, 0);
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation())
                && !(shared || benchmark || special)
        }
        IpAddr::V6(ip) => {
            // 2000::/3 is what is given out; documentation has 2001:db8::/32 of it.
            let [first, second, ..] = ip.segments();
            first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0x0db8)
        }
    }
}

fn network(ip: Option<IpAddr>) -> IpNet {
    ip.map_or_else(unspecified, IpNet::from)
}

/// Accessors for the built-in catalogue.
pub fn standard_accessors() -> Arc<Accessors> {
    Arc::new(Accessors::new(&picket_rules::Catalogue::standard()))
}

#[cfg(test)]
mod tests;
