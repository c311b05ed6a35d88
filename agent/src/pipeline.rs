//! Messages in, findings out. No I/O and no clock: bytes come from [`crate::server`] by way of
//! [`crate::ingest`], the time is handed in, what is to be done is handed out.

mod actions;
mod container;
mod denials;
mod engine;
mod internal;
mod loss;
mod output;
mod reports;
mod session;
mod throttle;
mod waiting;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use picket_events::relay::{self, ContainerReport, Heartbeat, RulesInUse};
use picket_events::wire::{Hello, Refusal, ToAgent, ToTracer, VERSION};
use picket_rules::RuleSet;
use serde_json::{Value, json};

use crate::finding;
use crate::identity::Identity;
use crate::open_connections::OpenConnections;
use crate::samples;
use crate::sessions::Sessions;
use container::Container;
use engine::Engine;
pub use output::{ConnectionId, Counters, LoadedRules, Observer, Output, Outputs, Violation};
use session::Claim;
use waiting::Released;

/// Most containers of a pod.
const MAX_CONTAINERS: usize = 64;
/// A container that was not heard of for this long makes place for another: 60 s. What runs
/// beside a container's own command makes place at once.
const FORGET_AFTER: u64 = 60_000_000_000;

/// Everything between a tracer's messages and findings.
pub struct Pipeline {
    identity: Identity,
    loaded: LoadedRules,
    engine: Engine,
    containers: HashMap<String, Container, RandomState>,
    connections: HashMap<ConnectionId, String, RandomState>,
    next_connection: u64,
    throttle: throttle::Throttle,
    counters: Counters,
    reported_lost_findings: u64,
    quarantined: bool,
    sessions: Sessions,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    /// A pipeline that evaluates these rules and reports as this agent.
    pub fn new(loaded: LoadedRules, identity: Identity) -> Self {
        Self {
            engine: Engine::new(Arc::clone(&loaded.rules)),
            identity,
            loaded,
            containers: HashMap::default(),
            connections: HashMap::default(),
            next_connection: 0,
            throttle: throttle::Throttle::default(),
            counters: Counters::default(),
            reported_lost_findings: 0,
            quarantined: false,
            sessions: Sessions::default(),
        }
    }

    /// Shows every event to this observer from now on.
    pub fn observe(&mut self, observer: Box<dyn Observer>) {
        self.engine.observe(observer);
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The rules in use.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.loaded.rules
    }

    /// Reports the rules that are in use: the first line of an agent's output.
    pub fn start(&mut self, now: u64, outputs: &mut dyn Outputs) {
        let LoadedRules { rules, report } = &self.loaded;
        let meaning = internal::meaning(internal::RULESET_LOADED).filter(|_| !report.is_ok());
        let body = internal::ruleset_loaded(rules, report);
        let context = finding::Context {
            identity: &self.identity,
            container: None,
        };
        let line = finding::internal(&context, internal::RULESET_LOADED, meaning, body, now);
        outputs.push(Output::Finding(Box::new(line)));
    }

    /// A sample of each finding type that the rules can give.
    pub fn samples(&self, now: u64) -> Vec<finding::Finding> {
        samples::samples(&self.loaded.rules, &self.identity, now)
    }

    /// Takes another rule set into use. Every event is evaluated against all of the old rules
    /// or all of the new ones.
    pub fn replace_rules(&mut self, loaded: LoadedRules, now: u64, outputs: &mut dyn Outputs) {
        self.engine.replace(Arc::clone(&loaded.rules));
        self.loaded = loaded;
        self.start(now, outputs);
        let denials = denials::of(&self.loaded.rules, self.identity.mode);
        outputs.push(Output::Deny(denials));
        let names: Vec<String> = self.containers.keys().cloned().collect();
        for name in names {
            self.check_interest(&name, now, outputs);
        }
    }

    /// A tracer says hello; it is told whether it is welcome.
    ///
    /// # Errors
    /// A [`Refusal`] when it speaks another version, shows another key than the container's
    /// first hello, or when there are too many containers. The refusal is reported; sending
    /// it and closing the connection is up to the caller.
    pub fn open_connection(
        &mut self,
        hello: &Hello,
        now: u64,
        outputs: &mut dyn Outputs,
    ) -> Result<ConnectionId, Refusal> {
        if hello.version != VERSION {
            self.violation(Violation::Refused(Refusal::Version), now, outputs);
            return Err(Refusal::Version);
        }
        let name = container::shortened(&hello.container);
        let known = self.containers.get(&name);
        match known.map(|container| container.session.judge(hello, now)) {
            Some(Claim::Forged) => {
                self.counters.violations += 1;
                self.report(
                    Some(&name),
                    internal::FORGED_SESSION,
                    container::describe(hello),
                    now,
                    outputs,
                );
                return Err(Refusal::SessionKey);
            }
            Some(Claim::Same) => {
                if let Some(container) = self.containers.get_mut(&name) {
                    container.reconnect(hello);
                }
            }
            Some(Claim::Restarted) => {
                self.flush_losses(&name, now, outputs);
                self.remove(&name);
                self.add(&name, hello, now);
            }
            None if self.make_room(now) => self.add(&name, hello, now),
            None => {
                self.violation(Violation::Refused(Refusal::TooMany), now, outputs);
                return Err(Refusal::TooMany);
            }
        }
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.connections.insert(id, name.clone());
        outputs.push(Output::Message(id, ToTracer::Welcome));
        let watched = self.loaded.rules.watched_files();
        if !watched.is_empty() {
            outputs.push(Output::Message(id, ToTracer::WatchReads(watched)));
        }
        if self.quarantined {
            outputs.push(Output::Message(id, ToTracer::Quarantine(true)));
        }
        // An agent before this one may have had other rules, which the tracer goes by until now.
        let denials = denials::of(&self.loaded.rules, self.identity.mode);
        outputs.push(Output::Message(id, ToTracer::Deny(denials)));
        self.greet(&name, hello, now, outputs);
        Ok(id)
    }

    /// Takes in one message of a connection.
    ///
    /// # Errors
    /// A [`Violation`] when the message must not come now; the connection has to be closed.
    pub fn handle(
        &mut self,
        connection: ConnectionId,
        message: ToAgent,
        now: u64,
        outputs: &mut dyn Outputs,
    ) -> Result<(), Violation> {
        let Some(name) = self.connections.get(&connection) else {
            return Ok(());
        };
        let Some(container) = self.containers.get_mut(name) else {
            return Ok(());
        };
        match message {
            ToAgent::Hello(_) => return Err(Violation::SecondHello),
            ToAgent::Process(process) => {
                container.tree.insert(*process);
            }
            ToAgent::Account(account) => container.info.accounts.insert(account),
            ToAgent::Event(event) => {
                self.counters.events += 1;
                container.events += 1;
                container.loss.arrived(event.sequence);
                if std::mem::take(&mut container.in_snapshot) {
                    container.tree.end_snapshot(event.time);
                }
                self.counters.findings += self.engine.event(
                    &self.identity,
                    connection,
                    container,
                    (&event, now),
                    outputs,
                );
                if let Some(rule) = self.engine.take_quarantine() {
                    self.quarantine(true, &rule, now, outputs);
                }
            }
            ToAgent::Summed(summed) => {
                let released = self.engine.summed(connection, summed, now);
                self.released(released, now, outputs);
            }
            ToAgent::Lost(lost) => container.loss.told(&lost),
            // A matter between the two ends of the connection: the programs have them by now.
            ToAgent::Environment(_) => {}
            ToAgent::Notice(notice) => {
                let name = name.clone();
                self.notice(&name, notice, now, outputs);
            }
            ToAgent::Goodbye(goodbye) => {
                container.session.goodbye();
                container.loss.ended(goodbye.last_sequence);
                let name = name.clone();
                self.goodbye(&name, goodbye, now, outputs);
            }
        }
        Ok(())
    }

    /// Cuts the pod off from the network, or lets it go again, and reports that; `reason` is
    /// who asked for it. What is connected stays so, and containers that connect later are cut
    /// off too.
    pub fn quarantine(&mut self, on: bool, reason: &str, now: u64, outputs: &mut dyn Outputs) {
        if self.quarantined == on {
            return;
        }
        self.quarantined = on;
        outputs.push(Output::Quarantine(on));
        let body = json!({"active": on, "reason": reason});
        self.report(None, internal::QUARANTINE, body, now, outputs);
    }

    /// Reports what a quarantine leaves open.
    pub fn open_connections(
        &mut self,
        open: &OpenConnections,
        now: u64,
        outputs: &mut dyn Outputs,
    ) {
        if !open.connections.is_empty() {
            self.report(None, internal::OPEN_CONNECTIONS, json!(open), now, outputs);
        }
    }

    /// A connection ended.
    pub fn close_connection(
        &mut self,
        connection: ConnectionId,
        now: u64,
        outputs: &mut dyn Outputs,
    ) {
        let released = self.engine.hung_up(connection, now);
        self.released(released, now, outputs);
        let Some(name) = self.connections.remove(&connection) else {
            return;
        };
        if let Some(container) = self.containers.get_mut(&name) {
            container.session.disconnected(now);
        }
        self.flush_losses(&name, now, outputs);
    }

    /// Counts and reports a broken rule of the conversation.
    pub fn violation(&mut self, violation: Violation, now: u64, outputs: &mut dyn Outputs) {
        self.counters.violations += 1;
        let body = json!({"reason": violation.to_string(), "total": self.counters.violations});
        self.report(None, internal::MALFORMED_MESSAGE, body, now, outputs);
    }

    /// To be called about once a second: reports losses. `lost_findings` is how many findings
    /// could not be written since the start.
    pub fn tick(&mut self, lost_findings: u64, now: u64, outputs: &mut dyn Outputs) {
        self.counters.lost_findings = lost_findings;
        let released = self.engine.expire(now);
        self.released(released, now, outputs);
        let names: Vec<String> = self.containers.keys().cloned().collect();
        for name in names {
            self.flush_losses(&name, now, outputs);
        }
        let new = lost_findings.saturating_sub(self.reported_lost_findings);
        if new > 0 {
            let body = json!({"count": new, "total": lost_findings});
            if self.report(None, internal::LOST_FINDINGS, body, now, outputs) {
                self.reported_lost_findings = lost_findings;
            }
        }
    }

    /// Waits for no tracer any more: everything that can be written is.
    pub fn finish(&mut self, now: u64, outputs: &mut dyn Outputs) {
        let released = self.engine.give_up(now);
        self.released(released, now, outputs);
    }

    /// Goes on with what waited for the sums of files.
    fn released(&mut self, released: Released, now: u64, outputs: &mut dyn Outputs) {
        for held in released.findings {
            outputs.push(Output::Finding(self.engine.complete(held)));
        }
        for held in &released.events {
            let name = self.connections.get(&held.connection);
            let Some(container) = name.and_then(|name| self.containers.get(name)) else {
                continue; // of a container that was restarted since
            };
            let late = self
                .engine
                .late(&self.identity, container, (held, now), outputs);
            self.counters.findings += late;
        }
        if let Some(rule) = self.engine.take_quarantine() {
            self.quarantine(true, &rule, now, outputs);
        }
    }

    /// Reports that the agent is alive, with its counts.
    pub fn heartbeat(&self, now: u64, outputs: &mut dyn Outputs) {
        let context = finding::Context {
            identity: &self.identity,
            container: None,
        };
        let body = self.status(now);
        let line = finding::internal(&context, internal::HEARTBEAT, None, body, now);
        outputs.push(Output::Finding(Box::new(line)));
    }

    /// What a heartbeat says: rules, counts, containers.
    pub fn status(&self, now: u64) -> Value {
        let mut containers: Vec<&Container> = self.containers.values().collect();
        containers.sort_by(|left, right| left.info.name.cmp(&right.info.name));
        let uptime = now.saturating_sub(self.identity.started_at) / 1_000_000_000;
        json!({
            "uptime_s": uptime,
            "rules": self.loaded.rules.rules().len(),
            "rules_refused": self.loaded.report.errors().count(),
            "ruleset_hash": self.loaded.rules.hash(),
            "events": self.counters.events,
            "findings": self.counters.findings,
            "violations": self.counters.violations,
            "lost_findings": self.counters.lost_findings,
            "containers": containers.iter().map(|container| container.status()).collect::<Vec<_>>(),
        })
    }

    /// Checks with these who opened a session in a container.
    #[must_use]
    pub fn with_sessions(mut self, sessions: Sessions) -> Self {
        self.sessions = sessions;
        self
    }

    /// What the relay is told: rules, containers, losses.
    pub fn relay_report(&self, now: u64) -> Heartbeat {
        let needed = self.loaded.rules.interest();
        let mut heartbeat = Heartbeat {
            version: relay::VERSION,
            pod_uid: self.identity.pod.uid.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: self.identity.revision.clone(),
            started_at: self.identity.started_at / 1_000_000_000,
            uptime_seconds: now.saturating_sub(self.identity.started_at) / 1_000_000_000,
            rules: RulesInUse {
                hash: self.loaded.rules.hash().to_owned(),
                count: self.loaded.rules.rules().len() as u64,
                refused: self.loaded.report.errors().count() as u64,
                ..RulesInUse::default()
            },
            quarantined: self.quarantined,
            findings: self.counters.findings,
            violations: self.counters.violations,
            ..Heartbeat::default()
        };
        heartbeat.losses.findings = self.counters.lost_findings;
        for container in self.containers.values() {
            for (reason, count) in container.loss.reasons() {
                let sum = heartbeat.losses.events.entry(reason.to_owned());
                *sum.or_default() += count;
            }
            // Probes, hooks and sessions come and go.
            if !container.session.is_brief() {
                heartbeat.containers.push(container.report(&needed));
            }
        }
        let by_name = |left: &ContainerReport, right: &ContainerReport| left.name.cmp(&right.name);
        heartbeat.containers.sort_by(by_name);
        heartbeat
    }

    fn add(&mut self, name: &str, hello: &Hello, now: u64) {
        let mut hasher = DefaultHasher::new();
        (name, hello.session_key).hash(&mut hasher);
        let session = self.sessions.identify(hello, &self.identity.pod.uid, now);
        let container = Container::new(hello, &self.identity, hasher.finish(), session);
        self.containers.insert(name.to_owned(), container);
    }

    fn remove(&mut self, name: &str) {
        if let Some(container) = self.containers.remove(name) {
            self.engine.forget(&container);
        }
    }

    /// Lets go of a container that was not heard of for long, if there is no room.
    fn make_room(&mut self, now: u64) -> bool {
        if self.containers.len() < MAX_CONTAINERS {
            return true;
        }
        let gone = self.containers.iter().filter(|(_, container)| {
            let session = &container.session;
            let silent = now.saturating_sub(session.dropped_at());
            !session.is_connected() && (session.is_brief() || silent > FORGET_AFTER)
        });
        let oldest = gone.min_by_key(|(_, container)| container.session.dropped_at());
        let Some(name) = oldest.map(|(name, _)| name.clone()) else {
            return false;
        };
        self.remove(&name);
        true
    }
}
