//! What tracers say, and what the agent makes of it.

#[path = "pipeline/actions.rs"]
mod actions;
#[path = "pipeline/losses.rs"]
mod losses;
mod support;

use std::sync::{Arc, Mutex};

use picket_agent::context::Scene;
use picket_agent::finding::Finding;
use picket_agent::identity::Mode;
use picket_agent::ingest::Ingest;
use picket_agent::pipeline::{Observer, Output, Pipeline, Violation};
use picket_events::wire::environments::{MAX_ENVIRONMENT, PLACES};
use picket_events::wire::{
    Engine, Environment, LossReason, Lost, Notice, Refusal, ToAgent, ToTracer, Unwatched,
    UnwatchedReason,
};
use picket_events::{Address, Credentials, EventKind, EventType, File, Outcome, Protocol};
use support::*;

fn pipeline(mode: Mode) -> Pipeline {
    Pipeline::new(rules(), identity(mode))
}

fn root() -> Box<Credentials> {
    Box::new(Credentials {
        uid: 33,
        ..Credentials::default()
    })
}

/// Script and the lines that it must give.
type Scenario = (&'static str, Script, &'static [&'static str]);

fn scenarios() -> Vec<Scenario> {
    let dropped = || {
        let mut image = image("/tmp/miner", &["/tmp/miner"]);
        image.file.change_time = START + 1;
        EventKind::Exec(Box::new(image))
    };
    let setuid = || EventKind::SetUid(root());
    let docker = Address::UnixPath("/run/docker.sock".to_owned());
    vec![
        (
            "a shell from a web server is found, one from elsewhere is not",
            Script::web()
                .fork(2, 1, "/usr/sbin/nginx")
                .exec(2, "/bin/sh", &["sh", "-c", "id"])
                .process(50, 0, "/usr/bin/cron", &["cron"])
                .fork(51, 50, "/usr/bin/cron")
                .exec(51, "/bin/sh", &["sh"]),
            &["web_shell 2:/bin/sh 1:/usr/sbin/nginx [kill monitor_only [2]]"],
        ),
        (
            "lineage survives a double fork whose middle is gone",
            Script::web()
                .fork(2, 1, "/usr/sbin/nginx")
                .fork(3, 2, "/usr/sbin/nginx")
                .exit(2)
                .exec(3, "/bin/bash", &["bash"]),
            &["web_shell 3:/bin/bash 2:/usr/sbin/nginx 1:/usr/sbin/nginx [kill monitor_only [3]]"],
        ),
        (
            "what a process ran before is among its ancestors",
            Script::web()
                .fork(2, 1, "/usr/sbin/nginx")
                .exec(2, "/usr/bin/env", &["env", "sh"])
                .exec(2, "/bin/sh", &["sh"]),
            &["web_shell 2:/bin/sh 2:/usr/bin/env 1:/usr/sbin/nginx [kill monitor_only [2]]"],
        ),
        (
            "an exec that was refused is reported as it would have been, and changes nothing",
            Script::web()
                .fork(2, 1, "/usr/sbin/nginx")
                .event_with(
                    2,
                    Outcome::Denied(1),
                    EventKind::Exec(Box::new(image("/bin/sh", &["sh"]))),
                )
                .open(2, "/etc/shadow"),
            &[
                "web_shell 2:/bin/sh 1:/usr/sbin/nginx [kill monitor_only [2]]",
                "secret_read 2:/usr/sbin/nginx 1:/usr/sbin/nginx",
            ],
        ),
        (
            "a file changed since the container started is told from one of the image",
            Script::web()
                .fork(2, 1, "/usr/sbin/nginx")
                .event(2, dropped()),
            &["dropped_file 2:/tmp/miner 1:/usr/sbin/nginx"],
        ),
        (
            "a rule sees the ids from before and after a change, once",
            Script::web().event(1, setuid()).event(1, setuid()),
            &[
                "became_root 1:/usr/sbin/nginx",
                "became_root 1:/usr/sbin/nginx",
            ],
        ),
        (
            "a change of ids that failed has no effect",
            Script::web()
                .event_with(1, Outcome::Returned(-1), EventKind::SetUid(root()))
                .open(1, "/etc/shadow"),
            &[
                "became_root 1:/usr/sbin/nginx",
                "secret_read 1:/usr/sbin/nginx",
            ],
        ),
        (
            "Unix sockets are seen",
            Script::web().event(
                1,
                EventKind::Connect {
                    address: docker,
                    protocol: Protocol::UNKNOWN,
                },
            ),
            &["docker_socket 1:/usr/sbin/nginx"],
        ),
        (
            "an event of a process that nobody told of is evaluated all the same",
            Script::web().open(99, "/etc/shadow"),
            &["secret_read 99:?"],
        ),
        (
            "after a restart of the agent the snapshot gives the lineage back",
            Script::web()
                .process(2, 1, "/bin/dash", &["dash"])
                .process(3, 2, "/usr/bin/python3", &["python3"])
                .open(3, "/etc/shadow"),
            &["secret_read 3:/usr/bin/python3 2:/bin/dash 1:/usr/sbin/nginx"],
        ),
    ]
}

#[test]
fn scenarios_give_these_findings() {
    for (name, script, expected) in scenarios() {
        let mut pipeline = pipeline(Mode::Monitor);
        let played = play(&mut pipeline, &script, START);
        let told = played
            .findings
            .iter()
            .filter(|finding| finding.finding.is_some());
        let lines: Vec<String> = told.map(summary).collect();
        assert_eq!(lines, expected, "{name}");
    }
}

#[test]
fn it_makes_no_difference_how_the_bytes_are_cut() {
    let script = Script::web()
        .fork(2, 1, "/usr/sbin/nginx")
        .exec(2, "/bin/sh", &["sh"])
        .goodbye();
    let whole = play(&mut pipeline(Mode::Enforce), &script, START);
    for size in [1, 2, 3, 7, 100] {
        let mut pipeline = pipeline(Mode::Enforce);
        let mut outputs: Vec<Output> = Vec::new();
        let mut ingest = Ingest::new();
        for chunk in script.bytes().chunks(size) {
            ingest
                .feed(&mut pipeline, chunk, START, &mut outputs)
                .unwrap();
        }
        ingest.close(&mut pipeline, START, &mut outputs);
        let cut = sort(outputs);
        assert_eq!(
            (cut.findings, cut.messages),
            (whole.findings.clone(), whole.messages.clone())
        );
    }
}

#[test]
fn coverage_gaps_are_told() {
    let mut untraced = hello("web", 1);
    untraced.engine = Engine::Failed {
        step: "seccomp".to_owned(),
        errno: 22,
    };
    let mut narrow = hello("web", 1);
    narrow.interest = "exec".to_owned();
    let cases = [
        (Script::new(untraced), vec!["not_traced"]),
        (Script::new(narrow), vec!["rules_need_restart"]),
        (
            Script::web().notice(Notice::Restarted { signal: Some(9) }),
            vec!["tracer_restarted"],
        ),
        (
            Script::web().notice(Notice::Tampering {
                pid: 1,
                syscall: "kill".to_owned(),
            }),
            vec!["tampering"],
        ),
        (
            Script::web().notice(Notice::PrivilegeLost {
                pid: 1,
                path: "/usr/bin/sudo".to_owned(),
            }),
            vec!["privilege_lost"],
        ),
        (
            Script::web().notice(Notice::Hidden { pid: 1 }),
            vec!["hidden_process"],
        ),
        (
            Script::web().notice(Notice::ReadsUnwatched {
                are_plain_seen: true,
                files: vec![Unwatched {
                    reason: UnwatchedReason::NoInstance,
                    count: 1,
                    paths: vec!["/etc/shadow".to_owned()],
                }],
            }),
            vec!["reads_unwatched"],
        ),
        (
            Script::web().notice(Notice::ReadsUnwatched {
                are_plain_seen: false,
                files: Vec::new(),
            }),
            vec![],
        ),
    ];
    for (script, expected) in cases {
        let played = play(&mut pipeline(Mode::Monitor), &script, START);
        assert_eq!(names(&played.findings), expected);
    }
}

#[test]
fn only_the_owner_of_the_session_key_speaks_for_a_container() {
    let mut pipeline = pipeline(Mode::Monitor);
    let mut outputs: Vec<Output> = Vec::new();
    let mut owner = Ingest::new();
    owner
        .feed(&mut pipeline, &Script::web().bytes(), START, &mut outputs)
        .unwrap();
    let mut forger = Ingest::new();
    let forged = Script::new(hello("web", 2)).open(1, "/etc/shadow").bytes();
    let refused = forger.feed(&mut pipeline, &forged, START, &mut outputs);
    assert_eq!(refused, Err(Violation::Refused(Refusal::SessionKey)));
    // Once the container said goodbye, its successor is let in.
    let mut goodbye = Script::web().goodbye();
    goodbye.messages.drain(..4);
    owner
        .feed(&mut pipeline, &goodbye.bytes(), START, &mut outputs)
        .unwrap();
    owner.close(&mut pipeline, START, &mut outputs);
    Ingest::new()
        .feed(&mut pipeline, &forged, START, &mut outputs)
        .unwrap();
    let sorted = sort(outputs);
    assert_eq!(names(&sorted.findings), ["forged_session", "secret_read"]);
}

/// A container that names this environment.
fn with_environment(environment: Environment) -> Vec<u8> {
    let message = ToAgent::Environment(environment);
    Script::web().message(message).bytes()
}

#[test]
fn whoever_breaks_the_rules_of_the_conversation_is_cut_off_and_reported() {
    let cases: [(&str, Vec<u8>, Violation); 7] = [
        (
            "no hello first",
            {
                let mut script = Script::web();
                script.messages.remove(0);
                script.bytes()
            },
            Violation::NoHello,
        ),
        (
            "a second hello",
            {
                let mut script = Script::web();
                let first = script.messages[0].clone();
                script.messages.push(first);
                script.bytes()
            },
            Violation::SecondHello,
        ),
        (
            "a frame over the limit",
            u32::MAX.to_le_bytes().to_vec(),
            Violation::BadFrame,
        ),
        ("an empty frame", vec![0; 4], Violation::BadFrame),
        (
            "bytes that are no message",
            vec![2, 0, 0, 0, 0xff, 0xff],
            Violation::Malformed,
        ),
        (
            "an environment whose number none has",
            with_environment(Environment::Known(PLACES as u8)),
            Violation::Malformed,
        ),
        (
            "an environment over the limit",
            with_environment(Environment::New(
                0,
                vec!["X".repeat(MAX_ENVIRONMENT)].into(),
            )),
            Violation::Malformed,
        ),
    ];
    for (name, bytes, violation) in cases {
        let mut pipeline = pipeline(Mode::Monitor);
        let mut outputs: Vec<Output> = Vec::new();
        let mut ingest = Ingest::new();
        assert_eq!(
            ingest.feed(&mut pipeline, &bytes, START, &mut outputs),
            Err(violation),
            "{name}"
        );
        assert!(
            ingest
                .feed(&mut pipeline, &Script::web().bytes(), START, &mut outputs)
                .is_err()
        );
        assert_eq!(
            names(&sort(outputs).findings),
            ["malformed_message"],
            "{name}"
        );
        assert_eq!(pipeline.counters().violations, 1, "{name}");
    }
}

#[test]
fn what_an_attacker_can_cause_at_will_does_not_fill_the_output() {
    let mut pipeline = pipeline(Mode::Monitor);
    let mut outputs: Vec<Output> = Vec::new();
    for _ in 0..1000 {
        let _ = Ingest::new().feed(&mut pipeline, &[0; 4], START, &mut outputs);
    }
    assert_eq!(outputs.len(), 5);
    assert_eq!(pipeline.counters().violations, 1000);
}

#[test]
fn rules_are_swapped_whole_between_two_events() {
    let mut pipeline = pipeline(Mode::Monitor);
    let mut outputs: Vec<Output> = Vec::new();
    let mut ingest = Ingest::new();
    let script = Script::web().open(1, "/etc/shadow");
    ingest
        .feed(&mut pipeline, &script.bytes(), START, &mut outputs)
        .unwrap();
    let other = "version: 2.0.0\nrules:\n  - id: other\n    expression: open.file.path == \"/etc/passwd\"\n";
    pipeline.replace_rules(load(other), START, &mut outputs);
    let mut more = script.clone().open(1, "/etc/shadow").open(1, "/etc/passwd");
    more.messages.drain(..script.messages.len());
    ingest
        .feed(&mut pipeline, &more.bytes(), START, &mut outputs)
        .unwrap();
    let sorted = sort(outputs);
    assert_eq!(names(&sorted.findings), ["secret_read", "other"]);
}

#[test]
fn an_observer_sees_every_event_with_its_process() {
    struct Recorder(Arc<Mutex<Vec<String>>>);
    impl Observer for Recorder {
        fn event(&mut self, scene: &Scene<'_>) {
            let program = scene
                .process
                .map_or("?", |node| node.program.image.file.name.as_str());
            let parent = scene
                .parent()
                .map_or("-", |node| node.program.image.file.name.as_str());
            let line = format!("{} {program}<{parent}", scene.event.event_type().name());
            self.0.lock().unwrap().push(line);
        }
    }
    let seen = Arc::default();
    let mut pipeline = pipeline(Mode::Monitor);
    pipeline.observe(Box::new(Recorder(Arc::clone(&seen))));
    let script = Script::web()
        .fork(2, 1, "/usr/sbin/nginx")
        .exec(2, "/bin/ls", &["ls"])
        .exit(2);
    play(&mut pipeline, &script, START);
    assert_eq!(
        *seen.lock().unwrap(),
        ["fork nginx<nginx", "exec ls<nginx", "exit ls<nginx"]
    );
}
