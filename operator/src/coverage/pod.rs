//! What is seen of one pod.

use picket_crds::{AGENT_CONTAINER, ContainerTrace, Gap, Provider, SETUP_CONTAINER};
use picket_events::relay::{self, ContainerReport, ContainerState as Told, Heartbeat};
use picket_webhook::Policy;
use picket_webhook::reason::Reason;
use picket_webhook::status::{ContainerStatus, Status};

use crate::pods::{ContainerFacts, ContainerKind, ContainerState, Phase, PodFacts, fargate};

/// Seconds after which an agent that was heard counts as lost: two heartbeats missed, and a half.
pub const FRESH_SECONDS: i64 = 75;
/// Seconds in which an agent or tracer that has just started need not have said anything.
pub const FIRST_WORD_SECONDS: i64 = 75;
/// Seconds that a pod may wait for a place on Fargate: it takes about a minute.
pub const PLACE_SECONDS: i64 = 120;

/// Kubelet's words for a container that is about to start.
const STARTING: [&str; 3] = ["ContainerCreating", "PodInitializing", ""];

/// What an agent said last.
#[derive(Clone, Copy, Debug)]
pub struct Beat<'a> {
    /// What it said.
    pub heartbeat: &'a Heartbeat,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// What is known beside the pod itself.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Now, in seconds since 1970.
    pub now: i64,
    /// Version of what is injected now.
    pub revision: &'a str,
    /// Since when the policy injects as it does now, in seconds since 1970.
    pub policy_since: i64,
    /// Since when agents can reach the relay, in seconds since 1970; `None` where they cannot.
    pub relay_since: Option<i64>,
    /// What the pod's agent said last.
    pub beat: Option<Beat<'a>>,
    /// Why injection is suspended for its workload, if it is.
    pub suspended: Option<&'a str>,
}

/// Something that is not seen of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodGap {
    /// What.
    pub gap: Gap,
    /// Of which container.
    pub container: Option<Box<str>>,
    /// Why. Nothing in it changes as time passes.
    pub message: String,
}

/// How a container is traced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Traced {
    /// Its name.
    pub name: Box<str>,
    /// How it is.
    pub state: ContainerTrace,
    /// Why it is not traced.
    pub reason: Option<String>,
    /// Where its arguments came from.
    pub argv_source: Option<&'static str>,
}

/// What is seen of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assessed {
    /// Tracer and agent are in it.
    pub injected: bool,
    /// It is as it would be injected now.
    pub current: bool,
    /// Its agent works.
    pub reporting: bool,
    /// It starts; that something is missing means nothing yet.
    pub starting: bool,
    /// What is not seen.
    pub gaps: Vec<PodGap>,
    /// Its containers.
    pub containers: Vec<Traced>,
    /// When it has to be looked at again though nothing changes, in seconds since 1970.
    pub next: Option<i64>,
}

impl Assessed {
    fn gap(&mut self, gap: Gap, container: Option<&str>, message: impl Into<String>) {
        self.gaps.push(PodGap {
            gap,
            container: container.map(Into::into),
            message: message.into(),
        });
    }

    fn again_at(&mut self, time: i64) {
        self.next = Some(self.next.map_or(time, |next| next.min(time)));
    }
}

/// Looks at a pod that `policy` wins.
#[must_use]
pub fn assess(pod: &PodFacts, policy: &Policy, around: &Around<'_>) -> Assessed {
    let mut seen = Assessed::default();
    let starting = pod.phase == Phase::Pending;
    let status = pod.status.as_deref().filter(|_| pod.is_injected());
    let Some(status) = status else {
        match around.suspended {
            Some(why) => seen.gap(Gap::InjectionSuspended, None, why),
            None => seen.gap(Gap::Uninjected, None, why_bare(pod, policy)),
        }
        return seen;
    };
    seen.injected = true;
    seen.starting = starting;
    age(&mut seen, pod, status, policy, around);
    place(&mut seen, pod, status, around.now);
    if !pod.phase.has_ended() {
        agent(&mut seen, pod, policy, around);
    }
    let heard = around
        .beat
        .filter(|beat| around.now - beat.at <= FRESH_SECONDS);
    for container in &status.containers {
        self::container(&mut seen, pod, container, heard, around.now);
    }
    for debugger in &pod.containers {
        if debugger.kind == ContainerKind::Ephemeral && !debugger.traced {
            seen.gap(Gap::Ephemeral, Some(&debugger.name), Gap::Ephemeral.text());
        }
    }
    if !policy.spec.coverage.exec {
        seen.gap(Gap::Exec, None, Gap::Exec.text());
    }
    if let Some(rejected) = heard.and_then(|beat| beat.heartbeat.rules.rejected.as_ref()) {
        let reason = rejected.reason.as_str();
        seen.gap(Gap::RulesRejected, None, reason);
    }
    seen
}

fn why_bare(pod: &PodFacts, policy: &Policy) -> String {
    if policy.created.is_some_and(|created| pod.created < created) {
        "it is older than the policy; restart its workload".to_owned()
    } else {
        "the webhook was not asked, or left it alone: events of the workload say why".to_owned()
    }
}

/// Whether it is as it would be injected now.
fn age(seen: &mut Assessed, pod: &PodFacts, status: &Status, policy: &Policy, around: &Around<'_>) {
    let revision = around.revision;
    seen.current = true;
    if status.revision != revision {
        seen.current = false;
        let message = format!("injected as {}, now it is {revision}", status.revision);
        seen.gap(Gap::StaleRevision, None, message);
    }
    let (key, mode) = (policy.key(), policy.spec.mode);
    if status.policy != key || status.mode != mode {
        seen.current = false;
        let message = format!(
            "injected for {} in mode {:?}, now it is {key} in mode {mode:?}",
            status.policy, status.mode
        );
        seen.gap(Gap::StalePolicy, None, message);
    } else if pod.created < around.policy_since {
        seen.current = false;
        let message = "injected for an older version of the policy";
        seen.gap(Gap::StalePolicy, None, message);
    }
}

/// Whether AWS has found a place for it, and which.
fn place(seen: &mut Assessed, pod: &PodFacts, status: &Status, now: i64) {
    if !pod.is_on_fargate() {
        return;
    }
    if pod.phase == Phase::Pending && pod.node.is_none() {
        let until = pod.created + PLACE_SECONDS;
        // It judges a pod once, so a refusal will not turn into a place.
        if now >= until || fargate::refusal_in_status(pod).is_some() {
            let message = pod.unschedulable.as_deref();
            let message = message.unwrap_or("fargate-scheduler has given it no node");
            seen.gap(Gap::PendingOnFargate, None, message);
        } else {
            seen.again_at(until);
        }
    }
    let expected = status.fargate.and_then(|size| size.after);
    if let (Some(expected), Some(provisioned)) = (expected, &pod.capacity_provisioned)
        && *expected.to_string() != **provisioned
    {
        let message = format!("expected {expected}, provisioned {provisioned}");
        seen.gap(Gap::CapacityDrift, None, message);
    }
}

/// Whether the agent works.
fn agent(seen: &mut Assessed, pod: &PodFacts, policy: &Policy, around: &Around<'_>) {
    for name in [SETUP_CONTAINER, AGENT_CONTAINER] {
        let Some(container) = pod.container(name) else {
            continue;
        };
        let failing = match &container.state {
            ContainerState::Waiting(why) if STARTING.contains(&&*why.reason) => None,
            ContainerState::Waiting(why) => Some(why.reason.to_string()),
            ContainerState::Terminated(end) if name == AGENT_CONTAINER || end.exit_code != 0 => {
                Some(format!("{} (exit code {})", end.reason, end.exit_code))
            }
            _ => None,
        };
        if let Some(why) = failing {
            seen.gap(Gap::AgentFailing, Some(name), why);
            return;
        }
    }
    let Some(agent) = pod.container(AGENT_CONTAINER) else {
        return;
    };
    let runs = agent.ready && agent.state == ContainerState::Running;
    // Datadog's agent speaks to Datadog.
    let silent = policy.spec.provider != Provider::Picket;
    match (around.beat, around.relay_since) {
        (Some(beat), _) if around.now - beat.at <= FRESH_SECONDS => {
            seen.reporting = true;
            seen.again_at(beat.at + FRESH_SECONDS + 1);
        }
        (_, Some(since)) if !silent => {
            let last = around.beat.map(|beat| beat.at);
            // Whoever does not say since when it runs has run as long as its pod.
            let started = agent.running_since.unwrap_or(pod.created);
            let until = last.map_or(0, |last| last + FRESH_SECONDS);
            let until = until.max(since.max(started) + FIRST_WORD_SECONDS);
            if around.now > until {
                let message = match last {
                    Some(_) => "it was heard before, and is not any more",
                    None => "it was never heard",
                };
                seen.gap(Gap::NoHeartbeat, None, message);
            } else {
                seen.reporting = runs;
                seen.starting |= !runs;
                seen.again_at(until + 1);
            }
        }
        _ => {
            seen.reporting = runs;
            seen.starting |= !runs;
        }
    }
}

/// How a container of the pod is traced.
fn container(
    seen: &mut Assessed,
    pod: &PodFacts,
    status: &ContainerStatus,
    heard: Option<Beat<'_>>,
    now: i64,
) {
    let name = status.name.as_str();
    let argv_source = status.argv_source.map(|source| match source {
        picket_webhook::status::ArgvSource::Spec => "Spec",
        picket_webhook::status::ArgvSource::Image => "Image",
        picket_webhook::status::ArgvSource::Override => "Override",
    });
    let mut traced = Traced {
        name: name.into(),
        state: ContainerTrace::Injected,
        reason: None,
        argv_source,
    };
    if let Some(word) = &status.skipped {
        traced.state = ContainerTrace::Skipped;
        traced.reason = Some(word.clone());
        skipped(seen, name, word);
    } else if let Some(facts) = pod.container(name) {
        let report = heard.and_then(|beat| find(beat.heartbeat, name));
        let fault = if !facts.traced {
            Some("something took the tracer out of its command".to_owned())
        } else {
            match report.map(|report| &report.state) {
                Some(Told::NotTraced { step, errno }) => Some(untraced(step, *errno)),
                Some(Told::Disconnected) if runs(facts) => {
                    Some("its tracer is not connected to the agent".to_owned())
                }
                Some(Told::Traced) => {
                    traced.state = ContainerTrace::Traced;
                    None
                }
                None if runs(facts) => no_hello(seen, facts, heard, now),
                _ => None,
            }
        };
        if let Some(fault) = fault {
            traced.state = ContainerTrace::NotTraced;
            traced.reason = Some(fault.clone());
            seen.gap(Gap::NotTraced, Some(name), fault);
        } else if matches!(facts.state, ContainerState::Terminated(_)) {
            traced.state = ContainerTrace::Ended;
        }
        for gap in report.into_iter().flat_map(|report| &report.gaps) {
            let gap = match gap {
                relay::Gap::RulesNeedRestart => Gap::RulesNeedRestart,
                relay::Gap::ReadsUnwatched => Gap::ReadsUnwatched,
                relay::Gap::EventsLost => Gap::EventsLost,
                _ => continue,
            };
            seen.gap(gap, Some(name), gap.text());
        }
        commands(seen, facts);
    }
    seen.containers.push(traced);
}

fn skipped(seen: &mut Assessed, name: &str, word: &str) {
    let reason = Reason::ALL.iter().find(|reason| reason.word() == word);
    match reason {
        Some(Reason::EntrypointUnresolved) => {
            let text = Reason::EntrypointUnresolved.text();
            seen.gap(Gap::EntrypointUnresolved, Some(name), text);
        }
        Some(reason) if reason.is_failure() => {
            let message = format!("{word}: {}", reason.text());
            seen.gap(Gap::ContainerSkipped, Some(name), message);
        }
        _ => {}
    }
}

fn find<'a>(heartbeat: &'a Heartbeat, name: &str) -> Option<&'a ContainerReport> {
    let mut reports = heartbeat.containers.iter();
    reports.find(|report| report.name == name)
}

fn runs(facts: &ContainerFacts) -> bool {
    facts.state == ContainerState::Running
}

fn untraced(step: &str, errno: i32) -> String {
    match (step, errno) {
        ("", 0) => "its tracer could not start".to_owned(),
        (step, 0) => format!("its tracer could not start: {step}"),
        (step, errno) => format!("its tracer could not start: {step}, errno {errno}"),
    }
}

/// The agent is heard, and has not heard of this container. An init container may have ended
/// before the agent's last start.
fn no_hello(
    seen: &mut Assessed,
    facts: &ContainerFacts,
    heard: Option<Beat<'_>>,
    now: i64,
) -> Option<String> {
    let beat = heard?;
    if facts.kind == ContainerKind::Init {
        return None;
    }
    let agent_since = beat.at - i64::try_from(beat.heartbeat.uptime_seconds).unwrap_or(0);
    let until = facts.running_since?.max(agent_since) + FIRST_WORD_SECONDS;
    if now > until {
        return Some("its tracer has not said hello to the agent".to_owned());
    }
    seen.again_at(until + 1);
    None
}

fn commands(seen: &mut Assessed, facts: &ContainerFacts) {
    for (there, gap) in [
        (facts.untraced_probe, Gap::ExecProbe),
        (facts.untraced_hook, Gap::LifecycleHook),
    ] {
        if there {
            seen.gap(gap, Some(&facts.name), gap.text());
        }
    }
}
