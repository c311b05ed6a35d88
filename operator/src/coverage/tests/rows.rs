//! How pods make rows, and rows make reports.

use super::*;

#[test]
fn a_pod_that_is_well_has_no_gap() {
    let row = World::hearing(well(), 5).row(injected());
    assert_eq!(
        (row.state, counts(&row)),
        (CoverageState::Healthy, [1, 1, 1, 1])
    );
    assert_eq!(gaps(&row), []);
    assert_eq!(row.policy.as_deref(), Some("shop/all"));
    assert_eq!(row.containers.len(), 1);
    assert_eq!(row.containers[0].state, ContainerTrace::Traced);
    assert_eq!(row.containers[0].argv_source.as_deref(), Some("Spec"));
    assert_eq!(row.rules[0].hash, "abc");
}

#[test]
fn a_pod_that_is_older_than_what_its_policy_injects_is_out_of_date() {
    let world = World {
        policy_since: CREATED + 1,
        ..World::hearing(well(), 5)
    };
    let row = world.row(injected());
    assert_eq!(
        (gaps(&row), counts(&row)),
        (vec![Gap::StalePolicy], [1, 1, 0, 1])
    );
}

#[test]
fn kubelet_is_believed_where_nobody_reaches_the_relay() {
    let world = World::default();
    assert_eq!(counts(&world.row(injected())), [1, 1, 1, 1]);
    let unready = with(
        injected(),
        "/status/initContainerStatuses/0/ready",
        json!(false),
    );
    let row = world.row(unready);
    assert_eq!(
        (row.state, counts(&row)),
        (CoverageState::Progressing, [1, 1, 1, 0])
    );
}

#[test]
fn an_agent_that_was_never_heard_has_its_time() {
    let mut world = World {
        relay_since: Some(CREATED - 1000),
        ..World::default()
    };
    // The agent runs since half a minute after the pod's creation.
    world.now = CREATED + 30 + FIRST_WORD_SECONDS;
    let built = world.build(&[injected()]);
    assert_eq!(built.rows[0].1.state, CoverageState::Healthy);
    assert_eq!(built.next, Some(world.now + 1), "time alone changes it");
    world.now += 1;
    assert_eq!(gaps(&world.row(injected())), [Gap::NoHeartbeat]);
    world.relay_since = Some(world.now);
    assert_eq!(
        gaps(&world.row(injected())),
        [],
        "the relay has just begun to listen"
    );
}

#[test]
fn an_agent_whose_start_nobody_tells_has_the_time_of_its_pod() {
    let world = World {
        relay_since: Some(CREATED - 1000),
        now: CREATED + FIRST_WORD_SECONDS + 1,
        ..World::default()
    };
    let place = "/status/initContainerStatuses/0/state";
    let running = with(injected(), place, json!({"running": {}}));
    assert_eq!(gaps(&world.row(running)), [Gap::NoHeartbeat]);
}

#[test]
fn a_heartbeat_is_looked_at_again_when_it_would_be_too_old() {
    let world = World::hearing(well(), 5);
    let built = world.build(&[injected()]);
    assert_eq!(built.next, Some(NOW - 5 + FRESH_SECONDS + 1));
}

#[test]
fn a_pod_that_waits_for_fargate_has_its_time() {
    let pod = with(injected(), "/status", json!({"phase": "Pending"}));
    let pod = with(pod, "/spec/nodeName", Value::Null);
    let pod = with(
        pod,
        "/metadata/labels",
        json!({"eks.amazonaws.com/fargate-profile": "p"}),
    );
    let mut world = World {
        now: CREATED + 5,
        ..World::default()
    };
    let built = world.build(std::slice::from_ref(&pod));
    assert_eq!(built.rows[0].1.state, CoverageState::Progressing);
    assert_eq!(built.next, Some(CREATED + PLACE_SECONDS));
    let judged = |words: &str| {
        let condition = json!([{"type": "PodScheduled", "status": "False", "message": words}]);
        with(pod.clone(), "/status/conditions", condition)
    };
    // A word that is not its last leaves the pod its time.
    assert_eq!(gaps(&world.row(judged("Pod was not placed yet"))), []);
    let refused = judged("Pod not supported on Fargate: volumes not supported: data");
    assert_eq!(gaps(&world.row(refused)), [Gap::PendingOnFargate]);
    world.now = CREATED + PLACE_SECONDS;
    assert_eq!(gaps(&world.row(pod)), [Gap::PendingOnFargate]);
}

#[test]
fn who_is_not_meant_is_shown_with_the_webhooks_word() {
    let opted_out = with(
        bare(),
        "/metadata/labels",
        json!({"picket.dev/protect": "false"}),
    );
    let opting = |opt_out| policy(|spec| spec.opt_out = opt_out);
    let cases = [
        (
            policy(|spec| spec.mode = Mode::Disabled),
            bare(),
            Some("PolicyDisabled"),
        ),
        (
            policy(|spec| spec.compute_type = ComputeType::Fargate),
            bare(),
            Some("NotFargate"),
        ),
        (
            policy(|spec| {
                spec.pod_selector.match_labels = [("a".to_owned(), "b".to_owned())].into();
            }),
            bare(),
            Some("NotSelected"),
        ),
        (opting(OptOut::Allowed), opted_out.clone(), Some("OptedOut")),
        (
            opting(OptOut::Audited),
            opted_out.clone(),
            Some("OptedOutAudited"),
        ),
        (opting(OptOut::Forbidden), opted_out, None),
    ];
    for (policy, pod, reason) in cases {
        let world = World {
            policies: vec![policy],
            ..World::default()
        };
        let row = world.row(pod);
        assert_eq!(row.reason.as_deref(), reason);
        assert_eq!(row.state == CoverageState::Unselected, reason.is_some());
        assert_eq!(counts(&row), [1, 0, 0, 0]);
    }
}

#[test]
fn a_namespace_without_policy_has_no_rows_and_ended_pods_do_not_count() {
    let nobody = World {
        policies: Vec::new(),
        ..World::default()
    };
    assert!(nobody.build(&[bare()]).rows.is_empty());
    let ended = with(bare(), "/status/phase", json!("Succeeded"));
    let leaving = with(
        bare(),
        "/metadata/deletionTimestamp",
        json!("2026-01-01T00:00:00Z"),
    );
    assert!(World::default().build(&[ended, leaving]).rows.is_empty());
}

#[test]
fn pods_of_a_workload_add_up_and_so_do_policies() {
    let other = with(bare(), "/metadata/uid", json!("2"));
    let other = with(other, "/metadata/name", json!("web-2"));
    let built = World::hearing(well(), 5).build(&[injected(), other]);
    let row = &built.rows[0].1;
    assert_eq!((counts(row), row.gaps[0].pods), ([2, 1, 1, 1], 1));
    assert_eq!(row.gaps[0].pod, "web-2");
    let tally = &built.policies["shop/all"];
    assert_eq!((tally.pods.total, tally.unhealthy), (2, 1));
    let verdict = Verdict::of(tally, Mode::Monitor, Some(1));
    assert_eq!((verdict.status, verdict.reason), ("False", "Gaps"));
    assert!(
        verdict.message.contains("Uninjected: 1"),
        "{}",
        verdict.message
    );
    let sum = summary([row]);
    assert_eq!(sum.gaps, "Uninjected: 1");
    assert_eq!((sum.workloads, sum.unhealthy), (1, 1));
}

#[test]
fn many_workloads_share_reports_of_a_bounded_size_and_stay_in_theirs() {
    let rows = |count: usize| -> Vec<WorkloadCoverage> {
        let row = World::hearing(well(), 5).row(with(
            injected(),
            "/spec/containers/0/livenessProbe",
            json!({"exec": {"command": ["true"]}}),
        ));
        (0..count)
            .map(|number| WorkloadCoverage {
                name: format!("workload-{number}"),
                ..row.clone()
            })
            .collect()
    };
    let one = reports(rows(150));
    assert_eq!(one.keys().collect::<Vec<_>>(), ["coverage"]);
    let many = reports(rows(1000));
    assert_eq!(many.len(), 8);
    let total: usize = many.values().map(|report| report.workloads.len()).sum();
    assert_eq!(total, 1000);
    let more = reports(rows(1001));
    let differing = many.iter().filter(|(name, report)| more[*name] != **report);
    assert_eq!(
        differing.count(),
        1,
        "one row more is a change of one report"
    );
    let crowd = reports(rows(30_000));
    let kept: usize = crowd.values().map(|report| report.workloads.len()).sum();
    let omitted: u32 = crowd.values().map(|report| report.omitted).sum();
    assert_eq!((kept + omitted as usize, crowd.len()), (30_000, 64));
    for report in crowd.values() {
        let size = serde_json::to_string(report).expect("JSON").len();
        assert!(size < 1_000_000, "{size}");
    }
}
