//! One sample finding of each type, to see that findings arrive where they should.
//!
//! They are put together like real ones, from the rules that are in use, and say of themselves
//! that they are samples: `finding.sample` is true and the title begins with `[SAMPLE]`. What they
//! tell of never happened.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use picket_events::event::{Dns, Exit, ExitCause, Imds};
use picket_events::finding::Severity;
use picket_events::{
    Address, Credentials, Event, EventKind, File, Image, Outcome, Process, Protocol,
};
use picket_rules::{Rule, RuleSet};
use serde_json::Map;

use crate::context::{Accessors, ContainerInfo, Derived, Scene};
use crate::finding::{Finding, RuleOutcome, finding};
use crate::identity::Identity;
use crate::tree::{Key, ProcessTree};

/// What stands in front of a sample's title.
const MARK: &str = "[SAMPLE] ";

/// The process that a sample is about, and its parent.
const PARENT: u32 = 1;
const CHILD: u32 = 2;

/// An address that is nobody's (RFC 5737).
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A sample of each finding type that the rules can give, in the order of the types.
///
/// Of several rules with one type, the most severe is shown.
pub fn samples(rules: &RuleSet, identity: &Identity, now: u64) -> Vec<Finding> {
    let mut by_type: BTreeMap<String, &Rule> = BTreeMap::new();
    for rule in rules.rules().iter().filter(|rule| !rule.silent) {
        let severity = |rule: &Rule| -> Severity { rule.meaning().severity };
        by_type
            .entry(rule.meaning().finding_type)
            .and_modify(|kept| {
                if Reverse(severity(rule)) < Reverse(severity(kept)) {
                    *kept = rule;
                }
            })
            .or_insert(rule);
    }
    let accessors = Accessors::new(rules.catalogue());
    by_type
        .values()
        .map(|rule| {
            let name = rules.catalogue().event_name(rule.event);
            sample(rule, name, &accessors, identity, now)
        })
        .collect()
}

fn sample(
    rule: &Rule,
    event_name: &str,
    accessors: &Accessors,
    identity: &Identity,
    now: u64,
) -> Finding {
    let mut tree = ProcessTree::default();
    tree.insert(process(PARENT, 0, "/usr/bin/sample-service", now));
    let key = tree.insert(process(CHILD, PARENT, "/usr/bin/sample", now));
    let container = ContainerInfo {
        name: "sample".to_owned(),
        started_at: now,
        ..ContainerInfo::default()
    };
    let event = Event {
        sequence: 0,
        time: now,
        pid: CHILD,
        tid: CHILD,
        outcome: Outcome::Succeeded,
        kind: kind(event_name),
    };
    let ancestors: Vec<Key> = key
        .iter()
        .flat_map(|&key| tree.ancestors(key))
        .map(|(key, _)| key)
        .collect();
    let process = key.and_then(|key| tree.get(key));
    let derived = Derived::of(&event);
    let scene = Scene {
        event: &event,
        name: event.event_type().name(),
        process,
        executed: process,
        ancestors: &ancestors,
        target: tree.find(PARENT).and_then(|key| tree.get(key)),
        target_ancestors: &[],
        tree: &tree,
        container: &container,
        identity,
        derived: &derived,
        accessors,
    };
    let outcome = RuleOutcome {
        rule,
        actions: Vec::new(),
        variables: Map::new(),
    };
    let mut sample = finding(&scene, outcome);
    sample.title.insert_str(0, MARK);
    if let Some(section) = &mut sample.finding {
        section.sample = true;
        section.meaning.title.insert_str(0, MARK);
    }
    sample
}

fn process(pid: u32, parent: u32, path: &str, now: u64) -> Process {
    Process {
        pid,
        parent,
        started_at: now,
        executed_at: now,
        credentials: Credentials {
            auid: u32::MAX,
            ..Credentials::default()
        },
        image: Some(image(path)),
        ..Process::default()
    }
}

fn image(path: &str) -> Image {
    let file = File::from_path(path);
    Image {
        comm: file.name.to_string(),
        argv: vec![file.name.to_string(), "--example".to_owned()],
        file,
        ..Image::default()
    }
}

/// An example of an event type; an exec for one that has none.
fn kind(event_name: &str) -> EventKind {
    let file = || File::from_path("/srv/sample");
    let address = Address::Ip {
        ip: NOBODY,
        port: 443,
    };
    match event_name {
        "open" | "sysctl" | "cgroup_write" => EventKind::Open {
            file: file(),
            flags: 0o101,
            mode: 0o600,
        },
        "unlink" => EventKind::Unlink {
            file: file(),
            flags: 0,
        },
        "rmdir" => EventKind::Rmdir { file: file() },
        "mkdir" => EventKind::Mkdir {
            file: file(),
            mode: 0o755,
        },
        "chdir" => EventKind::Chdir { file: file() },
        "chroot" => EventKind::Chroot { file: file() },
        "utimes" => EventKind::Utimes { file: file() },
        "rename" => EventKind::Rename {
            from: File::from_path("/srv/sample.new"),
            to: file(),
        },
        "link" => EventKind::Link {
            target: File::from_path("/dev/null"),
            link: file(),
            symbolic: true,
        },
        "chmod" => EventKind::Chmod {
            file: file(),
            mode: 0o4755,
        },
        "chown" => EventKind::Chown {
            file: file(),
            uid: Some(0),
            gid: None,
        },
        "mount" => EventKind::Mount {
            source: "/dev/sample".to_owned(),
            mountpoint: "/srv/sample".to_owned(),
            fs_type: "ext4".to_owned(),
        },
        "setuid" => EventKind::SetUid(Box::default()),
        "setgid" => EventKind::SetGid(Box::default()),
        "exit" => EventKind::Exit(Exit {
            cause: ExitCause::Exited,
            code: Some(0),
        }),
        "signal" => EventKind::Signal {
            signal: 9,
            target: 1,
        },
        "ptrace" => EventKind::Ptrace {
            request: 4,
            target: PARENT,
        },
        "memory_write" => EventKind::MemoryWrite { target: PARENT },
        "pidfd_getfd" => EventKind::TakeDescriptor {
            target: PARENT,
            file: file(),
            is_socket: false,
        },
        "scm_rights" => EventKind::PassDescriptor {
            file: file(),
            is_socket: false,
            count: 1,
        },
        "userfaultfd" => EventKind::Userfaultfd { flags: 0 },
        "bpf" => EventKind::Bpf { command: 5 },
        "io_uring" => EventKind::IoUring { entries: 8 },
        "load_module" => EventKind::LoadModule {
            file: File::from_path("/srv/sample.ko"),
            from_memory: false,
            name: "sample".to_owned(),
            arguments: String::new(),
        },
        "unload_module" => EventKind::UnloadModule {
            name: "sample".to_owned(),
        },
        "dup" => EventKind::Dup {
            descriptor: 0,
            is_socket: true,
            peer: Some(address),
        },
        "connect" => EventKind::Connect {
            address,
            protocol: Protocol::TCP,
        },
        "bind" => EventKind::Bind {
            address,
            protocol: Protocol::TCP,
        },
        "listen" => EventKind::Listen {
            address: Some(address),
        },
        "accept" => EventKind::Accept {
            peer: Some(address),
            local: None,
        },
        "dns" => EventKind::Dns(Box::new(Dns {
            name: "sample.example".to_owned(),
            question_type: 1,
            class: 1,
            count: 1,
            ..Dns::default()
        })),
        "imds" => EventKind::Imds(Box::new(Imds {
            cloud_provider: "aws".to_owned(),
            url: "/sample".to_owned(),
            ..Imds::default()
        })),
        _ => EventKind::Exec(Box::new(image("/usr/bin/sample"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rulefiles::RuleFiles;

    #[test]
    fn there_is_one_sample_of_each_type_and_it_says_what_it_is() {
        let rules = RuleFiles::default().load().rules;
        let samples = samples(&rules, &Identity::default(), 1_767_225_600_000_000_000);
        let types: BTreeSet<String> = rules
            .rules()
            .iter()
            .filter(|rule| !rule.silent)
            .map(|rule| rule.meaning().finding_type)
            .collect();
        assert_eq!(samples.len(), types.len());
        for sample in samples {
            let line: serde_json::Value = serde_json::from_str(&sample.to_line()).unwrap();
            assert_eq!(line["finding"]["sample"], true, "{line}");
            assert!(types.contains(line["finding"]["type"].as_str().unwrap()));
            for title in [&line["title"], &line["finding"]["title"]] {
                assert!(title.as_str().unwrap().starts_with("[SAMPLE] "), "{line}");
            }
            assert_eq!(line["container"]["name"], "sample");
        }
    }

    #[test]
    fn a_sample_shows_an_event_of_its_rules_type() {
        for (name, expected) in [("connect", "connect"), ("dns", "dns"), ("selinux", "exec")] {
            assert_eq!(kind(name).event_type().name(), expected);
        }
    }
}
