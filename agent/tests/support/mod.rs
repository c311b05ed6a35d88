//! A tracer in a few words: builds the messages that one would send.

// Each test binary uses its own part of this.
#![allow(dead_code, reason = "shared by several test binaries")]

use std::sync::Arc;

use picket_agent::finding::Finding;
use picket_agent::identity::{Identity, Mode};
use picket_agent::pipeline::{LoadedRules, Output, Pipeline};
use picket_events::event::{Exit, ExitCause};
use picket_events::finding::PodIdentity;
use picket_events::wire::{
    Account, Engine, Environments, FrameWriter, Goodbye, Hello, Lost, Notice, ToAgent, ToTracer,
    VERSION,
};
use picket_events::{Event, EventKind, File, Image, Interest, Outcome, Process};
use picket_rules::{Catalogue, LoadOptions, PolicySource, RuleSet};

/// When every test begins: 2026-01-01T00:00:00Z.
pub(crate) const START: u64 = 1_767_225_600_000_000_000;
/// A second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Rules that the tests know.
pub(crate) const RULES: &str = r#"
version: 1.0.0
rules:
  - id: web_shell
    version: 1.2.0
    description: A web server does not start shells by itself.
    expression: exec.file.name in ["sh", "bash"] && process.ancestors.file.name == "nginx"
    tags:
      finding: Execution:Runtime/SuspiciousShellCreated
      severity: high
      title: A shell was started by a web server
      remediation: Look at what the shell did, replace the pod.
      technique: T1059.004
    actions:
      - kill:
          signal: SIGKILL
          scope: process
  - id: dropped_file
    expression: exec.file.in_upper_layer == true
    tags: {finding: "Execution:Runtime/NewBinaryExecuted", severity: medium}
  - id: secret_read
    expression: open.file.path == "/etc/shadow"
  - id: became_root
    expression: setuid.euid == 0 && process.uid != 0
  - id: docker_socket
    expression: connect.addr.path == "/run/docker.sock"
  - id: kill_all
    expression: unlink.file.path == "/self-destruct"
    actions:
      - kill:
          signal: SIGTERM
          scope: container
"#;

/// Rules from policy text.
pub(crate) fn load(text: &str) -> LoadedRules {
    let source = PolicySource {
        name: "test.policy".to_owned(),
        text: text.to_owned(),
        origin: "/rules/test.policy".to_owned(),
    };
    let catalogue = Catalogue::standard();
    let (rules, report) = RuleSet::load(&catalogue, &[source], &LoadOptions::default());
    LoadedRules {
        rules: Arc::new(rules),
        report,
    }
}

/// [`RULES`], all of which must load.
pub(crate) fn rules() -> LoadedRules {
    let loaded = load(RULES);
    assert!(loaded.report.is_ok(), "{:#?}", loaded.report);
    loaded
}

/// An agent in a pod.
pub(crate) fn identity(mode: Mode) -> Identity {
    Identity {
        pod: PodIdentity {
            namespace: "shop".to_owned(),
            name: "web-7d9c5-abcde".to_owned(),
            uid: "11111111-2222-3333-4444-555555555555".to_owned(),
            node: "fargate-ip-10-0-1-2".to_owned(),
            workload: "Deployment/web".to_owned(),
        },
        policy: "shop/protect".to_owned(),
        revision: "r1".to_owned(),
        mode,
        started_at: START - SECOND,
    }
}

/// The hello of a container's tracer, with this session key.
pub(crate) fn hello(container: &str, key: u8) -> Hello {
    Hello {
        version: VERSION,
        container: container.to_owned(),
        container_id: format!("{container}-id"),
        session_key: [key; 32],
        started_at: START,
        entrypoint: vec!["/usr/sbin/nginx".to_owned()],
        engine: Engine::UserNotification,
        interest: Interest::everything().to_string(),
        generation: 0,
        session_token: None,
    }
}

/// What one tracer says, in order.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) messages: Vec<ToAgent>,
    sequence: u64,
    time: u64,
}

impl Script {
    /// Begins with this hello.
    pub(crate) fn new(hello: Hello) -> Self {
        Self {
            messages: vec![ToAgent::Hello(Box::new(hello))],
            sequence: 0,
            time: START,
        }
    }

    /// A container called web whose pid 1 runs nginx, and names for uid 0 and 33.
    pub(crate) fn web() -> Self {
        Self::new(hello("web", 1))
            .account(0, "root")
            .account(33, "www-data")
            .process(1, 0, "/usr/sbin/nginx", &["nginx", "-g", "daemon off;"])
    }

    pub(crate) fn message(mut self, message: ToAgent) -> Self {
        self.messages.push(message);
        self
    }

    pub(crate) fn account(self, id: u32, name: &str) -> Self {
        self.message(ToAgent::Account(Account {
            group: false,
            id,
            name: name.to_owned(),
        }))
    }

    pub(crate) fn process(self, pid: u32, parent: u32, path: &str, argv: &[&str]) -> Self {
        let process = process(pid, parent, path, argv);
        self.message(ToAgent::Process(Box::new(process)))
    }

    pub(crate) fn lost(self, lost: Lost) -> Self {
        self.message(ToAgent::Lost(lost))
    }

    pub(crate) fn notice(self, notice: Notice) -> Self {
        self.message(ToAgent::Notice(notice))
    }

    pub(crate) fn goodbye(mut self) -> Self {
        let last_sequence = self.sequence;
        self.messages.push(ToAgent::Goodbye(Goodbye {
            code: Some(0),
            signal: None,
            last_sequence,
        }));
        self
    }

    /// Events that never arrive: their numbers are used up.
    pub(crate) fn gap(mut self, count: u64) -> Self {
        self.sequence += count;
        self
    }

    pub(crate) fn event(self, pid: u32, kind: EventKind) -> Self {
        self.event_with(pid, Outcome::Succeeded, kind)
    }

    pub(crate) fn event_with(mut self, pid: u32, outcome: Outcome, kind: EventKind) -> Self {
        self.sequence += 1;
        self.time += SECOND / 10;
        let (sequence, time) = (self.sequence, self.time);
        self.messages.push(ToAgent::Event(Box::new(Event {
            sequence,
            time,
            pid,
            tid: pid,
            outcome,
            kind,
        })));
        self
    }

    pub(crate) fn fork(self, pid: u32, parent: u32, path: &str) -> Self {
        let mut child = process(pid, parent, path, &[path]);
        child.executed_at = 0;
        self.event(pid, EventKind::Fork(Box::new(child)))
    }

    pub(crate) fn exec(self, pid: u32, path: &str, argv: &[&str]) -> Self {
        self.event(pid, EventKind::Exec(Box::new(image(path, argv))))
    }

    pub(crate) fn open(self, pid: u32, path: &str) -> Self {
        self.event(
            pid,
            EventKind::Open {
                file: file(path),
                flags: 0,
                mode: 0,
            },
        )
    }

    pub(crate) fn exit(self, pid: u32) -> Self {
        self.event(
            pid,
            EventKind::Exit(Exit {
                cause: ExitCause::Exited,
                code: Some(0),
            }),
        )
    }

    /// The messages as they go over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut writer = FrameWriter::new();
        let mut environments = Environments::default();
        for message in &self.messages {
            if let Some(environment) = environments.before(message) {
                let message = ToAgent::Environment(environment);
                writer.push(&message).expect("an environment fits");
            }
            writer.push(message).expect("messages of tests fit a frame");
        }
        writer.take()
    }
}

/// A file that came with the image.
pub(crate) fn file(path: &str) -> File {
    File {
        inode: 100 + path.len() as u64,
        mode: 0o100_755,
        change_time: START - 3600 * SECOND,
        modification_time: START - 7200 * SECOND,
        filesystem: "overlay".into(),
        links: 1,
        ..File::from_path(path)
    }
}

pub(crate) fn image(path: &str, argv: &[&str]) -> Image {
    let file = file(path);
    Image {
        comm: file.name.chars().take(15).collect(),
        file,
        argv: argv.iter().map(|&text| text.to_owned()).collect(),
        envs: vec!["PATH".to_owned()].into(),
        cwd: "/".to_owned(),
        ..Image::default()
    }
}

pub(crate) fn process(pid: u32, parent: u32, path: &str, argv: &[&str]) -> Process {
    let mut process = Process {
        pid,
        parent,
        started_at: START + u64::from(pid),
        session: 1,
        image: Some(image(path, argv)),
        executed_at: START + u64::from(pid),
        ..Process::default()
    };
    let ids = &mut process.credentials;
    (ids.uid, ids.euid, ids.suid, ids.fsuid, ids.auid) = (33, 33, 33, 33, u32::MAX);
    process
}

/// What came out of a pipeline.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) findings: Vec<Finding>,
    pub(crate) messages: Vec<ToTracer>,
}

/// Sorts outputs into findings and messages.
pub(crate) fn sort(outputs: Vec<Output>) -> Outputs {
    let mut sorted = Outputs::default();
    for output in outputs {
        match output {
            Output::Finding(finding) => sorted.findings.push(*finding),
            Output::Message(_, message) => sorted.messages.push(message),
            Output::Quarantine(on) => sorted.messages.push(ToTracer::Quarantine(on)),
            Output::Deny(rules) => sorted.messages.push(ToTracer::Deny(rules)),
        }
    }
    sorted
}

/// Plays a script through a pipeline on a connection of its own.
pub(crate) fn play(pipeline: &mut Pipeline, script: &Script, now: u64) -> Outputs {
    let mut outputs: Vec<Output> = Vec::new();
    let mut ingest = picket_agent::ingest::Ingest::new();
    let _ = ingest.feed(pipeline, &script.bytes(), now, &mut outputs);
    ingest.close(pipeline, now, &mut outputs);
    sort(outputs)
}

/// A finding in one line: rule, executable, what it descends from, what was done.
pub(crate) fn summary(finding: &Finding) -> String {
    let mut line = finding.agent.rule_id.clone();
    if let Some(process) = &finding.process {
        let own = std::iter::once(&process.process);
        for node in own.chain(&process.ancestors) {
            let path = node
                .executable
                .as_ref()
                .map_or("?", |file| file.path.as_str());
            line.push_str(&format!(" {}:{path}", node.pid));
        }
    }
    for action in &finding.agent.rule_actions {
        line.push_str(&format!(
            " [{} {} {:?}]",
            action.action, action.status, action.pids
        ));
    }
    line
}

/// Names of all findings in order, events that only inform left out.
pub(crate) fn names(findings: &[Finding]) -> Vec<&str> {
    let told = findings.iter().filter(|finding| finding.finding.is_some());
    told.map(|finding| finding.agent.rule_id.as_str()).collect()
}
