//! One event: into the tree, past the rules, out as findings.

use std::net::IpAddr;
use std::sync::Arc;

use picket_events::{Address, Event, EventKind, EventType, Outcome};
use picket_rules::{ActionRequest, Catalogue, Evaluator, EventId, Match, RuleSet, Scope};

use super::container::Container;
use super::{ConnectionId, Observer, Output, Outputs, actions};
use crate::context::{Accessors, Derived, Scene, Second};
use crate::finding::{self, RuleOutcome};
use crate::hashes::{COMPARED_LIMIT, FileId, Hashes};
use crate::identity::{Identity, Mode};
use crate::tree::{Key, ProcessNode, ProcessTree};

/// `prctl` option that renames the calling thread.
const PR_SET_NAME: u32 = 15;

/// Rules, and what evaluating them needs again and again.
pub(super) struct Engine {
    evaluator: Evaluator,
    accessors: Accessors,
    /// The catalogue's id of each event type; `None` where rules do not know the type.
    event_ids: Vec<Option<EventId>>,
    /// The same for events that are told from another one.
    derived_ids: Vec<(Second, EventId)>,
    observer: Option<Box<dyn Observer>>,
    ancestors: Vec<Key>,
    target_ancestors: Vec<Key>,
    matches: Vec<Match>,
    hashes: Hashes,
    /// By event type of the catalogue, the files whose sums its rules compare.
    hashed: Vec<Hashed>,
    /// The rule that asks for the pod to be cut off, until it was done.
    quarantine: Option<String>,
}

/// Files of an event that rules compare by their sums.
#[derive(Debug, Clone, Copy, Default)]
struct Hashed {
    /// That of the event itself.
    event: bool,
    /// That of the process's program.
    program: bool,
}

impl Engine {
    pub(super) fn new(rules: Arc<RuleSet>) -> Self {
        let catalogue = rules.catalogue();
        Self {
            accessors: Accessors::new(catalogue),
            event_ids: event_ids(catalogue),
            derived_ids: derived_ids(catalogue),
            hashed: hashed(&rules),
            hashes: Hashes::default(),
            evaluator: Evaluator::new(rules),
            observer: None,
            ancestors: Vec::new(),
            target_ancestors: Vec::new(),
            matches: Vec::new(),
            quarantine: None,
        }
    }

    /// The rule that has asked for the pod to be cut off since the last call.
    pub(super) fn take_quarantine(&mut self) -> Option<String> {
        self.quarantine.take()
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
        container: &mut Container,
        event: &Event,
        (key, refused): (Option<Key>, Option<&ProcessNode>),
        outputs: &mut dyn Outputs,
    ) -> u64 {
        let event_id = self.event_ids[event.event_type() as usize];
        if event_id.is_none() && self.observer.is_none() {
            return 0;
        }
        let mut findings = 0;
        if let EventKind::Dns(dns) = &event.kind {
            container.names.answered(dns);
        }
        let container = &*container;
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
        let mut derived = Derived::of(event);
        if let Some(ip) = remote_address(&event.kind) {
            derived.hostnames = container.names.of(ip);
        }
        self.hash(event, event_id, refused.or(process), &mut derived);
        let scene = Scene {
            event,
            name: event.event_type().name(),
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
        let second = Second::of(&event.kind).and_then(|second| {
            let ids = self.derived_ids.iter();
            let id = ids.clone().find(|(known, _)| *known == second);
            id.map(|(_, id)| (*id, second.name()))
        });
        let first = event_id.map(|id| (id, scene.name));
        for (event_id, name) in first.into_iter().chain(second) {
            let scene = Scene { name, ..scene };
            self.matches.clear();
            self.evaluator.evaluate(event_id, &scene, &mut self.matches);
            for found in &self.matches {
                let rule = &self.evaluator.rules().rules()[found.rule];
                let requests = &found.actions;
                let cuts_off = requests.contains(&ActionRequest::Quarantine);
                if cuts_off && identity.mode == Mode::Enforce {
                    self.quarantine.get_or_insert_with(|| rule.id.clone());
                }
                let done =
                    actions::perform(&scene, connection, requests, &mut self.hashes, outputs);
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

    /// Sums of the files that rules on this event compare.
    fn hash(
        &mut self,
        event: &Event,
        event_id: Option<EventId>,
        process: Option<&ProcessNode>,
        derived: &mut Derived,
    ) {
        let Some(hashed) = event_id.map(|id| self.hashed[usize::from(id.0)]) else {
            return;
        };
        let own = event.kind.file().filter(|_| hashed.event);
        let program = process
            .filter(|_| hashed.program)
            .map(|process| &process.program.image.file);
        for file in own.into_iter().chain(program) {
            let sums = self.hashes.of(file, Some(event.pid), COMPARED_LIMIT);
            if let (Some(id), Ok(sums)) = (FileId::of(file), sums) {
                derived.hashed(id, sums);
            }
        }
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

/// Which files of which events the rules compare by their sums.
fn hashed(rules: &RuleSet) -> Vec<Hashed> {
    let catalogue = rules.catalogue();
    let mut hashed = vec![Hashed::default(); catalogue.events().count()];
    for rule in rules.rules().iter().filter(|rule| !rule.never_matches()) {
        for field in &rule.fields {
            let info = catalogue.info(*field);
            if !info.name.ends_with("file.hashes") {
                continue;
            }
            let of = &mut hashed[usize::from(rule.event.0)];
            match info.event {
                Some(_) => of.event = true,
                None => of.program = true,
            }
        }
    }
    hashed
}

/// The other end of a connection.
fn remote_address(kind: &EventKind) -> Option<IpAddr> {
    match kind {
        EventKind::Connect {
            address: Address::Ip { ip, .. },
            ..
        }
        | EventKind::Accept {
            peer: Some(Address::Ip { ip, .. }),
            ..
        } => Some(*ip),
        _ => None,
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
        | EventKind::MemoryWrite { target }
        | EventKind::TakeDescriptor { target, .. } => Some(own_if_zero(*target)),
        _ => None,
    }
}
