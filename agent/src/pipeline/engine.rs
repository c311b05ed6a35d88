//! One event: into the tree, past the rules, out as findings.

use std::sync::Arc;

use picket_events::{Event, EventKind, EventType, Outcome};
use picket_rules::{Evaluator, EventId, Match, RuleSet, Scope};

use super::container::Container;
use super::{ConnectionId, Observer, Output, Outputs, actions};
use crate::context::{Accessors, Derived, Scene};
use crate::finding::{self, RuleOutcome};
use crate::identity::Identity;
use crate::tree::{Key, ProcessNode, ProcessTree};

/// `prctl` option that renames the calling thread.
const PR_SET_NAME: u32 = 15;

/// Rules, and what evaluating them needs again and again.
pub(super) struct Engine {
    evaluator: Evaluator,
    accessors: Accessors,
    /// The catalogue's id of each event type; `None` where rules do not know the type.
    event_ids: Vec<Option<EventId>>,
    observer: Option<Box<dyn Observer>>,
    ancestors: Vec<Key>,
    target_ancestors: Vec<Key>,
    matches: Vec<Match>,
}

impl Engine {
    pub(super) fn new(rules: Arc<RuleSet>) -> Self {
        let catalogue = rules.catalogue();
        Self {
            accessors: Accessors::new(catalogue),
            event_ids: EventType::ALL
                .iter()
                .map(|kind| catalogue.event(kind.name()))
                .collect(),
            evaluator: Evaluator::new(rules),
            observer: None,
            ancestors: Vec::new(),
            target_ancestors: Vec::new(),
            matches: Vec::new(),
        }
    }

    pub(super) fn observe(&mut self, observer: Box<dyn Observer>) {
        self.observer = Some(observer);
    }

    pub(super) fn replace(&mut self, rules: Arc<RuleSet>) {
        let catalogue = rules.catalogue();
        self.accessors = Accessors::new(catalogue);
        self.event_ids = EventType::ALL
            .iter()
            .map(|kind| catalogue.event(kind.name()))
            .collect();
        self.evaluator.replace(rules);
    }

    /// Forgets the variables of a container that is gone.
    pub(super) fn forget(&mut self, container: &Container) {
        let key = container.info.scope_key;
        for process in container.tree.all() {
            self.evaluator
                .release(Scope::Process, process.identity() ^ key);
        }
        self.evaluator.release(Scope::Container, key);
    }

    /// Takes in an event; gives back how many findings it made.
    pub(super) fn event(
        &mut self,
        identity: &Identity,
        connection: ConnectionId,
        container: &mut Container,
        event: &Event,
        outputs: &mut dyn Outputs,
    ) -> u64 {
        let (key, refused) = before(&mut container.tree, event);
        let subject = (key, refused.as_ref());
        let findings = self.evaluate(identity, connection, container, event, subject, outputs);
        if let Some(key) = key {
            after(&mut container.tree, key, event);
        }
        let scope_key = container.info.scope_key;
        for identity in container.tree.take_left() {
            self.evaluator.release(Scope::Process, identity ^ scope_key);
        }
        findings
    }

    fn evaluate(
        &mut self,
        identity: &Identity,
        connection: ConnectionId,
        container: &Container,
        event: &Event,
        (key, refused): (Option<Key>, Option<&ProcessNode>),
        outputs: &mut dyn Outputs,
    ) -> u64 {
        let event_id = self.event_ids[event.event_type() as usize];
        if event_id.is_none() && self.observer.is_none() {
            return 0;
        }
        let mut findings = 0;
        let tree = &container.tree;
        let target = target_pid(&event.kind, event.pid).and_then(|pid| tree.find(pid));
        self.ancestors.clear();
        self.ancestors.extend(
            key.iter()
                .flat_map(|&key| tree.ancestors(key))
                .map(|(key, _)| key),
        );
        self.target_ancestors.clear();
        let lineage = target.iter().flat_map(|&key| tree.ancestors(key));
        self.target_ancestors.extend(lineage.map(|(key, _)| key));
        let process = key.and_then(|key| tree.get(key));
        let derived = Derived::of(event);
        let scene = Scene {
            event,
            process,
            executed: refused.or(process),
            ancestors: &self.ancestors,
            target: target.and_then(|key| tree.get(key)),
            target_ancestors: &self.target_ancestors,
            tree,
            container: &container.info,
            identity,
            derived: &derived,
            accessors: &self.accessors,
        };
        if let Some(event_id) = event_id {
            self.matches.clear();
            self.evaluator.evaluate(event_id, &scene, &mut self.matches);
            for found in &self.matches {
                let rule = &self.evaluator.rules().rules()[found.rule];
                let done = actions::perform(&scene, connection, &found.actions, outputs);
                if found.report {
                    findings += 1;
                    let variables = self.evaluator.variables(&scene);
                    let outcome = RuleOutcome {
                        rule,
                        actions: done,
                        variables,
                    };
                    outputs.push(Output::Finding(Box::new(finding::finding(&scene, outcome))));
                }
            }
        }
        if let Some(observer) = &mut self.observer {
            observer.event(&scene);
        }
        findings
    }
}

/// True when the call did what it was meant to, as far as is known.
fn took_effect(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Returned(value) => value >= 0,
        Outcome::Succeeded | Outcome::Unconfirmed => true,
        Outcome::Denied(_) => false,
    }
}

/// Brings the tree to where rules are to see it: a new process is there, a new program runs.
/// For an exec that was refused, the process as it would have been comes back too.
fn before(tree: &mut ProcessTree, event: &Event) -> (Option<Key>, Option<ProcessNode>) {
    match &event.kind {
        EventKind::Fork(process) => (tree.insert((**process).clone()), None),
        EventKind::Exec(image) => {
            let Some(key) = tree.find_or_insert(event.pid) else {
                return (None, None);
            };
            if took_effect(event.outcome) {
                return (Some(tree.exec(key, (**image).clone(), event.time)), None);
            }
            let refused = tree
                .get(key)
                .map(|node| node.running((**image).clone(), event.time));
            (Some(key), refused)
        }
        _ => (tree.find_or_insert(event.pid), None),
    }
}

/// Brings the tree to where it is after the event. Ids change only now, so that a rule sees
/// both those before (`process.uid`) and those after (`setuid.uid`).
fn after(tree: &mut ProcessTree, key: Key, event: &Event) {
    if !took_effect(event.outcome) {
        return;
    }
    match &event.kind {
        EventKind::Exit(_) => tree.end(key, event.time),
        EventKind::SetUid(ids) | EventKind::SetGid(ids) => {
            tree.set_credentials(key, (**ids).clone())
        }
        EventKind::Capset {
            effective,
            permitted,
        } => {
            tree.set_capabilities(key, *effective, *permitted);
        }
        EventKind::Prctl {
            option: PR_SET_NAME,
            name,
            ..
        } if event.tid == event.pid => {
            tree.rename(key, name);
        }
        _ => {}
    }
}

/// The process that an event is aimed at, where it is aimed at one.
fn target_pid(kind: &EventKind, own_pid: u32) -> Option<u32> {
    let own_if_zero = |pid: u32| if pid == 0 { own_pid } else { pid };
    match kind {
        EventKind::Signal { target, .. } => match *target {
            0 => Some(own_pid),
            target => u32::try_from(target).ok(),
        },
        EventKind::SetRlimit { target, .. }
        | EventKind::Ptrace { target, .. }
        | EventKind::MemoryWrite { target } => Some(own_if_zero(*target)),
        _ => None,
    }
}
