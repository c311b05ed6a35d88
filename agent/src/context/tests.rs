use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use picket_events::wire::Account;
use picket_events::{Address, Credentials, File, Image, Outcome, Process, Protocol};
use picket_rules::Catalogue;
use picket_rules::catalogue::FieldInfo;

use super::*;

#[test]
fn a_field_without_an_accessor_says_why_and_no_other_does() {
    let catalogue = Catalogue::standard();
    // Of events that never happen here, nobody asks.
    let happens = |field: &FieldInfo| {
        let event = field.event.map(|event| catalogue.event_info(event));
        event.is_none_or(|event| event.never.is_none())
    };
    let fields: Vec<&FieldInfo> = catalogue.fields().map(|(_, info)| info).collect();
    let excused: BTreeSet<&str> = fields
        .iter()
        .filter(|field| happens(field) && field.zero.is_some())
        .map(|field| field.name.as_str())
        .collect();
    let accessors = Accessors::new(&catalogue);
    let unanswered = accessors.unanswered(&catalogue);
    let unanswered: BTreeSet<&str> = fields
        .iter()
        .filter(|field| happens(field) && unanswered.contains(&field.name.as_str()))
        .map(|field| field.name.as_str())
        .collect();
    let silent: Vec<_> = unanswered.difference(&excused).collect();
    assert!(silent.is_empty(), "zero without a reason: {silent:#?}");
    let filled: Vec<_> = excused.difference(&unanswered).collect();
    assert!(filled.is_empty(), "filled, and excused: {filled:#?}");
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
            image: Some(Image {
                file: File::from_path(path),
                argv: argv.iter().map(|&text| text.to_owned()).collect(),
                ..Image::default()
            }),
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
            name: event.event_type().name(),
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
