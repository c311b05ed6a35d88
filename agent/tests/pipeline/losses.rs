//! What was lost is counted.

use super::*;

#[test]
fn losses_are_counted_once_whoever_tells_of_them() {
    let lost = Lost {
        count: 4,
        by_type: vec![(EventType::Open, 4)],
        reason: LossReason::BufferFull,
    };
    let script = Script::web()
        .open(1, "/a")
        .gap(4)
        .lost(lost)
        .open(1, "/b")
        .gap(2)
        .goodbye();
    let played = play(&mut pipeline(Mode::Monitor), &script, START);
    let losses: Vec<_> = played
        .findings
        .iter()
        .filter(|finding| finding.agent.rule_id == "lost_events")
        .map(|finding| finding.details["lost_events"].clone())
        .collect();
    assert_eq!(
        losses,
        [serde_json::json!({
            "count": 6, "total": 6, "by_type": {"open": 4}, "by_reason": {"buffer_full": 4},
        })]
    );
}

#[test]
fn losses_that_are_held_back_are_in_the_next_report() {
    let mut pipeline = pipeline(Mode::Monitor);
    let mut outputs: Vec<Output> = Vec::new();
    let mut ingest = Ingest::new();
    let mut script = Script::web();
    for second in 0..60 {
        let before = script.messages.len();
        script = script.gap(3).open(1, "/a");
        let mut next = script.clone();
        next.messages.drain(..if second == 0 { 0 } else { before });
        ingest
            .feed(&mut pipeline, &next.bytes(), START, &mut outputs)
            .unwrap();
        pipeline.tick(0, START + second * SECOND, &mut outputs);
    }
    pipeline.tick(0, START + 120 * SECOND, &mut outputs);
    let findings = sort(outputs).findings;
    let reports: Vec<u64> = findings
        .iter()
        .filter(|finding| finding.agent.rule_id == "lost_events")
        .filter_map(|finding| finding.details["lost_events"]["count"].as_u64())
        .collect();
    assert_eq!(reports.iter().sum::<u64>(), 180);
    assert!(reports.len() < 20, "{} reports", reports.len());
}

#[test]
fn what_was_told_to_an_agent_before_this_one_is_no_loss() {
    let mut later = identity(Mode::Monitor);
    later.started_at = START + SECOND;
    let mut pipeline = Pipeline::new(rules(), later);
    let script = Script::web()
        .gap(5_000)
        .open(1, "/etc/shadow")
        .gap(2)
        .goodbye();
    let played = play(&mut pipeline, &script, START + 2 * SECOND);
    let loss = played
        .findings
        .iter()
        .find(|finding| finding.agent.rule_id == "lost_events");
    assert_eq!(loss.unwrap().details["lost_events"]["count"], 2);
}

#[test]
fn lost_findings_are_reported_when_they_grow() {
    let mut pipeline = pipeline(Mode::Monitor);
    let mut outputs: Vec<Output> = Vec::new();
    for dropped in [0, 7, 7, 9] {
        pipeline.tick(dropped, START, &mut outputs);
    }
    let sorted = sort(outputs);
    let counts: Vec<_> = sorted
        .findings
        .iter()
        .map(|finding| finding.details["lost_findings"]["count"].clone())
        .collect();
    assert_eq!(counts, [7, 2]);
}
