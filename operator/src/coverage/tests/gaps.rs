//! Every gap, by what brings it about.

use super::*;

#[test]
fn each_gap_by_table() {
    let heard = |change: fn(&mut Heartbeat)| {
        let mut heartbeat = well();
        change(&mut heartbeat);
        World::hearing(heartbeat, 5)
    };
    let fargate = |pod: Value| {
        let pod = with(
            pod,
            "/metadata/labels",
            json!({"eks.amazonaws.com/fargate-profile": "p"}),
        );
        claiming(
            pod,
            "fargate",
            json!({"before": "0.25vCPU 0.5GB", "after": "0.25vCPU 1GB"}),
        )
    };
    let pending = with(injected(), "/status", json!({"phase": "Pending"}));
    let unplaced = with(fargate(pending), "/spec/nodeName", Value::Null);
    let agent = |state: Value| with(injected(), "/status/initContainerStatuses/0/state", state);
    let exec = |command: Value| json!({"exec": {"command": command}});
    let suspended = World {
        suspended: Some("two pods did not start".to_owned()),
        ..World::default()
    };
    let rows: Vec<(&str, World, Value, Gap, CoverageState)> = vec![
        (
            "bare",
            World::default(),
            bare(),
            Gap::Uninjected,
            CoverageState::Unhealthy,
        ),
        (
            "suspended",
            suspended,
            bare(),
            Gap::InjectionSuspended,
            CoverageState::Unhealthy,
        ),
        (
            "no place",
            World::default(),
            unplaced,
            Gap::PendingOnFargate,
            CoverageState::Unhealthy,
        ),
        (
            "entrypoint",
            World::default(),
            claiming(
                injected(),
                "containers",
                json!([{"name": "web", "skipped": "EntrypointUnresolved"}]),
            ),
            Gap::EntrypointUnresolved,
            CoverageState::Unhealthy,
        ),
        (
            "mount conflict",
            World::default(),
            claiming(
                injected(),
                "containers",
                json!([{"name": "web", "skipped": "MountConflict"}]),
            ),
            Gap::ContainerSkipped,
            CoverageState::Unhealthy,
        ),
        (
            "tracer taken out",
            World::default(),
            with(
                injected(),
                "/spec/containers/0/command",
                json!(["/bin/web"]),
            ),
            Gap::NotTraced,
            CoverageState::Unhealthy,
        ),
        (
            "no filter",
            heard(|beat| {
                beat.containers[0].state = relay::ContainerState::NotTraced {
                    step: "seccomp".to_owned(),
                    errno: 22,
                };
            }),
            injected(),
            Gap::NotTraced,
            CoverageState::Unhealthy,
        ),
        (
            "disconnected",
            heard(|beat| beat.containers[0].state = relay::ContainerState::Disconnected),
            injected(),
            Gap::NotTraced,
            CoverageState::Unhealthy,
        ),
        (
            "no hello",
            heard(|beat| beat.containers.clear()),
            injected(),
            Gap::NotTraced,
            CoverageState::Unhealthy,
        ),
        (
            "agent crashes",
            World::hearing(well(), 5),
            agent(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
            Gap::AgentFailing,
            CoverageState::Unhealthy,
        ),
        (
            "agent ended",
            World::default(),
            agent(json!({"terminated": {"reason": "Completed", "exitCode": 0}})),
            Gap::AgentFailing,
            CoverageState::Unhealthy,
        ),
        (
            "lost",
            World::hearing(well(), FRESH_SECONDS + 1),
            injected(),
            Gap::NoHeartbeat,
            CoverageState::Unhealthy,
        ),
        (
            "older revision",
            World::hearing(well(), 5),
            claiming(injected(), "revision", json!("6")),
            Gap::StaleRevision,
            CoverageState::Healthy,
        ),
        (
            "other mode",
            World::hearing(well(), 5),
            claiming(injected(), "mode", json!("Enforce")),
            Gap::StalePolicy,
            CoverageState::Healthy,
        ),
        (
            "more rules",
            heard(|beat| beat.containers[0].gaps = vec![relay::Gap::RulesNeedRestart]),
            injected(),
            Gap::RulesNeedRestart,
            CoverageState::Healthy,
        ),
        (
            "files that cannot be watched",
            heard(|beat| beat.containers[0].gaps = vec![relay::Gap::ReadsUnwatched]),
            injected(),
            Gap::ReadsUnwatched,
            CoverageState::Healthy,
        ),
        (
            "lost events",
            heard(|beat| beat.containers[0].gaps = vec![relay::Gap::EventsLost]),
            injected(),
            Gap::EventsLost,
            CoverageState::Healthy,
        ),
        (
            "bad rules",
            heard(|beat| {
                beat.rules.rejected = Some(RejectedBundle {
                    bundle: "x".to_owned(),
                    reason: "too long".to_owned(),
                });
            }),
            injected(),
            Gap::RulesRejected,
            CoverageState::Healthy,
        ),
        (
            "another size",
            World::hearing(well(), 5),
            with(
                fargate(injected()),
                "/metadata/annotations/CapacityProvisioned",
                json!("0.5vCPU 1GB"),
            ),
            Gap::CapacityDrift,
            CoverageState::Healthy,
        ),
        (
            "probe",
            World::hearing(well(), 5),
            with(
                injected(),
                "/spec/containers/0/livenessProbe",
                exec(json!(["true"])),
            ),
            Gap::ExecProbe,
            CoverageState::Healthy,
        ),
        (
            "hook",
            World::hearing(well(), 5),
            with(
                injected(),
                "/spec/containers/0/lifecycle",
                json!({"preStop": exec(json!(["true"]))}),
            ),
            Gap::LifecycleHook,
            CoverageState::Healthy,
        ),
        (
            "debugger",
            World::hearing(well(), 5),
            with(
                injected(),
                "/spec/ephemeralContainers",
                json!([{"name": "debug"}]),
            ),
            Gap::Ephemeral,
            CoverageState::Healthy,
        ),
    ];
    let rows: Vec<_> = rows
        .into_iter()
        .chain(std::iter::once((
            "sessions",
            World {
                policies: vec![policy(|spec| spec.coverage.exec = false)],
                ..World::hearing(well(), 5)
            },
            injected(),
            Gap::Exec,
            CoverageState::Healthy,
        )))
        .collect();
    for (what, world, pod, gap, state) in &rows {
        let row = world.row(pod.clone());
        assert_eq!(gaps(&row), [*gap], "{what}: {row:#?}");
        assert_eq!(row.state, *state, "{what}: {row:#?}");
        assert_eq!(
            gap.is_unhealthy(),
            *state == CoverageState::Unhealthy,
            "{what}"
        );
    }
    for gap in Gap::ALL {
        assert!(rows.iter().any(|row| row.3 == *gap), "no row for {gap}");
    }
}
