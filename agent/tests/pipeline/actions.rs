//! What rules have done.

use super::*;

#[test]
fn a_kill_is_sent_only_in_enforce_mode_and_names_the_process_for_good() {
    let script = Script::web()
        .fork(2, 1, "/usr/sbin/nginx")
        .exec(2, "/bin/sh", &["sh"]);
    let monitored = play(&mut pipeline(Mode::Monitor), &script, START);
    assert_eq!(monitored.messages, welcome());
    let enforced = play(&mut pipeline(Mode::Enforce), &script, START);
    let kill = ToTracer::Kill {
        pid: 2,
        started_at: START + 2,
        signal: 9,
    };
    assert_eq!(enforced.messages, [welcome(), vec![kill]].concat());
    let line = enforced
        .findings
        .iter()
        .map(summary)
        .find(|line| line.starts_with("web_shell"));
    assert!(line.unwrap().ends_with("[kill kill_queued [2]]"));
}

#[test]
fn a_quarantine_reaches_containers_that_come_later_and_is_reported_once() {
    let rules = || {
        load(
            r#"
version: 1.0.0
rules:
  - id: cut_off
    expression: unlink.file.path == "/self-destruct"
    actions:
      - quarantine: {}
"#,
        )
    };
    assert!(rules().rules.interest().quarantine);
    let script = Script::web()
        .event(
            1,
            EventKind::Unlink {
                file: File::from_path("/self-destruct"),
                flags: 0,
            },
        )
        .event(
            1,
            EventKind::Unlink {
                file: File::from_path("/self-destruct"),
                flags: 0,
            },
        );
    let mut monitoring = Pipeline::new(rules(), identity(Mode::Monitor));
    let monitored = play(&mut monitoring, &script, START);
    assert_eq!(monitored.messages, welcome());
    let status = |findings: &[Finding]| {
        let finding = findings.iter().find(|one| one.agent.rule_id == "cut_off")?;
        Some(finding.agent.rule_actions.first()?.status)
    };
    assert_eq!(status(&monitored.findings), Some("monitor_only"));

    let mut enforcing = Pipeline::new(rules(), identity(Mode::Enforce));
    let enforced = play(&mut enforcing, &script, START);
    assert_eq!(status(&enforced.findings), Some("performed"));
    let on = ToTracer::Quarantine(true);
    assert_eq!(enforced.messages, [welcome(), vec![on.clone()]].concat());
    let lines = enforced.findings.iter();
    let told = lines.filter(|line| line.agent.rule_id == "quarantine");
    assert_eq!(told.count(), 1);
    let later = Script::new(hello("sidecar", 2)).process(1, 0, "/usr/bin/envoy", &["envoy"]);
    let later = play(&mut enforcing, &later, START);
    let told = [ToTracer::Welcome, on, ToTracer::Deny(Vec::new())];
    assert_eq!(later.messages, told);
    let mut outputs: Vec<Output> = Vec::new();
    enforcing.quarantine(false, "operator", START, &mut outputs);
    assert_eq!(sort(outputs).messages, [ToTracer::Quarantine(false)]);
    let last = Script::new(hello("another", 3)).process(1, 0, "/usr/bin/envoy", &["envoy"]);
    assert_eq!(play(&mut enforcing, &last, START).messages, welcome());
}

/// What a tracer is told when it comes and nothing is denied.
fn welcome() -> Vec<ToTracer> {
    vec![ToTracer::Welcome, ToTracer::Deny(Vec::new())]
}

#[test]
fn what_is_denied_is_sent_in_enforce_mode_and_a_finding_says_whether_it_was_refused() {
    let rules = || {
        load(
            r#"
version: 1.0.0
rules:
  - id: keep_out
    expression: unlink.file.path == "/kept"
    actions:
      - deny: {}
"#,
        )
    };
    let unlink = || EventKind::Unlink {
        file: File::from_path("/kept"),
        flags: 0,
    };
    let script = || {
        Script::web()
            .event(1, unlink())
            .event_with(1, Outcome::Denied(1), unlink())
    };
    let statuses = |played: &Outputs| -> Vec<&'static str> {
        let findings = played.findings.iter();
        let ours = findings.filter(|finding| finding.agent.rule_id == "keep_out");
        ours.map(|finding| finding.agent.rule_actions[0].status)
            .collect()
    };
    let monitored = play(
        &mut Pipeline::new(rules(), identity(Mode::Monitor)),
        &script(),
        START,
    );
    assert_eq!(monitored.messages, welcome());
    assert_eq!(statuses(&monitored), ["monitor_only", "performed"]);

    let mut enforcing = Pipeline::new(rules(), identity(Mode::Enforce));
    let enforced = play(&mut enforcing, &script(), START);
    let [ToTracer::Welcome, ToTracer::Deny(denied)] = enforced.messages.as_slice() else {
        panic!("{:?}", enforced.messages);
    };
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0].rule, "keep_out");
    assert_eq!(statuses(&enforced), ["error", "performed"]);

    // Rules that come later reach tracers that are there.
    let mut outputs: Vec<Output> = Vec::new();
    let none = load("version: 1.0.0\nrules: []\n");
    enforcing.replace_rules(none, START, &mut outputs);
    assert_eq!(sort(outputs).messages, [ToTracer::Deny(Vec::new())]);
}

#[test]
fn a_kill_of_the_container_reaches_every_living_process() {
    let script = Script::web()
        .fork(2, 1, "/usr/sbin/nginx")
        .fork(3, 1, "/usr/sbin/nginx")
        .exit(3)
        .event(
            2,
            EventKind::Unlink {
                file: file("/self-destruct"),
                flags: 0,
            },
        );
    let played = play(&mut pipeline(Mode::Enforce), &script, START);
    let killed: Vec<u32> = played
        .messages
        .iter()
        .filter_map(|message| match message {
            ToTracer::Kill {
                pid, signal: 15, ..
            } => Some(*pid),
            _ => None,
        })
        .collect();
    assert_eq!(killed, [1, 2]);
}
