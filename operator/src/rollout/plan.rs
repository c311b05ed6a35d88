//! Who is restarted, who waits, and what went wrong.

use std::collections::BTreeMap;
use std::fmt;

use super::Key;
use super::workloads::{Mark, Outcome, Update, WorkloadFacts};

/// Seconds that a workload has, beyond its own deadline, before its restart counts as failed: its
/// controller says so first.
const GRACE_SECONDS: i64 = 60;
/// Seconds after which pods that are ready and still not as they should be never will: coverage
/// follows pods within ten.
const EFFECT_SECONDS: i64 = 30;

/// A workload of a policy that wants it restarted.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Which.
    pub key: Key,
    /// The policy that wins.
    pub policy: &'a str,
    /// What its pods are to be.
    pub target: String,
    /// Whether pods of it are bare or out of date.
    pub behind: bool,
    /// Whether injection is suspended for it: a restart would change nothing.
    pub suspended: bool,
    /// What fargate-scheduler says of a pod that it will never run.
    pub refused: Option<String>,
    /// What is known of it; nothing for kinds that are never restarted.
    pub facts: Option<&'a WorkloadFacts>,
    /// Whether its PodDisruptionBudgets allow a disruption now.
    pub disruptable: bool,
}

/// Why a workload that is behind is not restarted now. The words are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Only Deployments and StatefulSets are restarted: a Job's work would be lost, and nobody
    /// makes a bare pod again.
    KindNotRestarted,
    /// `strategy: Recreate`: a restart would be an outage.
    StrategyRecreate,
    /// `updateStrategy: OnDelete`: somebody wants to decide for each pod.
    StrategyOnDelete,
    /// It is paused.
    Paused,
    /// Injection is suspended for it.
    InjectionSuspended,
    /// Not all of its pods are ready now.
    NotReady,
    /// A PodDisruptionBudget allows no disruption now.
    DisruptionBudget,
    /// As many are being restarted as the policy allows.
    WaitsForOthers,
    /// Another one of the policy failed.
    PolicyStopped,
}

impl Blocked {
    /// The stable word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::KindNotRestarted => "KindNotRestarted",
            Self::StrategyRecreate => "StrategyRecreate",
            Self::StrategyOnDelete => "StrategyOnDelete",
            Self::Paused => "Paused",
            Self::InjectionSuspended => "InjectionSuspended",
            Self::NotReady => "NotReady",
            Self::DisruptionBudget => "DisruptionBudget",
            Self::WaitsForOthers => "WaitsForOthers",
            Self::PolicyStopped => "PolicyStopped",
        }
    }
}

/// What is to be done with a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is as it should be.
    None,
    /// It is being restarted.
    Restarting,
    /// Restart it.
    Restart,
    /// Write down that it is ready.
    Finish,
    /// Write down that it failed; `bare` says that its pods have to be made anew without tracer
    /// and agent, which suspended injection takes care of.
    Fail {
        /// Why.
        message: String,
        /// Whether injection is suspended, and pods are made anew.
        bare: bool,
    },
    /// It failed before, for what its pods are to be now.
    Failed(String),
    /// It waits.
    Wait(Blocked),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None | Self::Finish => f.write_str("Ready"),
            Self::Restarting | Self::Restart => f.write_str("Restarting"),
            Self::Fail { message, .. } | Self::Failed(message) => write!(f, "Failed: {message}"),
            Self::Wait(blocked) => f.write_str(blocked.word()),
        }
    }
}

/// Decides about all workloads of policies that want them restarted; `at_once` says how many of a
/// policy may be under way. Those that come first are restarted first.
#[must_use]
pub fn plan(candidates: &[Candidate<'_>], at_once: &BTreeMap<&str, u32>, now: i64) -> Vec<Step> {
    let mut steps: Vec<Step> = candidates.iter().map(|one| alone(one, now)).collect();
    let mut under_way: BTreeMap<&str, u32> = BTreeMap::new();
    let mut stopped: Vec<&str> = Vec::new();
    for (candidate, step) in candidates.iter().zip(&steps) {
        match step {
            Step::Restarting | Step::Finish => *under_way.entry(candidate.policy).or_default() += 1,
            Step::Fail { .. } | Step::Failed(_) => stopped.push(candidate.policy),
            _ => {}
        }
    }
    for (candidate, step) in candidates.iter().zip(&mut steps) {
        if *step != Step::Restart {
            continue;
        }
        let under_way = under_way.entry(candidate.policy).or_default();
        let allowed = at_once.get(candidate.policy).copied().unwrap_or(0);
        if stopped.contains(&candidate.policy) {
            *step = Step::Wait(Blocked::PolicyStopped);
        } else if *under_way >= allowed {
            *step = Step::Wait(Blocked::WaitsForOthers);
        } else if !candidate.disruptable {
            *step = Step::Wait(Blocked::DisruptionBudget);
        } else {
            *under_way += 1;
        }
    }
    steps
}

/// What is to be done if there were no others.
fn alone(candidate: &Candidate<'_>, now: i64) -> Step {
    let Some(facts) = candidate.facts else {
        return match candidate.behind {
            true => Step::Wait(Blocked::KindNotRestarted),
            false => Step::None,
        };
    };
    let ours = facts.mark.as_ref();
    let ours = ours.filter(|mark| mark.target == candidate.target);
    match ours {
        Some(mark) if mark.outcome == Outcome::Failed => Step::Failed(mark.message.clone()),
        Some(mark) if mark.outcome == Outcome::Restarting => going(candidate, facts, mark, now),
        _ if !candidate.behind => Step::None,
        // It was ready for this, so bare pods have come since: restarting once more may make
        // bare ones again.
        _ => begin(candidate, facts),
    }
}

fn going(candidate: &Candidate<'_>, facts: &WorkloadFacts, mark: &Mark, now: i64) -> Step {
    let fail = |message: &str, bare| Step::Fail {
        message: message.to_owned(),
        bare,
    };
    if let Some(refused) = &candidate.refused {
        return fail(&format!("Fargate refuses its pods: {refused}"), true);
    }
    if facts.stuck || now > mark.at + facts.deadline + GRACE_SECONDS {
        return fail("it did not become ready after its restart", true);
    }
    match (facts.settled, candidate.behind) {
        (true, false) => Step::Finish,
        (true, true) if candidate.suspended => {
            fail("injection was suspended while it was restarted", false)
        }
        (true, true) if now > mark.at + EFFECT_SECONDS => {
            fail("its new pods are not as they should be either", false)
        }
        _ => Step::Restarting,
    }
}

fn begin(candidate: &Candidate<'_>, facts: &WorkloadFacts) -> Step {
    let blocked = if facts.update == Update::Recreate {
        Blocked::StrategyRecreate
    } else if facts.update == Update::OnDelete {
        Blocked::StrategyOnDelete
    } else if facts.paused {
        Blocked::Paused
    } else if candidate.suspended {
        Blocked::InjectionSuspended
    } else if !facts.settled {
        Blocked::NotReady
    } else {
        return Step::Restart;
    };
    Step::Wait(blocked)
}
