use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use picket_events::wire::Account;
use picket_events::{Address, Credentials, File, Image, Outcome, Process, Protocol};
use picket_rules::Catalogue;

use super::*;

/// Fields of files that a system call tracer has no way to know.
const UNKNOWN_OF_FILES: &[&str] = &[
    "hashes",
    "mount_detached",
    "mount_visible",
    "package.epoch",
    "package.name",
    "package.release",
    "package.source_epoch",
    "package.source_release",
    "package.source_version",
    "package.version",
];

/// Fields of processes that a system call tracer has no way to know, or does not tell yet.
const UNKNOWN_OF_PROCESSES: &[&str] = &[
    "caps_attempted",
    "caps_used",
    "cgroup.file.inode",
    "cgroup.file.mount_id",
    "cgroup.version",
    "is_kworker",
    "mntns",
    "netns",
    "user_session.id",
    "user_session.k8s_groups",
    "user_session.k8s_uid",
    "user_session.k8s_username",
    "user_session.session_type",
    "user_session.ssh_auth_method",
    "user_session.ssh_client_ip",
    "user_session.ssh_port",
    "user_session.ssh_public_key",
    "user_session.ssh_username",
];

/// Other fields without an accessor.
const UNKNOWN: &[&str] = &[
    "bpf.map.name",
    "bpf.map.type",
    "bpf.prog.attach_type",
    "bpf.prog.helpers",
    "bpf.prog.name",
    "bpf.prog.tag",
    "bpf.prog.type",
    "cgroup.file.inode",
    "cgroup.file.mount_id",
    "cgroup.version",
    "chdir.syscall.path",
    "chmod.syscall.path",
    "chown.syscall.path",
    "connect.addr.hostname",
    "event.rule.tags",
    "event.signature",
    "exec.file.metadata.abi",
    "exec.file.metadata.architecture",
    "exec.file.metadata.compression",
    "exec.file.metadata.is_executable",
    "exec.file.metadata.is_garble_obfuscated",
    "exec.file.metadata.is_upx_packed",
    "exec.file.metadata.size",
    "exec.file.metadata.type",
    "exec.syscall.path",
    "link.syscall.destination.path",
    "link.syscall.path",
    "load_module.args_truncated",
    "mkdir.syscall.path",
    "mount.detached",
    "mount.root.path",
    "mount.syscall.mountpoint.path",
    "mount.visible",
    "open.syscall.path",
    "rename.syscall.destination.path",
    "rename.syscall.path",
    "rmdir.syscall.path",
    "setsockopt.filter_hash",
    "setsockopt.filter_instructions",
    "setsockopt.filter_len",
    "setsockopt.is_filter_truncated",
    "setsockopt.used_immediates",
    "splice.pipe_entry_flag",
    "splice.pipe_exit_flag",
    "unlink.syscall.dirfd",
    "unlink.syscall.path",
    "utimes.syscall.path",
];

fn is_expected(name: &str) -> bool {
    let ends_with_one_of = |names: &[&str]| names.iter().any(|end| name.ends_with(end));
    let of_file = |name: &str| name.contains("file.") && ends_with_one_of(UNKNOWN_OF_FILES);
    let record = ["process", "exec", "exit", "target", "tracee"];
    let of_process = || {
        record
            .iter()
            .any(|record| name.split('.').any(|part| part == *record))
            && ends_with_one_of(UNKNOWN_OF_PROCESSES)
    };
    UNKNOWN.contains(&name) || of_file(name) || of_process()
}

#[test]
fn every_field_has_an_accessor_or_is_known_to_have_none() {
    let catalogue = Catalogue::standard();
    let accessors = Accessors::new(&catalogue);
    // Events that the catalogue itself says can never happen here have none.
    let never = |name: &str| {
        let event = catalogue
            .field(name)
            .and_then(|field| catalogue.info(field).event);
        event.is_some_and(|event| catalogue.event_info(event).never.is_some())
    };
    let unanswered: BTreeSet<&str> = accessors
        .unanswered(&catalogue)
        .into_iter()
        .filter(|name| !never(name) && !name.starts_with("network."))
        .collect();
    let forgotten: Vec<_> = unanswered
        .iter()
        .filter(|name| !is_expected(name))
        .collect();
    assert!(
        forgotten.is_empty(),
        "fields without accessor: {forgotten:#?}"
    );
    let answered: Vec<_> = UNKNOWN
        .iter()
        .filter(|name| !unanswered.contains(*name))
        .collect();
    assert!(
        answered.is_empty(),
        "fields that have an accessor by now: {answered:#?}"
    );
}

/// A container in which pid 1 (`/usr/sbin/nginx`) has the child 2 (`/bin/sh -c id`).
struct World {
    tree: ProcessTree,
    container: ContainerInfo,
    identity: Identity,
    accessors: Arc<Accessors>,
}

impl World {
    fn new() -> Self {
        let mut container = ContainerInfo {
            name: "web".to_owned(),
            id: "c0ffee".to_owned(),
            started_at: 1_000,
            ..ContainerInfo::default()
        };
        container.accounts.insert(Account {
            group: false,
            id: 33,
            name: "www-data".to_owned(),
        });
        let mut tree = ProcessTree::default();
        let process = |pid, parent, path: &str, argv: &[&str]| Process {
            pid,
            parent,
            started_at: u64::from(pid) * 100,
            executed_at: u64::from(pid) * 100 + 1,
            credentials: Credentials {
                uid: 33,
                auid: u32::MAX,
                ..Credentials::default()
            },
            image: Image {
                file: File::from_path(path),
                argv: argv.iter().map(|&text| text.to_owned()).collect(),
                ..Image::default()
            },
            ..Process::default()
        };
        tree.insert(process(1, 0, "/usr/sbin/nginx", &["nginx"]));
        tree.insert(process(2, 1, "/bin/sh", &["sh", "-c", "id"]));
        Self {
            tree,
            container,
            identity: Identity::default(),
            accessors: standard_accessors(),
        }
    }

    /// The value of a field for an event of pid 2, as text.
    fn value(&self, kind: EventKind, field: &str) -> String {
        let event = Event {
            sequence: 1,
            time: 9_000,
            pid: 2,
            tid: 3,
            outcome: Outcome::Denied(1),
            kind,
        };
        let key = self.tree.find(2).unwrap();
        let ancestors: Vec<Key> = self.tree.ancestors(key).map(|(key, _)| key).collect();
        let target = self.tree.find(1).and_then(|key| self.tree.get(key));
        let process = self.tree.get(key);
        let derived = Derived::of(&event);
        let scene = Scene {
            event: &event,
            process,
            executed: process,
            ancestors: &ancestors,
            target,
            target_ancestors: &[],
            tree: &self.tree,
            container: &self.container,
            identity: &self.identity,
            derived: &derived,
            accessors: &self.accessors,
        };
        let id = Catalogue::standard()
            .field(field)
            .unwrap_or_else(|| panic!("no field {field}"));
        match scene.value(id) {
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Str(value) => value.to_owned(),
            Value::Ip(value) => value.to_string(),
            Value::Strs(values) => values.join("|"),
            other => format!("{other:?}"),
        }
    }
}

#[test]
fn fields_are_answered_from_where_they_belong() {
    let world = World::new();
    let changed = File {
        change_time: 2_000,
        inode: 5,
        mode: 0o104_755,
        ..File::from_path("/tmp/x.sh")
    };
    let open = || EventKind::Open {
        file: changed.clone(),
        flags: 0o101,
        mode: 0o600,
    };
    let connect = |address| EventKind::Connect {
        address,
        protocol: Protocol::TCP,
    };
    let tcp = || {
        connect(Address::Ip {
            ip: Ipv4Addr::new(8, 8, 8, 8).into(),
            port: 53,
        })
    };
    let signal = || EventKind::Signal {
        signal: 9,
        target: 1,
    };
    let cases = [
        (open(), "open.file.path", "/tmp/x.sh"),
        (open(), "open.file.extension", ".sh"),
        (open(), "open.file.rights", "2541"),
        (open(), "open.file.in_upper_layer", "true"),
        (open(), "open.file.destination.mode", "384"),
        (open(), "open.flags", "65"),
        (open(), "open.retval", "-1"),
        (open(), "open.filename", "/tmp/x.sh"),
        (open(), "process.file.path", "/bin/sh"),
        (open(), "process.file.in_upper_layer", "false"),
        (open(), "process.args", "-c id"),
        (open(), "process.argv", "-c|id"),
        (open(), "process.args_flags", "c"),
        (open(), "process.args_options", "c=id"),
        (open(), "process.user", "www-data"),
        (open(), "process.auid", "4294967295"),
        (open(), "process.tid", "3"),
        (open(), "process.container.id", "c0ffee"),
        (open(), "process.parent.file.name", "nginx"),
        (open(), "process.parent.tid", "1"),
        (open(), "event.os", "linux"),
        (open(), "event.timestamp", "9000"),
        (open(), "container.created_at", "1000"),
        (open(), "connect.addr.ip", "0.0.0.0/32"),
        (open(), "connect.addr.port", "0"),
        (tcp(), "connect.addr.ip", "8.8.8.8/32"),
        (tcp(), "connect.addr.port", "53"),
        (tcp(), "connect.addr.is_public", "true"),
        (tcp(), "connect.protocol", "6"),
        (
            connect(Address::UnixPath("/run/docker.sock".into())),
            "connect.addr.path",
            "/run/docker.sock",
        ),
        (
            connect(Address::UnixPath("/run/docker.sock".into())),
            "connect.addr.family",
            "1",
        ),
        (
            connect(Address::UnixPath("/run/docker.sock".into())),
            "connect.addr.ip",
            "0.0.0.0/32",
        ),
        (signal(), "signal.target.file.path", "/usr/sbin/nginx"),
        (signal(), "signal.pid", "1"),
        (signal(), "signal.type", "9"),
    ];
    for (kind, field, expected) in cases {
        assert_eq!(world.value(kind, field), expected, "{field}");
    }
}

#[test]
fn public_addresses_are_those_routed_on_the_internet() {
    let v4 = |a, b, c, d| IpAddr::from(Ipv4Addr::new(a, b, c, d));
    let v6 = |text: &str| IpAddr::from(text.parse::<Ipv6Addr>().unwrap());
    for ip in [
        v4(8, 8, 8, 8),
        v4(100, 128, 0, 1),
        v4(172, 32, 0, 1),
        v6("2600::1"),
        v6("::ffff:1.1.1.1"),
    ] {
        assert!(is_public(ip), "{ip}");
    }
    for ip in [
        v4(10, 0, 0, 1),
        v4(172, 31, 0, 1),
        v4(192, 168, 0, 1),
        v4(127, 0, 0, 1),
        v4(169, 254, 169, 254),
        v4(100, 64, 0, 1),
        v4(0, 0, 0, 0),
        v4(224, 0, 0, 1),
        v6("::1"),
        v6("fe80::1"),
        v6("fd00:ec2::254"),
        v6("::ffff:10.0.0.1"),
        v6("2001:db8::1"),
    ] {
        assert!(!is_public(ip), "{ip}");
    }
}
