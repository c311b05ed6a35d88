use std::collections::BTreeMap;

use super::plan::{Blocked, Candidate, Step, plan};
use super::workloads::{Mark, Outcome, Update, WorkloadFacts};

const NOW: i64 = 10_000;

fn ready() -> WorkloadFacts {
    WorkloadFacts {
        replicas: 2,
        settled: true,
        deadline: 600,
        ..WorkloadFacts::default()
    }
}

fn marked(outcome: Outcome, at: i64) -> WorkloadFacts {
    WorkloadFacts {
        mark: Some(Mark {
            target: "7".to_owned(),
            at,
            outcome,
            message: "why".to_owned(),
        }),
        ..ready()
    }
}

fn candidate<'a>(name: &str, facts: Option<&'a WorkloadFacts>) -> Candidate<'a> {
    Candidate {
        key: ("shop".into(), "Deployment".into(), name.into()),
        policy: "shop/all",
        target: "7".to_owned(),
        behind: true,
        suspended: false,
        refused: None,
        facts,
        disruptable: true,
    }
}

fn steps(candidates: &[Candidate<'_>], at_once: u32) -> Vec<Step> {
    plan(candidates, &BTreeMap::from([("shop/all", at_once)]), NOW)
}

fn step(candidate: Candidate<'_>) -> Step {
    steps(&[candidate], 1).remove(0)
}

fn failed(step: &Step) -> (bool, &str) {
    match step {
        Step::Fail { message, bare } => (*bare, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_is_never_restarted_by_table() {
    let facts = |change: fn(&mut WorkloadFacts)| {
        let mut facts = ready();
        change(&mut facts);
        facts
    };
    let cases = [
        (
            facts(|f| f.update = Update::Recreate),
            Blocked::StrategyRecreate,
        ),
        (
            facts(|f| f.update = Update::OnDelete),
            Blocked::StrategyOnDelete,
        ),
        (facts(|f| f.paused = true), Blocked::Paused),
        (facts(|f| f.settled = false), Blocked::NotReady),
    ];
    for (facts, blocked) in &cases {
        assert_eq!(step(candidate("web", Some(facts))), Step::Wait(*blocked));
    }
    assert_eq!(
        step(candidate("job", None)),
        Step::Wait(Blocked::KindNotRestarted)
    );
    let ready = ready();
    let mut suspended = candidate("web", Some(&ready));
    suspended.suspended = true;
    assert_eq!(step(suspended), Step::Wait(Blocked::InjectionSuspended));
    let mut guarded = candidate("web", Some(&ready));
    guarded.disruptable = false;
    assert_eq!(step(guarded), Step::Wait(Blocked::DisruptionBudget));
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    let ready = ready();
    let mut current = candidate("web", Some(&ready));
    current.behind = false;
    assert_eq!(step(current), Step::None);
    let mut job = candidate("job", None);
    job.behind = false;
    assert_eq!(step(job), Step::None);
}

#[test]
fn no_more_are_restarted_at_once_than_the_policy_allows() {
    let (ready, going) = (ready(), marked(Outcome::Restarting, NOW - 5));
    let restarting = || candidate("a", Some(&going));
    let waiting = |name| candidate(name, Some(&ready));
    let all = [restarting(), waiting("b"), waiting("c")];
    let wait = Step::Wait(Blocked::WaitsForOthers);
    assert_eq!(
        steps(&all, 1),
        [Step::Restarting, wait.clone(), wait.clone()]
    );
    assert_eq!(steps(&all, 2), [Step::Restarting, Step::Restart, wait]);
    assert_eq!(
        steps(&all, 9),
        [Step::Restarting, Step::Restart, Step::Restart]
    );
}

#[test]
fn a_failure_stops_the_policy_and_no_other() {
    let (ready, failed) = (ready(), marked(Outcome::Failed, NOW - 5));
    let mut other = candidate("elsewhere", Some(&ready));
    other.policy = "blog/all";
    let all = [
        candidate("a", Some(&failed)),
        candidate("b", Some(&ready)),
        other,
    ];
    let at_once = BTreeMap::from([("shop/all", 5), ("blog/all", 1)]);
    assert_eq!(
        plan(&all, &at_once, NOW),
        [
            Step::Failed("why".to_owned()),
            Step::Wait(Blocked::PolicyStopped),
            Step::Restart,
        ]
    );
}

#[test]
fn a_failure_for_another_target_is_history() {
    let failed = marked(Outcome::Failed, NOW - 5);
    let mut newer = candidate("web", Some(&failed));
    newer.target = "8".to_owned();
    assert_eq!(step(newer), Step::Restart);
}

#[test]
fn a_restart_is_over_when_all_pods_are_ready_and_as_they_should_be() {
    let going = marked(Outcome::Restarting, NOW - 5);
    let mut done = candidate("web", Some(&going));
    done.behind = false;
    assert_eq!(step(done), Step::Finish);
    let unsettled = WorkloadFacts {
        settled: false,
        ..going
    };
    assert_eq!(step(candidate("web", Some(&unsettled))), Step::Restarting);
}

#[test]
fn what_does_not_become_ready_or_is_refused_goes_back() {
    let going = WorkloadFacts {
        settled: false,
        ..marked(Outcome::Restarting, NOW - 5)
    };
    let stuck = WorkloadFacts {
        stuck: true,
        ..going.clone()
    };
    assert_eq!(
        failed(&step(candidate("web", Some(&stuck)))),
        (true, "it did not become ready after its restart")
    );
    let late = WorkloadFacts {
        settled: false,
        ..marked(Outcome::Restarting, NOW - 661)
    };
    assert!(failed(&step(candidate("web", Some(&late)))).0);
    let mut refused = candidate("web", Some(&going));
    refused.refused = Some("too large".to_owned());
    assert_eq!(
        failed(&step(refused)),
        (true, "Fargate refuses its pods: too large")
    );
}

#[test]
fn a_restart_without_effect_is_not_repeated() {
    let just_now = marked(Outcome::Restarting, NOW - 30);
    assert_eq!(step(candidate("web", Some(&just_now))), Step::Restarting);
    let earlier = marked(Outcome::Restarting, NOW - 31);
    let after = step(candidate("web", Some(&earlier)));
    assert_eq!(
        failed(&after),
        (false, "its new pods are not as they should be either")
    );
    let mut suspended = candidate("web", Some(&just_now));
    suspended.suspended = true;
    assert!(!failed(&step(suspended)).0, "they are bare already");
}

#[test]
fn bare_pods_that_came_after_a_restart_are_a_reason_for_another() {
    let before = marked(Outcome::Ready, NOW - 1000);
    assert_eq!(step(candidate("web", Some(&before))), Step::Restart);
}
