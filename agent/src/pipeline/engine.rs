//! One event: into the tree, past the rules, out as findings.

mod effects;
mod lineage;
mod sums;

use std::sync::Arc;

use picket_events::wire::Summed;
use picket_events::{Event, EventKind, EventType};
use picket_rules::{ActionRequest, Catalogue, Evaluator, EventId, Match, RuleSet, Scope};

use self::effects::{after, before, remote_address, target_pid};
use self::lineage::Lineage;
use self::sums::{Hashed, Processes, compare, hashed, late};
use super::actions::Summing;
use super::container::Container;
use super::waiting::{HeldEvent, HeldFinding, Released, Waiting};
use super::{ConnectionId, Observer, Output, Outputs, actions};
use crate::context::{Accessors, Derived, Scene, Second};
use crate::finding::{self, Finding, RuleOutcome};
use crate::hashes::{self, FileId, Hashes, Unhashed};
use crate::identity::{Identity, Mode};
use crate::tree::{Key, ProcessNode};

/// Rules, and what evaluating them needs again and again.
pub(super) struct Engine {
    judge: Judge,
    accessors: Accessors,
    /// The catalogue's id of each event type; `None` where rules do not know the type.
    event_ids: Vec<Option<EventId>>,
    /// The same for events that are told from another one.
    derived_ids: Vec<(Second, EventId)>,
    observer: Option<Box<dyn Observer>>,
    ancestors: Lineage,
    target_ancestors: Lineage,
    /// By event type of the catalogue, the files whose sums its rules compare.
    hashed: Vec<Hashed>,
}

/// What rules come to, and what is done about it.
struct Judge {
    evaluator: Evaluator,
    matches: Vec<Match>,
    hashes: Hashes,
    waiting: Waiting,
    /// By rule, whether it compares the sums of a file.
    late: Vec<bool>,
    /// The rule that asks for the pod to be cut off, until it was done.
    quarantine: Option<String>,
}

/// Which rules are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// All of them.
    Whole,
    /// Those that do not compare sums, which are still to come.
    Early,
    /// Those that do, once the sums are there.
    Late,
}

impl Engine {
    pub(super) fn new(rules: Arc<RuleSet>) -> Self {
        let catalogue = rules.catalogue();
        Self {
            accessors: Accessors::new(catalogue),
            event_ids: event_ids(catalogue),
            derived_ids: derived_ids(catalogue),
            hashed: hashed(&rules),
            judge: Judge {
                late: late(&rules),
                evaluator: Evaluator::new(rules),
                matches: Vec::new(),
                hashes: Hashes::default(),
                waiting: Waiting::default(),
                quarantine: None,
            },
            observer: None,
            ancestors: Lineage::default(),
            target_ancestors: Lineage::default(),
        }
    }

    /// The rule that has asked for the pod to be cut off since the last call.
    pub(super) fn take_quarantine(&mut self) -> Option<String> {
        self.judge.quarantine.take()
    }

    pub(super) fn observe(&mut self, observer: Box<dyn Observer>) {
        self.observer = Some(observer);
    }

    pub(super) fn replace(&mut self, rules: Arc<RuleSet>) {
        let catalogue = rules.catalogue();
        self.accessors = Accessors::new(catalogue);
        self.event_ids = event_ids(catalogue);
        self.derived_ids = derived_ids(catalogue);
        self.hashed = hashed(&rules);
        self.judge.late = late(&rules);
        self.judge.evaluator.replace(rules);
    }

    /// Forgets the variables of a container that is gone.
    pub(super) fn forget(&mut self, container: &Container) {
        let key = container.info.scope_key;
        for process in container.tree.all() {
            let evaluator = &mut self.judge.evaluator;
            evaluator.release(Scope::Process, process.identity() ^ key);
        }
        self.judge.evaluator.release(Scope::Container, key);
    }

    /// Takes in an event; gives back how many findings it made.
    pub(super) fn event(
        &mut self,
        identity: &Identity,
        connection: ConnectionId,
        container: &mut Container,
        (event, now): (&Event, u64),
        outputs: &mut dyn Outputs,
    ) -> u64 {
        let (key, refused) = before(&mut container.tree, event);
        let subject = (key, refused.as_ref());
        let event_at = (event, now);
        let findings = self.evaluate(identity, connection, container, event_at, subject, outputs);
        if let Some(key) = key {
            after(&mut container.tree, key, event);
        }
        let scope_key = container.info.scope_key;
        for identity in container.tree.take_left() {
            let evaluator = &mut self.judge.evaluator;
            evaluator.release(Scope::Process, identity ^ scope_key);
        }
        findings
    }

    fn evaluate(
        &mut self,
        identity: &Identity,
        connection: ConnectionId,
        container: &mut Container,
        (event, now): (&Event, u64),
        (key, refused): (Option<Key>, Option<&ProcessNode>),
        outputs: &mut dyn Outputs,
    ) -> u64 {
        let event_id = self.event_ids[event.event_type() as usize];
        if event_id.is_none() && self.observer.is_none() {
            return 0;
        }
        if let EventKind::Dns(dns) = &event.kind {
            container.names.answered(dns);
        }
        let container = &*container;
        let tree = &container.tree;
        let target = target_pid(&event.kind, event.pid).and_then(|pid| tree.find(pid));
        let ancestors = self.ancestors.of(key, tree);
        let target_ancestors = self.target_ancestors.of(target, tree);
        let process = key.and_then(|key| tree.get(key));
        let mut derived = Derived::of(event);
        if let Some(ip) = remote_address(&event.kind) {
            derived.hostnames = container.names.of(ip);
        }
        let mut summing = self.judge.summing(connection, now);
        let processes = Processes {
            process: refused.or(process),
            ancestors,
            target: target.and_then(|key| tree.get(key)),
            target_ancestors,
            tree,
        };
        let hashed = event_id.map(|id| self.hashed[usize::from(id.0)]);
        let files = hashed.unwrap_or_default().files(event, processes);
        let asked = compare(&mut summing, event, &files, &mut derived, outputs);
        let scene = Scene {
            event,
            name: event.event_type().name(),
            process,
            executed: refused.or(process),
            ancestors,
            target: target.and_then(|key| tree.get(key)),
            target_ancestors,
            tree,
            container: &container.info,
            identity,
            derived: &derived,
            accessors: &self.accessors,
        };
        let second = Second::of(&event.kind).and_then(|second| {
            let ids = self.derived_ids.iter();
            let id = ids.clone().find(|(known, _)| *known == second);
            id.map(|(_, id)| (*id, second.name()))
        });
        let pass = match asked {
            true => Pass::Early,
            false => Pass::Whole,
        };
        let ids = event_id.map(|id| (id, scene.name));
        let mut findings = 0;
        for (event_id, name) in ids.into_iter().chain(second) {
            let scene = Scene { name, ..scene };
            findings += self
                .judge
                .event(event_id, &scene, pass, (connection, now), outputs);
        }
        if asked {
            self.judge.waiting.hold_event(HeldEvent {
                connection,
                event: event.clone(),
                process: process.cloned(),
                executed: scene.executed.cloned(),
                ancestors: ancestors.to_vec(),
                target,
                target_ancestors: target_ancestors.to_vec(),
                hostnames: derived.hostnames.clone(),
                files: files.into_iter().filter_map(FileId::of).collect(),
            });
        }
        if let Some(observer) = &mut self.observer {
            observer.event(&scene);
        }
        findings
    }

    /// Evaluates what waited for the sums of files against the rules that compare them.
    pub(super) fn late(
        &mut self,
        identity: &Identity,
        container: &Container,
        (held, now): (&HeldEvent, u64),
        outputs: &mut dyn Outputs,
    ) -> u64 {
        let event = &held.event;
        let Some(event_id) = self.event_ids[event.event_type() as usize] else {
            return 0;
        };
        let mut derived = Derived::of(event);
        derived.hostnames.clone_from(&held.hostnames);
        for file in &held.files {
            if let Some(sums) = self.judge.hashes.known(*file) {
                derived.hashed(*file, sums.clone());
            }
        }
        let tree = &container.tree;
        let scene = Scene {
            event,
            name: event.event_type().name(),
            process: held.process.as_ref(),
            executed: held.executed.as_ref(),
            ancestors: &held.ancestors,
            target: held.target.and_then(|key| tree.get(key)),
            target_ancestors: &held.target_ancestors,
            tree,
            container: &container.info,
            identity,
            derived: &derived,
            accessors: &self.accessors,
        };
        let from = (held.connection, now);
        self.judge
            .event(event_id, &scene, Pass::Late, from, outputs)
    }

    /// Takes in what a tracer says of a file; gives back what waited for it.
    pub(super) fn summed(
        &mut self,
        connection: ConnectionId,
        summed: Summed,
        now: u64,
    ) -> Released {
        let judge = &mut self.judge;
        let Some((file, limit)) = judge.waiting.answered(connection, summed.request) else {
            return Released::default(); // waited for too long
        };
        let sums = match &summed.result {
            Ok(sums) => Ok(hashes::texts(sums)),
            Err(fault) => Err(Unhashed::told(*fault, limit)),
        };
        judge.hashes.told(file, sums, now);
        judge.waiting.release()
    }

    /// Waits no longer for tracers that take too long; gives back what waited for them.
    pub(super) fn expire(&mut self, now: u64) -> Released {
        let files = self.judge.waiting.expired(now);
        self.judge.give_up(files, Unhashed::TimedOut, now)
    }

    /// Waits no longer for the tracer of a connection that has ended.
    pub(super) fn hung_up(&mut self, connection: ConnectionId, now: u64) -> Released {
        let files = self.judge.waiting.hung_up(connection);
        self.judge.give_up(files, Unhashed::OutOfReach, now)
    }

    /// Waits for nothing any more.
    pub(super) fn give_up(&mut self, now: u64) -> Released {
        let files = self.judge.waiting.all();
        self.judge.give_up(files, Unhashed::TimedOut, now)
    }

    /// Completes a finding with what became of the files that it waited for.
    pub(super) fn complete(&self, held: HeldFinding) -> Box<Finding> {
        let HeldFinding {
            mut finding,
            actions: waiting,
            ..
        } = held;
        for (index, file) in waiting {
            let sums = self.judge.hashes.known(file).cloned();
            let sums = sums.unwrap_or(Err(Unhashed::OutOfReach));
            if let Some(action) = finding.agent.rule_actions.get_mut(index) {
                actions::hashed(action, sums);
            }
        }
        finding.take_hashes();
        finding
    }
}

impl Judge {
    fn summing(&mut self, connection: ConnectionId, now: u64) -> Summing<'_> {
        Summing {
            hashes: &mut self.hashes,
            waiting: &mut self.waiting,
            connection,
            now,
        }
    }

    fn give_up(&mut self, files: Vec<FileId>, reason: Unhashed, now: u64) -> Released {
        for file in files {
            self.hashes.told(file, Err(reason), now);
        }
        self.waiting.release()
    }

    /// Evaluates rules on a scene, and does what those ask for that match.
    fn event(
        &mut self,
        event_id: EventId,
        scene: &Scene<'_>,
        pass: Pass,
        (connection, now): (ConnectionId, u64),
        outputs: &mut dyn Outputs,
    ) -> u64 {
        let mut findings = 0;
        let mut matches = std::mem::take(&mut self.matches);
        matches.clear();
        let late = &self.late;
        match pass {
            Pass::Whole => self.evaluator.evaluate(event_id, scene, &mut matches),
            Pass::Early | Pass::Late => {
                let wanted = pass == Pass::Late;
                self.evaluator
                    .evaluate_some(event_id, scene, &mut matches, |rule| late[rule] == wanted);
            }
        }
        for found in &matches {
            let rules = Arc::clone(self.evaluator.rules());
            let rule = &rules.rules()[found.rule];
            let requests = &found.actions;
            let cuts_off = requests.contains(&ActionRequest::Quarantine);
            if cuts_off && scene.identity.mode == Mode::Enforce {
                self.quarantine.get_or_insert_with(|| rule.id.clone());
            }
            let mut summing = self.summing(connection, now);
            let (actions, waiting) = actions::perform(scene, requests, &mut summing, outputs);
            if !found.report {
                continue;
            }
            findings += 1;
            let variables = self.evaluator.variables(scene);
            let outcome = RuleOutcome {
                rule,
                actions,
                variables,
            };
            let finding = Box::new(finding::finding(scene, outcome));
            if waiting.is_empty() {
                outputs.push(Output::Finding(finding));
            } else {
                self.waiting.hold_finding(HeldFinding {
                    connection,
                    finding,
                    actions: waiting,
                });
            }
        }
        self.matches = matches;
        findings
    }
}

fn event_ids(catalogue: &Catalogue) -> Vec<Option<EventId>> {
    let types = EventType::ALL.iter();
    types.map(|kind| catalogue.event(kind.name())).collect()
}

fn derived_ids(catalogue: &Catalogue) -> Vec<(Second, EventId)> {
    let all = [Second::Sysctl, Second::CgroupWrite].into_iter();
    all.filter_map(|second| Some((second, catalogue.event(second.name())?)))
        .collect()
}
