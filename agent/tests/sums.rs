//! Sums of files that only the container's tracer can read: who waits for what, and how long.

mod support;

use picket_agent::identity::Mode;
use picket_agent::pipeline::{ConnectionId, Output, Pipeline};
use picket_events::wire::{SumFault, SumRequest, Summed, Sums, ToAgent, ToTracer};
use picket_events::{EventKind, Image};
use support::*;

const POLICY: &str = r#"
rules:
  - id: plain
    expression: exec.file.name == "miner"
  - id: known_bad
    expression: exec.file.hashes in ["sha256:0101010101010101010101010101010101010101010101010101010101010101"]
    actions:
      - kill: {signal: SIGKILL}
  - id: unknown
    expression: exec.file.hashes not in ["sha256:0202020202020202020202020202020202020202020202020202020202020202"]
  - id: hashed
    expression: open.file.path == "/data/loot"
    actions:
      - hash: {field: open.file, max_file_size: 1000}
"#;

/// A pod's agent with one container.
struct Pod {
    pipeline: Pipeline,
    connection: ConnectionId,
    now: u64,
}

impl Pod {
    fn new() -> Self {
        let loaded = load(POLICY);
        assert!(loaded.report.is_ok(), "{:#?}", loaded.report);
        let mut pipeline = Pipeline::new(loaded, identity(Mode::Enforce));
        let mut outputs: Vec<Output> = Vec::new();
        let connection = pipeline
            .open_connection(&hello("web", 1), START, &mut outputs)
            .unwrap();
        Self {
            pipeline,
            connection,
            now: START + SECOND,
        }
    }

    fn say(&mut self, message: ToAgent) -> Told {
        let mut outputs = Vec::new();
        self.pipeline
            .handle(self.connection, message, self.now, &mut outputs)
            .unwrap();
        told(outputs)
    }

    fn play(&mut self, script: Script) -> Told {
        let mut all = Told::default();
        for message in script.messages {
            let told = self.say(message);
            all.findings.extend(told.findings);
            all.asked.extend(told.asked);
            all.killed.extend(told.killed);
        }
        all
    }

    fn answer(&mut self, asked: &SumRequest, result: Result<Sums, SumFault>) -> Told {
        self.say(ToAgent::Summed(Summed {
            request: asked.request,
            result,
        }))
    }

    fn tick(&mut self, later: u64) -> Told {
        self.now += later;
        let mut outputs = Vec::new();
        self.pipeline.tick(0, self.now, &mut outputs);
        told(outputs)
    }
}

/// What came of a message.
#[derive(Debug, Default)]
struct Told {
    findings: Vec<serde_json::Value>,
    asked: Vec<SumRequest>,
    killed: Vec<u32>,
}

impl Told {
    fn rules(&self) -> Vec<&str> {
        let ids = self.findings.iter().map(|line| &line["agent"]["rule_id"]);
        ids.filter_map(|id| id.as_str()).collect()
    }
}

fn told(outputs: Vec<Output>) -> Told {
    let mut told = Told::default();
    for output in outputs {
        match output {
            Output::Finding(finding) if finding.finding.is_some() => told
                .findings
                .push(serde_json::from_str(&finding.to_line()).unwrap()),
            Output::Message(_, ToTracer::Sum(request)) => told.asked.push(*request),
            Output::Message(_, ToTracer::Kill { pid, .. }) => told.killed.push(pid),
            _ => {}
        }
    }
    told
}

/// A program that is in the container only.
fn elsewhere(path: &str, inode: u64) -> Image {
    let mut image = image(path, &[path]);
    image.file.inode = inode;
    image.file.device = 7;
    image.file.change_time = START - 5;
    image
}

fn miner() -> Script {
    let exec = EventKind::Exec(Box::new(elsewhere("/app/miner", 4711)));
    script().fork(2, 1, "/bin/sh").event(2, exec)
}

fn script() -> Script {
    let mut script = Script::new(hello("web", 1));
    script.messages.clear(); // it was said when the connection was opened
    script.process(1, 0, "/bin/sh", &["sh"])
}

const BAD: Sums = Sums {
    sha256: [1; 32],
    sha1: [9; 20],
};

#[test]
fn rules_on_sums_wait_for_the_tracer_and_the_others_do_not() {
    let mut pod = Pod::new();
    let at_once = pod.play(miner());
    assert_eq!(at_once.rules(), ["plain"]);
    let [asked] = &at_once.asked[..] else {
        panic!("{:?}", at_once.asked)
    };
    assert_eq!((&*asked.path, asked.pid), ("/app/miner", 2));
    assert_eq!((asked.device, asked.inode), (7, 4711));
    // The process goes on to something else meanwhile.
    let other = EventKind::Exec(Box::new(elsewhere("/app/other", 4712)));
    let meanwhile = pod.play(script().event(2, other));
    assert!(meanwhile.rules().is_empty());
    let late = pod.answer(asked, Ok(BAD));
    assert_eq!(late.rules(), ["known_bad", "unknown"]);
    assert_eq!(late.killed, [2]);
    let file = &late.findings[0]["file"];
    assert_eq!(file["path"], "/app/miner");
    assert_eq!(file["hash_state"], "done");
    assert_eq!(file["hashes"][1], format!("sha1:{}", "09".repeat(20)));
    assert_eq!(
        late.findings[0]["process"]["executable"]["path"],
        "/app/miner"
    );
}

#[test]
fn what_is_known_is_not_asked_for_again() {
    let mut pod = Pod::new();
    let first = pod.play(miner());
    pod.answer(&first.asked[0], Ok(BAD));
    let again = pod.play(miner());
    assert!(again.asked.is_empty());
    assert_eq!(again.rules(), ["plain", "known_bad", "unknown"]);
}

#[test]
fn a_file_that_cannot_be_read_is_judged_without_sums_and_says_why() {
    let mut pod = Pod::new();
    let first = pod.play(miner());
    let late = pod.answer(&first.asked[0], Err(SumFault::OutOfReach));
    assert_eq!(late.rules(), ["unknown"]);
    assert_eq!(late.findings[0]["file"]["hash_state"], "file_not_found");
    // Nobody is asked again at once, and once more later.
    assert!(pod.play(miner()).asked.is_empty());
    pod.tick(11 * SECOND);
    assert_eq!(pod.play(miner()).asked.len(), 1);
}

#[test]
fn a_tracer_that_does_not_answer_is_not_waited_for() {
    let mut pod = Pod::new();
    let first = pod.play(miner());
    assert!(pod.tick(9 * SECOND).rules().is_empty());
    let late = pod.tick(2 * SECOND);
    assert_eq!(late.rules(), ["unknown"]);
    assert_eq!(late.findings[0]["file"]["hash_state"], "timed_out");
    // An answer that comes after all is no news.
    assert!(pod.answer(&first.asked[0], Ok(BAD)).rules().is_empty());
}

#[test]
fn a_finding_waits_for_the_hash_that_its_rule_asks_for() {
    let mut pod = Pod::new();
    let open = |inode| {
        let mut file = file("/data/loot");
        (file.inode, file.device, file.change_time) = (inode, 7, START - 1);
        EventKind::Open {
            file,
            flags: 0,
            mode: 0,
        }
    };
    let at_once = pod.play(script().event(1, open(5)));
    assert!(at_once.rules().is_empty());
    assert_eq!(at_once.asked[0].limit, 1000);
    let late = pod.answer(&at_once.asked[0], Err(SumFault::TooLarge));
    assert_eq!(late.rules(), ["hashed"]);
    let action = &late.findings[0]["agent"]["rule_actions"][0];
    assert_eq!(
        (&action["status"], &action["hash_state"]),
        (&"error".into(), &"file_too_big".into())
    );
    assert_eq!(late.findings[0]["file"]["hash_state"], "file_too_big");
    let again = pod.play(script().event(1, open(6)));
    let done = pod.answer(&again.asked[0], Ok(BAD));
    let action = &done.findings[0]["agent"]["rule_actions"][0];
    assert_eq!(action["status"], "performed");
    assert_eq!(action["hashes"], done.findings[0]["file"]["hashes"]);
}

#[test]
fn nothing_waits_for_a_connection_that_ends_or_past_the_agents_own_end() {
    let mut pod = Pod::new();
    pod.play(miner());
    let mut outputs = Vec::new();
    pod.pipeline
        .close_connection(pod.connection, pod.now, &mut outputs);
    assert_eq!(told(outputs).rules(), ["unknown"]);
    let mut pod = Pod::new();
    pod.play(miner());
    let mut outputs = Vec::new();
    pod.pipeline.finish(pod.now, &mut outputs);
    assert_eq!(told(outputs).rules(), ["unknown"]);
}

#[test]
fn what_waits_is_bounded() {
    let mut pod = Pod::new();
    let mut asked = 0;
    let mut judged = 0;
    for inode in 0..1000u64 {
        let exec = EventKind::Exec(Box::new(elsewhere("/app/x", 10_000 + inode)));
        let told = pod.play(script().event(1, exec));
        asked += told.asked.len();
        judged += told.rules().len();
    }
    assert_eq!(asked, 256);
    assert!(judged > 0, "the rest is judged without sums");
}

/// Neither does what waits for one file pile up, nor does what one container has waiting keep another's
/// files from being looked at.
#[test]
fn one_file_and_one_container_leave_room() {
    let mut pod = Pod::new();
    let mut judged = 0;
    for _ in 0..3000 {
        let exec = EventKind::Exec(Box::new(elsewhere("/app/x", 10_000)));
        judged += pod.play(script().event(1, exec)).rules().len();
    }
    assert!(judged >= 40, "the rest is judged without sums: {judged}");
    for inode in 0..1000u64 {
        let exec = EventKind::Exec(Box::new(elsewhere("/app/x", 20_000 + inode)));
        pod.play(script().event(1, exec));
    }
    let mut outputs = Vec::new();
    let hello = hello("sidecar", 2);
    let other = pod.pipeline.open_connection(&hello, pod.now, &mut outputs);
    pod.connection = other.unwrap();
    let told = pod.play(miner());
    assert_eq!(told.asked.len(), 1);
    assert_eq!(
        pod.answer(&told.asked[0], Ok(BAD)).rules(),
        ["known_bad", "unknown"]
    );
}
