//! The server over a real Unix socket.

#[path = "server/descriptors.rs"]
mod descriptors;
#[path = "server/endings.rs"]
mod endings;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use picket_agent::finding::Finding;
use picket_agent::health::{self, HealthError, Responder};
use picket_agent::identity::Mode;
use picket_agent::pipeline::Pipeline;
use picket_agent::server::{Options, Server, Socket};
use picket_events::wire::{FrameReader, Refusal, ToAgent, ToTracer};
use picket_events::{EventKind, File};
use support::*;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longest wait for anything; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent that serves from a directory of its own.
struct Agent {
    directory: TempDir,
    server: Server,
    findings: Arc<Mutex<Vec<Finding>>>,
}

impl Agent {
    fn start(options: Options) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), options)
    }

    fn start_in(directory: TempDir, options: Options) -> Self {
        let findings = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&findings);
        let sink = move |finding| collected.lock().unwrap().push(finding);
        let socket = Socket::bind(&directory.path().join("run/agent.sock"), 0o666).unwrap();
        let pipeline = Pipeline::new(rules(), identity(Mode::Enforce));
        let server = Server::start(socket, pipeline, Arc::new(sink), options);
        Self {
            directory,
            server,
            findings,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("run/agent.sock")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.unwrap()
    }

    /// Connects, sends a whole script, and leaves the connection open.
    async fn send(&self, script: &Script) -> UnixStream {
        let mut stream = self.connect().await;
        stream.write_all(&script.bytes()).await.unwrap();
        stream
    }

    fn names(&self) -> Vec<String> {
        let findings = self.findings.lock().unwrap();
        names(&findings).into_iter().map(str::to_owned).collect()
    }

    /// Waits until these findings, and no others, are there, in any order.
    async fn expect(&self, expected: &[&str]) {
        let mut wanted: Vec<&str> = expected.to_vec();
        wanted.sort_unstable();
        let found = async {
            loop {
                let mut names = self.names();
                names.sort_unstable();
                if names == wanted {
                    return;
                }
                assert!(
                    names.len() <= wanted.len(),
                    "{names:?} instead of {wanted:?}"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, found).await.is_err() {
            panic!("{:?} instead of {wanted:?}", self.names());
        }
    }
}

/// Reads what the agent says until it closes the connection, or until so many messages came.
async fn answers(stream: &mut UnixStream, count: usize) -> Vec<ToTracer> {
    let mut reader = FrameReader::new();
    let mut messages = Vec::new();
    let mut buffer = [0; 4096];
    while messages.len() < count {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
        let length = read
            .expect("the agent answers or closes in time")
            .unwrap_or(0);
        if length == 0 {
            break;
        }
        reader.feed(&buffer[..length]);
        while let Some(frame) = reader.next_frame().unwrap() {
            // With its welcome each tracer is told what to refuse: nothing, by these rules.
            let said = frame.messages::<ToTracer>().map(Result::unwrap);
            messages.extend(said.filter(|said| *said != ToTracer::Deny(Vec::new())));
        }
    }
    messages
}

fn shell() -> Script {
    Script::web()
        .fork(2, 1, "/usr/sbin/nginx")
        .exec(2, "/bin/sh", &["sh"])
}

#[tokio::test]
async fn an_event_becomes_a_finding_and_the_verdict_comes_back() {
    let agent = Agent::start(Options::default());
    let mut tracer = agent.send(&shell()).await;
    let kill = ToTracer::Kill {
        pid: 2,
        started_at: START + 2,
        signal: 9,
    };
    assert_eq!(answers(&mut tracer, 2).await, [ToTracer::Welcome, kill]);
    agent.expect(&["web_shell"]).await;
}

#[tokio::test]
async fn a_quarantine_reaches_every_tracer() {
    let agent = Agent::start(Options::default());
    let mut first = agent.send(&Script::web()).await;
    let other = Script::new(hello("sidecar", 2)).process(1, 0, "/usr/bin/envoy", &["envoy"]);
    let mut second = agent.send(&other).await;
    for stream in [&mut first, &mut second] {
        assert_eq!(answers(stream, 1).await, [ToTracer::Welcome]);
    }
    for on in [true, false] {
        agent.server.quarantine(on, "operator").await;
        for stream in [&mut first, &mut second] {
            assert_eq!(answers(stream, 1).await, [ToTracer::Quarantine(on)]);
        }
    }
    agent.server.quarantine(true, "operator").await;
    let third = Script::new(hello("another", 3)).process(1, 0, "/usr/bin/envoy", &["envoy"]);
    let mut third = agent.send(&third).await;
    let told = answers(&mut third, 2).await;
    assert_eq!(told, [ToTracer::Welcome, ToTracer::Quarantine(true)]);
}

#[tokio::test]
async fn two_containers_are_kept_apart() {
    let agent = Agent::start(Options::default());
    let other = Script::new(hello("sidecar", 2))
        .process(1, 0, "/usr/bin/envoy", &["envoy"])
        .fork(2, 1, "/usr/bin/envoy")
        .exec(2, "/bin/sh", &["sh"])
        .open(2, "/etc/shadow");
    let _web = agent.send(&shell()).await;
    let _other = agent.send(&other).await;
    agent.expect(&["web_shell", "secret_read"]).await;
    let findings = agent.findings.lock().unwrap();
    let read = findings
        .iter()
        .find(|finding| finding.agent.rule_id == "secret_read")
        .unwrap();
    assert_eq!(summary(read), "secret_read 2:/bin/sh 1:/usr/bin/envoy");
    assert_eq!(read.container.as_ref().unwrap().name, "sidecar");
}

/// A rule reports so often at once, whatever somebody does to have it match: in each container.
#[tokio::test]
async fn what_one_container_has_reported_hides_nothing_of_another() {
    let agent = Agent::start(Options::default());
    let mut often = Script::web();
    for _ in 0..200 {
        often = often.open(1, "/etc/shadow");
    }
    for message in &mut often.messages {
        if let ToAgent::Event(event) = message {
            event.time = START;
        }
    }
    let mut expected = vec!["secret_read"; 40];
    let _web = agent.send(&often).await;
    agent.expect(&expected).await;
    let other = Script::new(hello("sidecar", 2))
        .process(1, 0, "/usr/bin/envoy", &["envoy"])
        .open(1, "/etc/shadow");
    let _other = agent.send(&other).await;
    expected.push("secret_read");
    agent.expect(&expected).await;
}

#[tokio::test]
async fn whoever_breaks_the_rules_is_cut_off_and_others_go_on() {
    let agent = Agent::start(Options::default());
    let mut good = agent.send(&Script::web()).await;
    assert_eq!(answers(&mut good, 1).await, [ToTracer::Welcome]);
    let bad: [&[u8]; 4] = [
        &u32::MAX.to_le_bytes(),
        &[0; 4],
        &[3, 0, 0, 0, 9, 9, 9],
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for bytes in bad {
        let mut stream = agent.connect().await;
        stream.write_all(bytes).await.unwrap();
        assert_eq!(answers(&mut stream, 1).await, [], "{bytes:?}");
    }
    let mut more = Script::web().open(1, "/etc/shadow");
    more.messages.drain(..4);
    good.write_all(&more.bytes()).await.unwrap();
    let mut expected = vec!["malformed_message"; 4];
    expected.push("secret_read");
    agent.expect(&expected).await;
    assert_eq!(agent.server.counters().await.violations, 4);
}

#[tokio::test]
async fn a_forged_session_is_refused_while_the_container_lives() {
    let agent = Agent::start(Options::default());
    let mut owner = agent.send(&Script::web()).await;
    assert_eq!(answers(&mut owner, 1).await, [ToTracer::Welcome]);
    let mut forger = agent
        .send(&Script::new(hello("web", 9)).open(1, "/etc/shadow"))
        .await;
    assert_eq!(
        answers(&mut forger, 9).await,
        [ToTracer::Refused(Refusal::SessionKey)]
    );
    let mut old = hello("web", 1);
    old.version += 1;
    let mut other_version = agent.send(&Script::new(old)).await;
    assert_eq!(
        answers(&mut other_version, 9).await,
        [ToTracer::Refused(Refusal::Version)]
    );
    agent.expect(&["forged_session", "malformed_message"]).await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_cannot_keep_a_tracer_waiting() {
    let options = Options {
        greetings: 4,
        hello_timeout: Duration::from_millis(300),
        ..Options::default()
    };
    let agent = Agent::start(options);
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut stream = agent.connect().await;
        // Begins a frame and never ends it.
        stream.write_all(&[200, 0]).await.unwrap();
        silent.push(stream);
    }
    let mut tracer = agent.send(&Script::web()).await;
    assert_eq!(answers(&mut tracer, 1).await, [ToTracer::Welcome]);
    for stream in &mut silent {
        assert_eq!(answers(stream, 1).await, []);
    }
    // Of eight reports, five are let through.
    agent.expect(&["malformed_message"; 5]).await;
    assert_eq!(agent.server.counters().await.violations, 8);
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let agent = Agent::start(Options {
        connections: 1,
        ..Options::default()
    });
    let mut first = agent.send(&Script::web()).await;
    assert_eq!(answers(&mut first, 1).await, [ToTracer::Welcome]);
    let mut second = agent.connect().await;
    assert_eq!(
        answers(&mut second, 9).await,
        [ToTracer::Refused(Refusal::TooMany)]
    );
}

#[tokio::test]
async fn a_busy_connection_leaves_the_others_their_turn() {
    let agent = Agent::start(Options::default());
    let mut busy_script = Script::web();
    for _ in 0..20_000 {
        busy_script = busy_script.open(1, "/var/log/nginx/access.log");
    }
    let busy = busy_script.bytes();
    let mut stream = agent.connect().await;
    let flood = tokio::spawn(async move { stream.write_all(&busy).await.map(|()| stream) });
    let quiet = Script::new(hello("quiet", 2)).open(1, "/etc/shadow");
    let mut other = agent.send(&quiet).await;
    assert_eq!(answers(&mut other, 1).await, [ToTracer::Welcome]);
    agent.expect(&["secret_read"]).await;
    flood.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_starting_from_well_from_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = health::socket_beside(&directory.path().join("agent.sock"));
    let ask = |path: PathBuf| tokio::task::spawn_blocking(move || health::ask(&path, PATIENCE));
    let gone = ask(path.clone()).await.unwrap();
    assert!(
        matches!(gone, Err(HealthError::NoAnswer { .. })),
        "{gone:?}"
    );

    let responder = Responder::start(Socket::bind(&path, 0o600).unwrap());
    let starting = ask(path.clone()).await.unwrap().unwrap_err();
    assert_eq!(starting.to_string(), "starting: rules are not loaded yet");

    let agent = Agent::start(Options::default());
    responder.watch(&agent.server);
    let _tracer = agent.send(&Script::web().open(1, "/etc/shadow")).await;
    agent.expect(&["secret_read"]).await;
    let well = ask(path).await.unwrap().unwrap();
    assert_eq!(
        well,
        "ok rules=6 refused=0 containers=1 events=1 findings=1"
    );
}

/// Two rules that every removal matches, named after their set.
fn pair(set: &str) -> String {
    let rule = |number: u8| {
        format!(
            "- {{id: {set}{number}, expression: unlink.file.path != \"\", limiter_token: [unlink.file.path]}}\n"
        )
    };
    format!("rules:\n{}{}", rule(1), rule(2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_evaluated_against_half_a_rule_set() {
    const ROUNDS: usize = 40;
    const REMOVALS: usize = 25;
    let agent = Agent::start(Options::default());
    let (old, new) = (pair("old"), pair("new"));
    agent.server.replace_rules(load(&old)).await;
    let mut script = Script::web();
    let mut sent = 0;
    let mut stream = agent.connect().await;
    for round in 0..ROUNDS {
        for _ in 0..REMOVALS {
            let file = File::from_path(format!("/removed/{sent}"));
            script = script.event(1, EventKind::Unlink { file, flags: 0 });
            sent += 1;
        }
        let rules = load(if round % 2 == 0 { &old } else { &new });
        let bytes = script.bytes();
        script.messages.clear();
        let (written, ()) =
            tokio::join!(stream.write_all(&bytes), agent.server.replace_rules(rules));
        written.unwrap();
    }
    let both = async {
        while agent.names().iter().filter(|name| name.len() == 4).count() < 2 * sent {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    let mut by_file: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for finding in agent.findings.lock().unwrap().iter() {
        if let Some(file) = &finding.file {
            let rules = by_file.entry(file.path.clone()).or_default();
            rules.insert(finding.agent.rule_id.clone());
        }
    }
    assert_eq!(by_file.len(), sent);
    let sets: BTreeSet<Vec<&str>> = by_file
        .values()
        .map(|rules| rules.iter().map(String::as_str).collect())
        .collect();
    assert_eq!(
        sets,
        BTreeSet::from([vec!["new1", "new2"], vec!["old1", "old2"]])
    );
}

#[tokio::test]
async fn samples_go_through_the_sink_like_findings() {
    let agent = Agent::start(Options::default());
    agent.server.emit_samples().await;
    let findings = agent.findings.lock().unwrap();
    let samples: Vec<&Finding> = findings
        .iter()
        .filter(|finding| {
            finding
                .finding
                .as_ref()
                .is_some_and(|meaning| meaning.sample)
        })
        .collect();
    let types: BTreeSet<&str> = samples
        .iter()
        .filter_map(|sample| sample.finding.as_ref())
        .map(|section| section.meaning.finding_type.as_str())
        .collect();
    assert_eq!(samples.len(), types.len());
    assert!(
        types.contains("Execution:Runtime/NewBinaryExecuted"),
        "{types:?}"
    );
    let pod = samples[0].pod.as_ref().expect("a pod");
    assert_eq!(pod.namespace, "shop");
}
